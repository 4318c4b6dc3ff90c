"""What a single value of the configuration may be.

Pure: no I/O. Every refusal is a ValueError in words; one of text that cannot be printed does not repeat it, for it may
be a secret in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import durationpy
from msgspec import Meta, Struct

from uidsync.config.rewriting import check_regex, compile_linear
from uidsync.config.tables import Before, read_value


def must(is_so: Callable[[Any], object], words: str) -> Callable[[Any], None]:
    """Make the check that a value is so; the words say what is wrong if it is not."""

    def check(value: object) -> None:
        if not is_so(value):
            raise ValueError(words)

    return check


def _read_duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    try:
        return durationpy.from_str(str(value))
    except (durationpy.DurationError, OverflowError):
        raise ValueError(f'{value!r} is not a duration such as "90s", "45m", "4h" or "7d"') from None


def _spell(duration: timedelta) -> str:
    """Return a duration as people write it: in days where it is some."""
    return f"{duration.days}d" if duration > DAY and not duration % DAY else durationpy.to_str(duration)


def between(least: timedelta, most: timedelta) -> Callable[[Any], None]:
    """Make the check that a duration lies in these bounds."""
    return must(lambda value: least <= value <= most, f"must be between {_spell(least)} and {_spell(most)}")


def _read_path(value: object) -> Path | None:
    if isinstance(value, str | Path):
        return Path(value) if value != "" else None
    raise ValueError("must be a path in quotes")


def _read_fingerprints(value: object) -> object:
    return ([value] if value else []) if isinstance(value, str) else value


def _read_host(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(r"(?!-)[A-Za-z0-9_.-]{1,253}", value):
        return value
    try:
        return str(IPv6Address(value))
    except ValueError:
        raise ValueError(f"{value!r} is neither a host name nor an address; a port has a key of its own") from None


def _check_listen(value: str) -> None:
    host, colon, port = value.rpartition(":")
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
        is_port = port.isascii() and port.isdigit() and int(port) <= LAST_PORT
    except ValueError:
        is_port = False
    if not colon or not is_port or ("[" in host) != (":" in host):
        raise ValueError('not an address and a port such as "127.0.0.1:9876" or "[::1]:9876"')


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and not parts.fragment
    except ValueError:
        return False
    return bool(is_url) and value.isascii() and value.isprintable() and " " not in value


def _read_network(value: object) -> object:
    try:
        return value if isinstance(value, IPv4Network | IPv6Network) else ip_network(str(value))
    except ValueError as error:
        raise ValueError(str(error)) from None


def _check_zone(value: str) -> None:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        by_end = {name.rpartition("/")[2].casefold(): name for name in sorted(available_timezones()) if "/" in name}
        close = get_close_matches(value.rpartition("/")[2].replace(" ", "_").casefold(), by_end, n=1, cutoff=0.8)
        hint = f"; did you mean {by_end[close[0]]}?" if close else " such as UTC or America/New_York"
        raise ValueError(f"{value!r} is not a time zone{hint}") from None


def _read_tag_names(value: object) -> object:
    if value != "all" and not isinstance(value, dict):
        raise ValueError('must be "all", or a table such as { "ROLE_STAFF" = "staff" }')
    return {"*": ""} if value == "all" else value


def _check_globs(value: dict[str, str]) -> None:
    for glob in value:
        if not glob or "," in glob:
            raise ValueError(
                f"{glob!r} matches no role: a role is never empty and has no comma. Give each role a pattern"
            )


def _check_prefix(value: str) -> None:
    if not re.fullmatch(PREFIX, value):
        raise ValueError("must be 1 to 24 characters: letters without accents, digits, . _ and -")
    if any(word.startswith(value.casefold()) for word in RESERVED):
        raise ValueError(f'{value!r} could make a tag "and", "or" or "not", which PAN-OS forbids: choose a longer one')


LAST_PORT = 65535
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

PRINTABLE = must(lambda value: str(value).isprintable(), "holds a character that cannot be printed")
Duration = Annotated[timedelta, Before(_read_duration)]
Text = Annotated[str, PRINTABLE]
Word = Annotated[str, Meta(min_length=1), PRINTABLE]
RESERVED = ("and", "or", "not")  # words of a filter: no tag may be one, in any case
PREFIX = r"^[A-Za-z0-9_.-]{1,24}$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Domain = Annotated[
    str,
    Meta(max_length=64, pattern=r"^[^\\@,]*$", extra={"hint": "name the domain alone, without \\, @ or a comma"}),
    PRINTABLE,
]
Vsys = Annotated[str, Meta(pattern=r"^(vsys[0-9]{1,3})?$", extra={"hint": 'write "vsys1", for example'})]
Regex = Annotated[str, check_regex]
LinearRegex = Annotated[str, compile_linear]
Host = Annotated[str, Before(_read_host)]
File = Annotated[
    Path | None, Before(_read_path, Annotated[str | None, Meta(extra_json_schema={"format": "path"})]), PRINTABLE
]
Name = Annotated[str, Meta(pattern=NAME, extra={"hint": "letters, digits, _, . and - are allowed, 64 at most"})]
Port = Annotated[int, Meta(ge=1, le=LAST_PORT)]
Listen = Annotated[str, _check_listen]
Percent = Annotated[int, Meta(ge=0, le=100)]

TimeZone = Annotated[str, _check_zone]
TextFile = Annotated[
    File,
    must(
        lambda file: file is None or file.suffix == ".prom",
        "must end in .prom: node_exporter's textfile collector reads no other file",
    ),
]
PingURL = Annotated[  # its path is a secret, so no refusal repeats it
    str,
    must(lambda url: not url or _is_url(url), "must be a URL that begins with https:// or http://"),
    must(lambda url: "@" not in urlsplit(url).netloc, "must not contain a user or a password"),
]
Network = Annotated[
    IPv4Network | IPv6Network,
    Before(
        _read_network,
        Annotated[str, Meta(extra_json_schema={"anyOf": [{"format": "ipv4network"}, {"format": "ipv6network"}]})],
    ),
]
Tag = Annotated[
    str,
    Meta(max_length=100),
    must(
        lambda tag: tag == " ".join(tag.split()) and tag.isprintable() and not set(tag) & set("'\"\\@,"),
        "a tag must not contain a quote, a comma, a backslash, an @ or surplus blanks",
    ),
]
TagPrefix = Annotated[str, _check_prefix, Meta(pattern=PREFIX)]
TagNames = Annotated[dict[str, Tag], Before(_read_tag_names, Literal["all"] | dict[str, str]), _check_globs]
Fingerprint = Annotated[
    str,
    must(
        lambda digits: re.fullmatch(r"[0-9a-f]{64}", digits.replace(":", "").lower()),
        "not a SHA-256 fingerprint of 64 hex digits",
    ),
]
Fingerprints = Annotated[tuple[Fingerprint, ...], Before(_read_fingerprints, str | list[str])]


class Table(Struct, frozen=True, kw_only=True):
    """A table of the configuration. It is frozen, and unknown keys are errors."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> tuple[Self | None, list[str]]:
        """Read the table. Return it, unless something is wrong with it, and all that is."""
        problems: list[str] = []
        table = read_value(cls, document, "", problems)
        return None if problems else table, problems

    def find_secrets(self) -> Iterator[Secret]:
        """List the secrets that the table needs, as it is filled in."""
        return iter(())


class Secret(Struct, frozen=True):
    """A secret that the configuration calls for. A private key is a whole file; all others are one line of text.

    A secret that is not `needed` is one of several ways to log in. `store_by` is the command that stores it.
    """

    name: str
    purpose: str
    explicit: Path | None = None
    is_key: bool = False
    needed: bool = True
    store_by: str = ""

    @property
    def command(self) -> str:
        """The command that stores it."""
        return self.store_by or f"uidsync secret set {self.name}" + (" < KEY-FILE" if self.is_key else "")


class SecretError(Exception):
    """A secret cannot be read; the message says where it was looked for."""


class NeighbourTable(Table, frozen=True):
    """The table of a neighbour. The neighbour brings its own model."""

    @classmethod
    def find_contradictions(cls, table: Mapping[str, Any], firewalls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """Find keys that lack another, or name a firewall that does not exist. Yield each, and what is wrong."""
        return iter(())
