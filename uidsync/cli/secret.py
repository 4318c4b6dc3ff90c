"""`uidsync secret`: writes secrets with the right owner and mode, and lists where they are. It never shows one."""

from __future__ import annotations

import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from grp import getgrgid, getgrnam
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Literal

import structlog
import typer
from msgspec import Struct
from msgspec.structs import replace
from rich.table import Table

from uidsync.cli.app import JSONOption, Options, command, usage
from uidsync.cli.show import make_console, print_json
from uidsync.cli.wiring import make_secret_files
from uidsync.config import credentials
from uidsync.config.reader import ConfigError
from uidsync.config.values import Secret, SecretError
from uidsync.panos.wire.certfiles import describe
from uidsync.refusal import Refusal
from uidsync.report.output import write_atomically
from uidsync.report.report import INCOMPLETE, OK

MODE = 0o640
ELSEWHERE = "create that directory, or name a file elsewhere in the configuration"


class Place(Struct, frozen=True):
    """Where a secret was found, and who can read it; or why it was not found, and the command that stores it."""

    name: str
    purpose: str
    file: str
    readers: str = ""
    problem: str = ""
    command: str = ""


@command
def secret(
    options: Options,
    what: Annotated[Literal["set", "list"], usage("set|list", "`set` stores one, `list` shows where they are.")],
    name: Annotated[str, usage("NAME", "The secret's name, as `list` shows it.")] = "",
    *,
    as_json: JSONOption = False,
) -> int:
    """Store a secret with the right owner and mode, or list where secrets are and who can read them.

    `set` asks for the secret, or reads it from standard input. It writes the file that the configuration names, or
    /etc/uidsync/credentials/NAME. No command ever shows a secret. `list` exits 1 if one is missing.

    Examples:

        uidsync secret list
        uidsync secret set source-password
        uidsync secret set fw-east-api-key < key.txt
        uidsync secret list --json | jq '.secrets[] | select(.problem != "")'
    """
    known = tuple(options.read_config(is_whole=False).find_secrets())
    if what == "list":
        if name:
            raise Refusal("`list` takes no name", "NAME")
        return _list(known, as_json=as_json)
    if not name:
        raise Refusal("name the secret; `uidsync secret list` shows the names", "NAME")
    chosen = next((each for each in known if each.name == name), None)
    if chosen is None:
        names = ", ".join(each.name for each in known)
        raise Refusal(f"the configuration needs no secret {name}; it needs: {names}", "NAME")
    file = find_file(chosen)
    raise_if_unwritable(file, str(options.file))
    store(file, _read_secret(chosen), str(options.file))
    print(f"stored {chosen.name} in {file}")
    return OK


def _list(known: Sequence[Secret], *, as_json: bool) -> int:
    places = [_find_place(each) for each in known]
    if as_json:
        print_json({"secrets": places})
    else:
        table = Table("NAME", "FILE", "CAN BE READ BY", box=None, pad_edge=False, show_edge=False)
        for column in table.columns:
            column.overflow = "fold"
        for place in places:
            table.add_row(place.name, place.file, place.readers or f"{place.problem}: {place.command}")
        make_console(soft_wrap=False).print(table)
    is_missing = any(place.problem and each.needed for each, place in zip(known, places, strict=True))
    return INCOMPLETE if is_missing else OK


def find_file(secret: Secret) -> Path:
    """Return the file to write a secret to."""
    return secret.explicit or credentials.CREDENTIALS / secret.name


def _find_place(secret: Secret) -> Place:
    """Find a secret as a run would, and tell who can read it."""
    files, place = make_secret_files(structlog.get_logger()), Place(secret.name, secret.purpose, str(find_file(secret)))
    try:
        file = files.find(secret.explicit, secret.name)
        if not secret.is_key:
            files.read(secret.explicit, secret.name)
        status = file.stat()
    except (SecretError, OSError) as error:
        problem = str(error.strerror if isinstance(error, OSError) else error)
        if isinstance(error, SecretError) and not find_file(secret).exists():
            problem = "missing" if secret.needed else "not set"
        return replace(place, problem=problem, command=secret.command)
    readers = [credentials.name_account(status.st_uid)]
    if status.st_mode & stat.S_IRGRP:
        with suppress(KeyError):
            readers.append(f"group {getgrgid(status.st_gid).gr_name}")
    if credentials.is_open_to_others(status.st_mode):
        readers.append(f"EVERYBODY; close it: {credentials.advise_closing(file)}")
    return replace(place, file=str(file), readers=", ".join(readers))


def _read_secret(secret: Secret) -> str:
    """Ask for a secret on the terminal, or read it from standard input. Raises Refusal for what is none."""
    if not sys.stdin.isatty():
        return check_secret(secret, sys.stdin.buffer.read(credentials.LONGEST + 1).decode(errors="replace"))
    if secret.is_key:
        raise Refusal(f"a private key is a file: {secret.command}", "NAME")
    purpose = secret.purpose[:1].upper() + secret.purpose[1:]
    return check_secret(secret, typer.prompt(purpose, hide_input=True, err=True))


def check_secret(secret: Secret, text: str) -> str:
    """Return the text to store. Raises Refusal when it cannot be that secret."""
    bare = text.strip("\r\n")
    if secret.is_key:
        if "PRIVATE KEY-----" in text:
            return text
        other = "is not a private key; a private key has a line -----BEGIN PRIVATE KEY-----"
        raise Refusal(f"this {describe(text.encode(errors='replace')) or other}", secret.name)
    if not bare or not bare.isprintable() or len(bare) >= credentials.LONGEST:
        raise Refusal("a secret is one line of text, and not empty", secret.name)
    return bare + "\n"


def raise_if_unwritable(file: Path, configuration: str) -> None:
    """Raise ConfigError, before anybody is asked for a secret, where it could not be stored."""
    try:
        TemporaryFile(dir=file.parent).close()
    except PermissionError:
        raise ConfigError(configuration, [credentials.describe_refusal(file.parent, "root", "write")]) from None
    except OSError as error:
        raise ConfigError(configuration, [f"cannot write in {file.parent}: {error.strerror}; {ELSEWHERE}"]) from None


def store(file: Path, text: str, configuration: str) -> None:
    """Write a secret, or what names one, in one step, for root and the service alone. Raises ConfigError."""
    group = None
    with suppress(KeyError):
        group = getgrnam(credentials.SERVICE).gr_gid
    try:
        write_atomically(file, text, MODE, group)
    except OSError as error:
        raise ConfigError(configuration, [f"{file} cannot be written: {error.strerror}"]) from None
