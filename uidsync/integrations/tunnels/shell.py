"""Looks at a firewall's tunnels by its command line over SSH, for firewalls whose XML API may not be used.

Host keys are checked; an unknown one is an error. After a refused login, the account is not used for a minute.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import asyncssh
from msgspec import Struct

from uidsync.deadline import Deadline
from uidsync.integrations.tunnels.dialogue import Dialogue
from uidsync.integrations.tunnels.refusals import Refusals
from uidsync.integrations.tunnels.terminal import (
    ACCEPTANCES,
    cut_xml,
    find_question,
    has_xml,
    read_flow_text,
    write_command,
)
from uidsync.panos.tunnels.conditions import View
from uidsync.panos.tunnels.look import Answer, Look, Read, Wants, look
from uidsync.panos.tunnels.vpn import SHOW_FLOWS, FlowTable
from uidsync.panos.wire.dial import connect
from uidsync.panos.wire.errors import BadRequest, Busy, PanosError, Unauthorized, Unreachable, Untrusted
from uidsync.panos.wire.xmlapi import Request

WIDTH, HEIGHT = 500, 1000  # columns, and lines where the pager cannot be switched off
GOODBYE = 0.2  # seconds for a connection to end


class Account(Struct, frozen=True):
    """How to log in: the user, and a private key's file, a password, or both; empty if there is none."""

    user: str
    port: int
    known_hosts: Path
    find_secret: Callable[[], tuple[Path | None, str]]
    refusals: Refusals


def make_shell_look(host: str, account: Account, wants: Wants) -> Look:
    """Make the look at one host by its command line. The prompt shows its HA state, which needs no question."""

    def look_once(seconds: float) -> View:
        limit = Deadline(seconds)
        try:
            with _opened(host, account, limit) as line:
                return look(host, line, wants)
        except PanosError as error:
            return View(host, error, seconds=seconds - limit.seconds_left())

    return look_once


# ---- logging in --------------------------------------------------------------------------------------------------

Keys = tuple[asyncssh.SSHKey | None, asyncssh.SSHKnownHosts]  # ours, and those of hosts


@contextmanager
def _opened(host: str, account: Account, limit: Deadline) -> Iterator[_CommandLine]:
    """Log in, and hang up at the end. Raises PanosError."""
    file, password = account.find_secret()
    key, known = _read_key(file) if file else None, read_known_hosts(account.known_hosts)
    whose, secret = (host, account.port, account.user), (password, key.public_data if key else b"")
    login = _Login(password)
    with ExitStack() as stack:
        with account.refusals.taken_turn(whose, secret, limit.seconds_left()):
            plug = stack.enter_context(_connect(host, account.port, limit))
            runner = stack.enter_context(asyncio.Runner())
            try:
                session = runner.run(_log_in(host, account, (key, known), login, plug, limit))
            except PanosError as error:
                if login.is_refused or isinstance(error, Unauthorized):
                    account.refusals.note(whose, secret, error)
                raise

        def hang_up() -> None:
            session.abort()
            with suppress(TimeoutError):  # without waiting long for the other side
                runner.run(asyncio.wait_for(session.wait_closed(), GOODBYE))

        stack.callback(hang_up)
        line = _CommandLine(runner, host, account.user, limit)
        line.begin(session)
        yield line


def _connect(host: str, port: int, limit: Deadline) -> socket.socket:
    """Connect outside of an event loop: a loop waits for its threads, and so for a lookup of a name that hangs."""
    try:
        plug = connect(host, port, limit.seconds)
    except TimeoutError:
        raise Unreachable(f"did not answer within {limit.seconds:.0f} s while connecting to {host} by SSH") from None
    except OSError as error:
        raise _read_failure(error, f"connecting to {host}") from None
    plug.settimeout(0)
    return plug


async def _log_in(
    host: str, account: Account, keys: Keys, login: _Login, plug: socket.socket, limit: Deadline
) -> asyncssh.SSHClientConnection:
    key, known = keys
    try:
        async with asyncio.timeout(limit.seconds_left()):
            return await asyncssh.connect(
                host,
                account.port,
                sock=plug,
                config=[],
                username=account.user,
                client_keys=[key] if key else [],
                agent_path=None,
                known_hosts=known,
                client_factory=lambda: login,
                preferred_auth="publickey,keyboard-interactive,password",
            )
    except TimeoutError:
        if login.is_refused:
            words = f"did not say within {limit.seconds:.0f} s whether it lets {account.user} in by SSH"
            raise Busy(words) from None
        raise Unreachable(f"did not answer within {limit.seconds:.0f} s while asking {host} by SSH") from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise Untrusted(f"{error.reason}; known are those of {account.known_hosts}") from None
    except asyncssh.PermissionDenied as error:
        raise Unauthorized(f"{account.user} is not let in: {error.reason}") from None
    except (asyncssh.Error, OSError) as error:
        raise _read_failure(error, f"asking {host}") from None


