"""Writes log filters: the names of logs, and conditions whose values cannot add other conditions.

Pure: no I/O, no clock. Sources: the Monitor tab of the web interface, and captures of queries that work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches

from msgspec import Struct
from msgspec.structs import replace

from uidsync.panos import Address
from uidsync.panos.logs.events import plain_address

# "Retrieve Logs" of the vendor's API guide.
LOG_TYPES = (
    "traffic", "threat", "config", "system", "hipmatch", "globalprotect", "wildfire", "url", "data", "corr",
    "corr-detail", "corr-categ", "userid", "auth", "gtp", "external", "iptag", "decryption",
)  # fmt: skip
TIME = "%Y/%m/%d %H:%M:%S"
WIDTH = len("2016/12/14 09:50:24")
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
JOINTS = frozenset({"and", "or", "not"})
BARE = re.compile(r"[A-Za-z0-9_.-]+")


class Search(Struct, frozen=True):
    """What to read of one log: a condition, and the first and the last `receive_time`.

    Both times have no zone: they show the wall clock of the device that is asked. `device_name` and `serial` choose a
    firewall behind Panorama. `fields` are the fields to keep of an entry; none means all.
    """

    log_type: str
    condition: str
    since: datetime
    until: datetime
    device_name: str = ""
    serial: str = ""
    fields: tuple[str, ...] = ()

    def from_time(self, since: datetime) -> Search:
        """Return the same search from a later time on."""
        return replace(self, since=since)

    @property
    def words(self) -> str:
        """The filter that the firewall gets."""
        parts = [enclose(self.condition)] if self.condition else []
        parts.append(f"( receive_time geq '{self.since:{TIME}}' )")
        parts.append(f"( receive_time leq '{self.until:{TIME}}' )")
        parts += [
            equals(field, value)
            for field, value in (("device_name", self.device_name), ("serial", self.serial))
            if value
        ]
        return " and ".join(parts)


def equals(field: str, value: str) -> str:
    """Return the condition that a field has a value. Raises ValueError for a value with a quote."""
    return f"( {_check_field(field)} eq '{check_value(value)}' )"


def equals_bare(field: str, value: str) -> str:
    """Return the same without quotes and blanks, as `(rule eq cnc)`. A value that needs quotes gets them."""
    return f"({_check_field(field)} eq {value})" if BARE.fullmatch(value) else equals(field, value)


def at_addresses(ips: Iterable[Address]) -> str:
    """Return the condition that the source or the destination is one of these addresses."""
    return " or ".join(f"( {side} in {plain_address(ip)} )" for ip in ips for side in ("addr.src", "addr.dst"))


def check_value(value: str) -> str:
    """Return a value if it may stand between quotes. Raises ValueError."""
    if "'" in value or '"' in value:
        raise ValueError(f"{value!r} contains a quote, which no filter can carry")
    if not value or not value.isprintable():
        raise ValueError(f"{value!r} is empty or contains an unprintable character")
    return value


def _check_field(field: str) -> str:
    if not FIELD.fullmatch(field):
        raise ValueError(f"{field!r} is not the name of a field")
    return field


def check_log_type(name: str) -> str:
    """Return the name of a log, in lower case; it may be one that no guide knows. Raises ValueError for a slip."""
    name = name.lower()
    if alike := name not in LOG_TYPES and get_close_matches(name, LOG_TYPES, n=1, cutoff=0.75):
        raise ValueError(f"{name!r} is not a log; did you mean {alike[0]}?")
    if not re.fullmatch("[a-z][a-z0-9-]{0,31}", name):
        raise ValueError(f"{name!r} is not a log; there are {', '.join(LOG_TYPES)}")
    return name


def check_condition(words: str) -> str:
    """Return a filter that somebody wrote, if its quotes and parentheses are closed. Raises ValueError.

    An open quote or parenthesis could swallow the time bounds that follow. So only `and`, `or` and `not` may stand
    outside parentheses.
    """
    depth, quote, outside = 0, "", ""
    for character in words:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth < 0:
                break
        outside += " " if depth or character == ")" else character
    if depth or quote:
        raise ValueError(f"{words!r}: a {'quote' if quote else 'parenthesis'} is not closed, or was never opened")
    if not words.isprintable():
        raise ValueError("the filter contains an unprintable character")
    if not set(outside.lower().split()) <= JOINTS:
        raise ValueError(f"{words!r}: put each condition into parentheses, as in (app eq ssh) and (port.dst eq 22)")
    return words.strip()


def enclose(words: str) -> str:
    """Return a condition that `and` can join to others."""
    return f"({words})" if re.search(r"\bor\b", re.sub(r"'[^']*'|\"[^\"]*\"", "", words)) else words


def read_received(text: str) -> datetime | None:
    """Read a `receive_time`, which has no zone; None if the text is none."""
    if len(text) != WIDTH:
        return None
    try:
        return datetime.strptime(text, TIME)  # noqa: DTZ007 (in the firewall's zone, which the text does not name)
    except ValueError:
        return None
