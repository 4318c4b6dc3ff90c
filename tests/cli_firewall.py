"""A firewall's command line over SSH, as PAN-OS behaves: an echo, 80 columns and a pager unless they are turned off.

What it lists is what a simulated firewall would list over its XML API: as XML where it is told to print that, else as
a table.
"""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from lxml import etree

from uidsync.simulator.vpn import Vpn, show_flow, show_gateways, show_ike_sas, show_ipsec_sas, text_of_flows

PAGE = 20  # lines
ACCEPT = "Do you accept and acknowledge the statement above ? (yes/no) : "


@dataclass(slots=True)
class CommandLine:
    """What the command line is like; all of it may change while it runs."""

    user: str = "uidsync"
    password: str = "Pa55word"  # noqa: S105 (nobody else's)
    vpn: Vpn = field(default_factory=Vpn)
    layout: str = "B"
    role: str = "active"
    prompt: str = "{user}@PA-1{role}> "
    shown_user: str = ""  # as the prompt has it, where that is another
    banner: str = ""  # which has to be accepted, in the login's dialogue
    shell_banner: str = ""  # the same, after the login
    acceptance: str = "yes"
    keeps_pager: bool = False
    pager: str = "--- more ---"
    page_key: str = " "
    pager_end: str = ""  # where another key ends the pager
    is_wiped: bool = True  # the pager's line
    keys: str = ""  # authorized_keys
    answer: str | None = None  # to `show vpn flow`, instead of the list
    encoding: str = "utf-8"
    is_deaf: bool = False  # lets in, and says nothing
    falls_deaf: str = ""  # says nothing from this command on
    knows_settings: bool = True
    knows_xml: bool = True
    has_xml_lines: bool = True  # or prints all of it as one line, without an end
    extra_prompts: int = 0  # drawn after a setting
    port: int = 0
    known_hosts: Path | None = None
    typed: list = field(default_factory=list)
    passwords: list = field(default_factory=list)  # that were tried
    connections: list = field(default_factory=list)

    @property
    def whole_prompt(self):
        """The prompt, with the HA state in it for the member of a pair."""
        return self.prompt.format(user=self.shown_user or self.user, role=f"({self.role})" if self.role else "")


class Login(asyncssh.SSHServer):
    """Lets in who knows the password or a key, after a banner was accepted where there is one."""

    def __init__(self, command_line):
        self._command_line = command_line

    def connection_made(self, conn):
        """Remember who came, to hang up at the end."""
        self._command_line.connections.append(conn)

    def begin_auth(self, _username):
        """Everybody has to prove who they are."""
        return True

    def password_auth_supported(self):
        """Take passwords when there is no banner to accept."""
        return bool(self._command_line.password) and not self._command_line.banner

    def validate_password(self, username, password):
        """Compare name and password."""
        self._command_line.passwords.append(password)
        return (username, password) == (self._command_line.user, self._command_line.password)

    def kbdint_auth_supported(self):
        """Have a dialogue when there is a banner."""
        return bool(self._command_line.banner)

    def get_kbdint_challenge(self, _username, _lang, _submethods):
        """Ask for the password first."""
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, _username, responses):
        """Ask for the banner's acceptance, then let in."""
        if responses == [self._command_line.password]:
            return "", "", "", [(self._command_line.banner, True)]
        return responses == [self._command_line.acceptance]