def _read_failure(error: asyncssh.Error | OSError, doing: str) -> Unreachable:
    words = error.reason if isinstance(error, asyncssh.Error) else error.strerror or error
    return Unreachable(f"{words} while {doing} by SSH")


def _read_key(file: Path) -> asyncssh.SSHKey:
    """Read a private key. Raises Unauthorized, without any of the file's content."""
    try:
        return asyncssh.read_private_key(file)
    except OSError as error:
        raise Unauthorized(f"{file} cannot be read: {error.strerror}") from None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        raise Unauthorized(f"{file} is no private key, or has a passphrase") from None


def read_known_hosts(file: Path) -> asyncssh.SSHKnownHosts:
    """Read the known host keys. Raises Untrusted."""
    try:
        return asyncssh.read_known_hosts(str(file))
    except OSError as error:
        raise Untrusted(f"{file} cannot be read, and no host key is known without it: {error.strerror}") from None
    except ValueError:
        raise Untrusted(f"{file} is no list of host keys") from None


class _Login(asyncssh.SSHClient):
    """Answers the questions of a login: the password, and whether the banner was read.

    `is_refused` is true once the password was given and did not let us in.
    """

    def __init__(self, password: str) -> None:
        self._password = password
        self._is_told = False
        self._is_in = False

    @property
    def is_refused(self) -> bool:
        return self._is_told and not self._is_in

    def auth_completed(self) -> None:
        """Remember that we are in."""
        self._is_in = True

    def password_auth_requested(self) -> str | None:
        """Give the password once: if it is asked for again, it was wrong."""
        self._is_told, was_told = bool(self._password), self._is_told
        return self._password if self._is_told and not was_told else None

    def kbdint_auth_requested(self) -> str | None:
        """Take part in the dialogue if there is a password to say."""
        return "" if self._password and not self._is_told else None

    def kbdint_challenge_received(
        self, _name: str, _instructions: str, _lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """Accept a banner, and answer every other question with the password."""
        questions = [find_question(prompt, ACCEPTANCES) for prompt, _ in prompts]
        self._is_told = self._is_told or None in questions
        return [question.answer.strip() if question else self._password for question in questions]


# ---- asking ------------------------------------------------------------------------------------------------------


class _CommandLine:
    """Asks one host by its command line. An error ends the session: nobody knows what it prints next."""

    def __init__(self, runner: asyncio.Runner, host: str, user: str, limit: Deadline) -> None:
        self.limit = limit
        self._runner = runner
        self._host = host
        self._dialogue = Dialogue(user)
        self._prints_xml = False
        self._failure: PanosError | None = None

    def begin(self, session: asyncssh.SSHClientConnection) -> None:
        """Open a shell and wait for its prompt. Raises PanosError."""
        size = WIDTH, HEIGHT
        shell = session.create_process(term_type="vt100", term_size=size, stderr=asyncssh.STDOUT, errors="replace")
        self._run(self._dialogue.begin(shell))

    def ask_flows(self) -> FlowTable:
        text = self._run(self._dialogue.ask(write_command(SHOW_FLOWS), needs_words=True))
        self._prints_xml = has_xml(text)
        return read_flow_text(text)

    def ask_role(self) -> str:
        return self._dialogue.role

    def ask(self, request: Request, read: Read[Answer]) -> Answer:
        if not self._prints_xml:
            raise BadRequest("its command line prints no XML, from which alone this is read")
        return read(HTTPStatus.OK, iter([cut_xml(self._run(self._dialogue.ask(write_command(request))))]))

    def _run(self, conversation: Coroutine[Any, Any, Answer]) -> Answer:
        if self._failure:
            conversation.close()
            raise self._failure
        try:
            return self._runner.run(asyncio.wait_for(conversation, self.limit.seconds_left()))
        except TimeoutError:
            self._failure = self._dialogue.blame(self.limit.seconds)
        except (asyncssh.Error, OSError) as error:
            self._failure = _read_failure(error, f"asking {self._host}")
        except PanosError as error:
            self._failure = error
        raise self._failure
