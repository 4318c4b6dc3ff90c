"""A firewall's command line over SSH, as PAN-OS behaves: an echo, 80 columns and a pager unless they are turned off.

What it lists is what a simulated firewall would list over its XML API.
"""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from uidsync.simulator.vpn import Vpn, text_of_flows

PAGE = 20  # lines


@dataclass(slots=True)
class CommandLine:
    """What the command line is like; all of it may change while it runs."""

    user: str = "uidsync"
    password: str = "Pa55word"  # noqa: S105 (nobody else's)
    vpn: Vpn = field(default_factory=Vpn)
    layout: str = "B"
    role: str = "active"
    banner: bool = False  # which has to be accepted, in the login's dialogue
    shell_banner: bool = False  # the same, after the login
    keys: str = ""  # authorized_keys
    answer: str | None = None  # to `show vpn flow`, instead of the list
    encoding: str = "utf-8"
    is_deaf: bool = False  # lets in, and says nothing
    knows_settings: bool = True
    port: int = 0
    known_hosts: Path | None = None
    typed: list = field(default_factory=list)
    connections: list = field(default_factory=list)

    @property
    def prompt(self):
        """The prompt, with the HA state in it for the member of a pair."""
        return f"{self.user}@PA-1({self.role})> " if self.role else f"{self.user}@PA-1> "


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
        return (username, password) == (self._command_line.user, self._command_line.password)

    def kbdint_auth_supported(self):
        """Have a dialogue when there is a banner."""
        return self._command_line.banner

    def get_kbdint_challenge(self, _username, _lang, _submethods):
        """Ask for the password first."""
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, _username, responses):
        """Ask for the banner's acceptance, then let in."""
        if responses == [self._command_line.password]:
            words = "Do you accept and acknowledge the statement above ? (yes/no) : "
            return "", "", "", [(words, True)]
        return responses == ["yes"]


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
    has_echo, width, has_pager = True, 80, True
    if command_line.is_deaf:
        await process.stdin.read()
    if command_line.shell_banner:
        process.stdout.write("Do you accept and acknowledge the statement above ? (yes/no) ")
        await read_line(process)
    process.stdout.write("\x1b[?1hNumber of failed attempts since last successful login: 0\r\n\r\n")
    while True:
        process.stdout.write(command_line.prompt)
        line = await read_line(process)
        if line is None:
            return
        command_line.typed.append(line)
        if has_echo:
            process.stdout.write(line + "\r\n")
        answer = ""
        match line.split():
            case ["set", "cli", *_] if not command_line.knows_settings:
                answer = "Unknown command: cli\n"
            case ["set", "cli", "scripting-mode", "on"]:
                has_echo = False
            case ["set", "cli", "terminal", "width", number]:
                width = int(number)
            case ["set", "cli", "pager", "off"]:
                has_pager = False
            case ["show", "vpn", "flow"]:
                shown = text_of_flows(command_line.vpn, command_line.layout)
                answer = shown if command_line.answer is None else command_line.answer
            case _:
                answer = f"Unknown command: {line}\n"
        await show(
            process, answer, width if width > 80 or process.term_size[0] < 80 else process.term_size[0], has_pager
        )


async def show(process, text, width, has_pager):
    """Print an answer: lines broken at the terminal's width, page by page."""
    lines = [line[start : start + width] for line in text.split("\n") for start in range(0, max(len(line), 1), width)]
    while lines:
        page, lines = (lines[:PAGE], lines[PAGE:]) if has_pager else (lines, [])
        process.stdout.write("\r\n".join(page))
        if lines:
            process.stdout.write("\r\n--- more ---")
            await process.stdin.read(1)
            process.stdout.write("\r            \r")


async def read_line(process):
    """Return the next line that was typed, None at the end."""
    line = await process.stdin.readline()
    return line.rstrip("\r\n") if line else None