@contextmanager
def running_command_line(place, **settings):
    """Run a command line on loopback; `place` is a directory for its known_hosts."""
    command_line = CommandLine(**settings)
    if command_line.keys:
        (place / "authorized_keys").write_text(command_line.keys)
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def serve():
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: Login(command_line),
            server_host_keys=[key],
            authorized_client_keys=str(place / "authorized_keys") if command_line.keys else None,
            process_factory=lambda process: talk(process, command_line),
            line_editor=False,
            encoding=command_line.encoding,
        )
        command_line.port = server.get_port()
        command_line.known_hosts = place / "known_hosts"
        public = key.export_public_key().decode()
        command_line.known_hosts.write_text(f"[127.0.0.1]:{command_line.port} {public}")
        started.set()
        return server

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    assert started.wait(120)
    try:
        yield command_line
    finally:
        asyncio.run_coroutine_threadsafe(close(server, command_line), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def close(server, command_line):
    """End the server, and hang up on whoever is still there."""
    server.close()
    await server.wait_closed()
    for connection in command_line.connections:
        connection.abort()
        await connection.wait_closed()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def talk(process, command_line):
    """Talk with whoever logged in, until they hang up."""
    session = Session(process, command_line)
    if command_line.is_deaf:
        await process.stdin.read()
    if command_line.shell_banner:
        process.stdout.write(command_line.shell_banner)
        while await session.read_line() != command_line.acceptance:
            process.stdout.write(command_line.shell_banner)
    process.stdout.write("\x1b[?1hNumber of failed attempts since last successful login: 0\r\n\r\n")
    while True:
        process.stdout.write(command_line.whole_prompt)
        line = await session.read_line()
        if line is None:
            return
        command_line.typed.append(line)
        if line == command_line.falls_deaf:
            await process.stdin.read()
        if session.has_echo:
            process.stdout.write(line + "\r\n")
        await session.show(session.answer(line))


class Session:
    """What one session was told to be like."""

    def __init__(self, process, command_line):
        self._process, self._command_line = process, command_line
        self.has_echo, self._has_pager, self._prints_xml = True, True, False
        self._width = max(80, process.term_size[0])

    def answer(self, line):
        """Return what a command prints."""
        command_line, answer = self._command_line, f"Unknown command: {line}\n"
        match line.split():
            case ["set", "cli", *_] if not command_line.knows_settings:
                pass
            case ["set", "cli", "op-command-xml-output", "on"] if not command_line.knows_xml:
                answer = "Invalid syntax.\n"
            case ["set", "cli", *setting]:
                self._set(setting)
                answer = command_line.whole_prompt * command_line.extra_prompts
            case ["show", "vpn", "flow"] if command_line.answer is not None:
                answer = command_line.answer
            case ["show", "vpn", "flow"] if not self._prints_xml:
                answer = text_of_flows(command_line.vpn, command_line.layout)
            case ["show", "vpn", *what] if self._prints_xml:
                answer = print_xml(command_line.vpn, what, has_lines=command_line.has_xml_lines)
        return answer

    def _set(self, setting):
        match setting:
            case ["scripting-mode", "on"]:
                self.has_echo = False
            case ["terminal", "width", number]:
                self._width = int(number)
            case ["pager", "off"]:
                self._has_pager = self._command_line.keeps_pager
            case ["op-command-xml-output", "on"]:
                self._prints_xml = True

    async def show(self, text):
        """Print an answer: lines broken at the terminal's width, page by page."""
        width, process = self._width, self._process
        lines = [
            line[start : start + width] for line in text.split("\n") for start in range(0, max(len(line), 1), width)
        ]
        is_paged = self._has_pager and len(lines) > PAGE
        while lines:
            page, lines = (lines[:PAGE], lines[PAGE:]) if is_paged else (lines, [])
            process.stdout.write("\r\n".join(page))
            if lines:
                await self._wait_for(self._command_line.pager, self._command_line.page_key)
        if is_paged and self._command_line.pager_end:
            await self._wait_for(self._command_line.pager_end, "q")

    async def _wait_for(self, words, key):
        self._process.stdout.write(f"\r\n{words}")
        while await self._process.stdin.read(1) != key:
            pass
        self._process.stdout.write(f"\r{' ' * len(words)}\r" if self._command_line.is_wiped else "\r\n")

    async def read_line(self):
        """Return the next line that was typed, None at the end."""
        line = await self._process.stdin.readline()
        return line.rstrip("\r\n") if line else None


def print_xml(vpn, what, *, has_lines):
    """Print what the XML API would answer to `show vpn …`, and nothing where no phase 1 stands."""
    command = etree.Element("flow")
    match what:
        case ["flow"]:
            answer = show_flow(command, vpn)
        case ["flow", "tunnel-id", number]:
            etree.SubElement(command, "tunnel-id").text = number
            answer = show_flow(command, vpn)
        case ["gateway"]:
            answer = show_gateways(vpn)
        case ["ipsec-sa"]:
            answer = show_ipsec_sas(vpn)
        case ["ike-sa"]:
            answer = show_ike_sas(vpn)
        case _:
            return "Invalid syntax.\n"
    document = etree.fromstring(answer)
    if "There is no" in (document.findtext("result") or ""):
        return "\n"
    if has_lines:
        etree.indent(document)
    return "\n" + etree.tostring(document, encoding="unicode") + "\n" * has_lines
