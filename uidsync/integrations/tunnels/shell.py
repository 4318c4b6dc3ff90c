"""Looks at a firewall's tunnels by its command line over SSH, for firewalls whose XML API may not be used.

Host keys are checked; one that is not known is a failure. A terminal is asked for that is wide enough and has no pager.
Source of how sessions go: netmiko's driver for PAN-OS.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from uidsync.panos.dial import connect
from uidsync.panos.errors import BadReply, BadRequest, PanosError, Unauthorized, Unreachable, Untrusted
from uidsync.panos.pair import OFF
from uidsync.panos.tunnellook import Look, Wants
from uidsync.panos.tunnels import View
from uidsync.panos.vpn import FlowTable
from uidsync.panos.vpntext import CONTROL, PROMPT, read_flow_text

# Without echo, without lines that are broken at 80 columns, without "--- more ---". An old release that does not know
# the first says so, and no more.
SETTINGS = ("set cli scripting-mode on", "set cli terminal width 500", "set cli pager off")
SHOW_FLOWS = "show vpn flow"
WIDTH, HEIGHT = 500, 100
PAGER = ("--- more ---", "---more---")
LARGEST_OUTPUT = 8 * 2**20  # characters
PIECE = 64 * 2**10
LONGEST_PROMPT = 400
NOT_ASKED = BadRequest("is not asked by the command line")


@dataclass(frozen=True, slots=True)
class Account:
    """How to log in: as whom, and with a private key's file, a password, or both. What is not there is empty."""

    user: str
    port: int
    known_hosts: Path
    find_secret: Callable[[], tuple[Path | None, str]]


def make_shell_look(host: str, account: Account, wants: Wants) -> Look:
    """Make what looks at one host by its command line. Its HA state is in the prompt and costs nothing."""
    return lambda seconds: _look(host, account, wants, seconds)


def _look(host: str, account: Account, wants: Wants, seconds: float) -> View:
    started = time.monotonic()
    role: str | PanosError | None
    try:
        table, role = _ask(host, account, seconds)
    except PanosError as error:
        return View(host, error, seconds=time.monotonic() - started)
    asked = {name: NOT_ASKED for name in ("gateways", "ike_sas", "ipsec_sas") if getattr(wants, name)}
    return View(host, table, role, seconds=time.monotonic() - started, **asked)


def _ask(host: str, account: Account, seconds: float) -> tuple[FlowTable, str]:
    """Return the tunnels and the HA state. Raises PanosError."""
    file, password = account.find_secret()
    key, known = _read_key(file) if file else None, _read_known_hosts(account.known_hosts)
    try:
        ends_at = time.monotonic() + seconds
        # Here, not in the loop: whoever waits for us can give up a lookup of a name, and a loop's threads not.
        with connect(host, account.port, seconds) as connection:
            connection.settimeout(0)
            conversation = _converse(host, account, (key, password, known), connection, ends_at - time.monotonic())
            return asyncio.run(conversation)
    except TimeoutError:
        raise Unreachable(f"nothing came of it for {seconds:.0f} s while asking {host} by SSH") from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise Untrusted(f"{error.reason}; known are those of {account.known_hosts}") from None
    except asyncssh.PermissionDenied as error:
        raise Unauthorized(f"{account.user} is not let in: {error.reason}") from None
    except asyncssh.Error as error:
        raise Unreachable(f"{error.reason} while asking {host} by SSH") from None
    except OSError as error:
        raise Unreachable(f"{error.strerror or error} while asking {host} by SSH") from None


def _read_key(file: Path) -> asyncssh.SSHKey:
    """Read a private key. Raises Unauthorized; its words hold nothing of the file."""
    try:
        return asyncssh.read_private_key(file)
    except OSError as error:
        raise Unauthorized(f"{file} cannot be read: {error.strerror}") from None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        raise Unauthorized(f"{file} is no private key, or has a passphrase") from None


def _read_known_hosts(file: Path) -> asyncssh.SSHKnownHosts:
    """Read the host keys that are known. Raises Untrusted."""
    try:
        return asyncssh.read_known_hosts(str(file))
    except OSError as error:
        raise Untrusted(f"{file} cannot be read, and no host key is known without it: {error.strerror}") from None
    except ValueError:
        raise Untrusted(f"{file} is no list of host keys") from None


Credentials = tuple[asyncssh.SSHKey | None, str, asyncssh.SSHKnownHosts]


async def _converse(
    host: str, account: Account, credentials: Credentials, connection: socket.socket, seconds: float
) -> tuple[FlowTable, str]:
    key, password, known = credentials
    async with asyncio.timeout(seconds):
        async with (
            asyncssh.connect(
                host,
                account.port,
                sock=connection,
                config=[],
                username=account.user,
                client_keys=[key] if key else [],
                agent_path=None,
                known_hosts=known,
                client_factory=lambda: _Login(password),
                preferred_auth="publickey,keyboard-interactive,password",
            ) as session,
            session.create_process(
                term_type="vt100", term_size=(WIDTH, HEIGHT), stderr=asyncssh.STDOUT, errors="replace"
            ) as shell,
        ):
            _, role = await _read_to_prompt(shell)
            for setting in SETTINGS:
                shell.stdin.write(f"{setting}\n")
                await _read_to_prompt(shell)
            shell.stdin.write(f"{SHOW_FLOWS}\n")
            text = ""
            while not text.replace(SHOW_FLOWS, "").strip():  # a setting may be answered by more than one prompt
                text, role = await _read_to_prompt(shell)
    return read_flow_text(text), role


class _Login(asyncssh.SSHClient):
    """Answers what a login asks: the password, and the question whether its banner was read."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._is_told = False

    def password_auth_requested(self) -> str | None:
        """Give the password once: asked again, it was wrong."""
        self._is_told, was_told = True, self._is_told
        return self._password or None if not was_told else None

    def kbdint_auth_requested(self) -> str | None:
        """Take part in the dialogue when there is something to say."""
        return "" if self._password and not self._is_told else None

    def kbdint_challenge_received(
        self, _name: str, _instructions: str, _lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """Say yes to a banner, and the password to whatever else is asked."""
        self._is_told = self._is_told or any("yes/no" not in prompt for prompt, _ in prompts)
        return ["yes" if "yes/no" in prompt else self._password for prompt, _ in prompts]


async def _read_to_prompt(shell: asyncssh.SSHClientProcess[str]) -> tuple[str, str]:
    """Return what is printed up to the next prompt, and the HA state that is in it. Raises BadReply.

    Pages are turned, and a banner that wants to be accepted is.
    """
    text = ""
    while not (prompt := PROMPT.search(CONTROL.sub("", text[-LONGEST_PROMPT:]))):
        piece = await shell.stdout.read(PIECE)
        if not piece:
            raise BadReply("the command line ended before it asked for more")
        text += piece
        if len(text) > LARGEST_OUTPUT:
            raise BadReply("the command line prints without end")
        if text.rstrip().lower().endswith(PAGER):
            shell.stdin.write(" ")
        elif text.rstrip().endswith("(yes/no)"):
            shell.stdin.write("yes\n")
    printed = CONTROL.sub("", text)
    return printed[: printed.rstrip().rfind("\n") + 1], prompt["role"] or OFF
