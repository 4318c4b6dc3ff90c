"""Types commands into a firewall's command line and reads what each prints, up to the next prompt.

A session asks for a wide terminal without a pager, and for XML. A release that does not know a setting says so and goes
on. Sources: netmiko's driver for PAN-OS, and reports of its users.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import asyncssh

from uidsync.integrations.tunnels import terminal
from uidsync.integrations.tunnels.terminal import BANNERS, PAGERS, Questions, find_question, show
from uidsync.panos.userid.pair import OFF
from uidsync.panos.wire.errors import BadReply, Busy

SETTINGS = (
    "set cli scripting-mode on",
    "set cli terminal width 500",
    "set cli pager off",
    "set cli op-command-xml-output on",
)
LARGEST_OUTPUT = 8 * 2**20  # characters
PIECE = 64 * 2**10
TAIL = 400  # characters: a prompt or a question, colours included
SETTLED = 0.02  # seconds of silence after which a question that may be incomplete is complete
QUIET = 1.0  # seconds of silence after which a command that printed nothing has nothing to print


class Dialogue:
    """One session after its login; `role` is the HA state in the last prompt."""

    def __init__(self, user: str) -> None:
        self._shell: asyncssh.SSHClientProcess[str]
        self._user = user
        self._prompt = terminal.make_prompt(user)
        self._name = ""  # USER@HOST, as prompts have it
        self._raw = ""  # what was printed since the last prompt or page
        self.role = OFF

    async def begin(self, opening: Awaitable[asyncssh.SSHClientProcess[str]]) -> None:
        """Open a shell, accept a banner, wait for the first prompt, and change the settings. Raises BadReply."""
        self._shell = await opening
        await self._read_to_prompt(BANNERS)
        self._prompt = terminal.make_same_prompt(self._name)
        for setting in SETTINGS:
            self._shell.stdin.write(f"{setting}\n")
            await self._read_to_prompt(PAGERS)

    async def ask(self, command: str, *, needs_words: bool = False) -> str:
        """Return what a command prints. Raises BadReply.

        With `needs_words`, skip prompts until something is printed: a setting may have been answered by several.
        """
        self._shell.stdin.write(f"{command}\n")
        printed = ""
        while not printed.strip():
            printed = terminal.strip_echo(await self._read_to_prompt(PAGERS), command, self._name)
            if not printed.strip() and not needs_words and not await self._hears_more(QUIET):
                break
        return printed

    def blame(self, seconds: float) -> BadReply | Busy:
        """Return the error for a prompt that did not come within so many seconds."""
        if words := show(self._raw).strip():
            return BadReply(
                f"no prompt of {self._user} came for {seconds:.0f} s after {terminal.quote(words.splitlines()[-1])}; "
                "is ssh_user the name that its prompt shows?"
            )
        return Busy(f"lets {self._user} in by SSH, and prints nothing for {seconds:.0f} s")

    async def _read_to_prompt(self, questions: Questions) -> str:
        """Turn pages, accept a banner, and return what is printed up to the next prompt. Raises BadReply."""

        def take() -> str:
            """Take what was printed, as a terminal shows it; after a page, the pager's line end may come first."""
            raw, self._raw = self._raw, ""
            return show(raw.removeprefix("\r\n").removeprefix("\n") if is_turned else raw)

        pages, size, is_turned = "", 0, False
        while True:
            shown = show(self._raw[-TAIL:])
            if prompt := self._prompt.search(shown):
                self._name, self.role = prompt["name"], (prompt["role"] or OFF).lower()
                return pages + take().removesuffix(prompt[0])
            if question := find_question(shown, questions):
                if question.may_go_on and await self._hears_more(SETTLED):
                    continue
                pages += take().removesuffix(question.words)
                is_turned = True
                self._shell.stdin.write(question.answer)
            piece = await self._shell.stdout.read(PIECE)
            if not piece:
                raise BadReply("the command line ended; does the account's role allow one?")
            self._raw += piece
            size += len(piece)
            if size > LARGEST_OUTPUT:
                raise BadReply("the command line prints without end")

    async def _hears_more(self, seconds: float) -> bool:
        """Tell whether more is printed within so many seconds, and keep it."""
        try:
            piece = await asyncio.wait_for(self._shell.stdout.read(PIECE), seconds)
        except TimeoutError:
            return False
        self._raw += piece
        return bool(piece)
