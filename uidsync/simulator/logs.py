"""Keeps a simulated firewall's logs, and finds in them what a filter means.

Pure: no I/O, no clock. Logs are kept by `receive_time`, the oldest first, as text in the firewall's own zone. Filters
are those of the web interface's Monitor tab, as far as clients in the field were seen to use them.
"""

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from html import escape
from ipaddress import ip_address, ip_network
from time import gmtime, strftime
from typing import Protocol

from uidsync.simulator.logsamples import SAMPLES

Fields = Mapping[str, str]
Test = Callable[[Fields], bool]
TOKEN = re.compile(r"\s*(\(|\)|'[^']*'|\"[^\"]*\"|[^\s()'\"]+)")
NAMES = {  # of fields in filters, where they have another name in an entry
    "addr.src": "src", "addr.dst": "dst", "zone.src": "from", "zone.dst": "to", "port.src": "sport",
    "port.dst": "dport", "user.src": "srcuser", "user.dst": "dstuser", "name-of-threatid": "threatid",
    "threatid": "tid",
}  # fmt: skip
TIMES = frozenset({"receive_time", "time_generated"})
EARLIEST, LATEST = "0", "9"
RAW = "raw"  # of an entry: XML that is put in as it is


class FilterError(ValueError):
    """A filter that is not understood."""


def at(moment: float) -> str:
    """Write a moment as logs do."""
    return strftime("%Y/%m/%d %H:%M:%S", gmtime(moment))


# ---- what is in a log --------------------------------------------------------------------------------------------


class Kept(Protocol):
    """Entries in their order."""

    def __len__(self) -> int: ...

    def time(self, place: int) -> str:
        """Return when an entry was received."""
        ...

    def fields(self, place: int) -> Fields:
        """Return what an entry says beyond the sample of its log."""
        ...


@dataclass(slots=True)
class Entries:
    """Entries that somebody put in one by one; of one second the one that came last is the last."""

    kept: list[tuple[str, int, int, Fields]] = field(default_factory=list)  # the count of them parts those alike

    def __len__(self) -> int:
        return len(self.kept)

    def time(self, place: int) -> str:
        """Return when an entry was received."""
        return self.kept[place][0]

    def fields(self, place: int) -> Fields:
        """Return what an entry says beyond the sample of its log."""
        return self.kept[place][3]

    def add(self, fields: Fields) -> None:
        """Put in an entry."""
        insort(self.kept, (fields["receive_time"], int(fields["logid"]), len(self.kept), fields))


@dataclass(frozen=True, slots=True)
class Flood:
    """Very many entries that are made when they are asked for: so many in each second from `start` on."""

    count: int
    start: float
    per_second: int
    addresses: int
    serial: str
    reached: dict[tuple[str, bool, int], int] = field(default_factory=dict)  # by filter, order and entries skipped

    def __len__(self) -> int:
        return self.count

    def time(self, place: int) -> str:
        """Return when an entry was received."""
        return at(self.start + place // self.per_second)

    def fields(self, place: int) -> Fields:
        """Return what an entry says: the addresses take turns, and every seventh entry has a user."""
        time, inside = self.time(place), place * 7919 % self.addresses
        address = f"10.{inside >> 16 & 255}.{inside >> 8 & 255}.{inside & 255}"
        threat = place % 11
        user = {"dstuser": f"corporation\\u{inside}"} if place % 7 == 0 else {}
        return {
            "logid": str(place + 1), "receive_time": time, "time_generated": time, "serial": self.serial,
            "seqno": str(place + 1), "subtype": "spyware", "src": "178.218.122.66", "dst": address,
            "threatid": f"Family{threat}.Gen Command and Control Traffic({86000 + threat})", "tid": str(86000 + threat),
            **user,
        }  # fmt: skip


def show(log_type: str, fields: Fields) -> str:
    """Write an entry as XML: the sample of its log, with what this one says."""
    own = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items() if name not in {RAW, "logid"})
    rest = _show_sample(log_type, tuple(fields))
    return f'<entry logid="{fields["logid"]}">{own}{rest}{fields.get(RAW, "")}</entry>'


@lru_cache
def _show_sample(log_type: str, without: tuple[str, ...]) -> str:
    return "".join(
        f"<{name}>{escape(text)}</{name}>" for name, text in SAMPLES.get(log_type, {}).items() if name not in without
    )


def search(log_type: str, kept: Kept, words: str, *, skip: int, wanted: int, forward: bool) -> list[Fields]:
    """Return the entries that a filter means, without the first `skip`, and no more than are wanted."""
    test, since, until = read_filter(words)
    begin = bisect_left(range(len(kept)), since, key=kept.time)
    end = bisect_right(range(len(kept)), until, key=kept.time)
    found: list[Fields] = []
    sample = SAMPLES.get(log_type, {})
    order = range(begin, end) if forward else range(end - 1, begin - 1, -1)
    reached = kept.reached if isinstance(kept, Flood) else {}  # what never changes is not counted again
    first, already = reached.get((words, forward, skip), 0), skip
    skip = 0 if first else skip
    for number, place in enumerate(order[first:], first + 1):
        fields = kept.fields(place)
        if not test({**sample, **fields}):
            continue
        if skip:
            skip -= 1
            continue
        found.append(fields)
        if len(found) == wanted:
            reached[words, forward, already + wanted] = number
            break
    return found


# ---- what a filter means -----------------------------------------------------------------------------------------


@cache
def read_filter(words: str) -> tuple[Test, str, str]:
    """Return the test of a filter, and between what times of reception it can be passed. Raise FilterError."""
    tokens = TOKEN.findall(words)
    if TOKEN.sub("", words).strip():
        raise FilterError(words)
    if not tokens:
        return lambda _fields: True, EARLIEST, LATEST
    bounds = [EARLIEST, LATEST]
    reader = _Reader([*tokens, ""])
    test = reader.read_any(bounds)
    if reader.tokens[reader.place]:
        raise FilterError(words)
    return test, bounds[0], bounds[1]


@dataclass(slots=True)
class _Reader:
    tokens: list[str]
    place: int = 0

    def read_any(self, bounds: list[str] | None) -> Test:
        """Read alternatives; bounds hold only where there are none."""
        own = None if bounds is None else list(bounds)
        tests = [self._read_all(own)]
        while self._take("or"):
            tests.append(self._read_all(None))
        if len(tests) == 1:
            if bounds is not None and own is not None:
                bounds[:] = own
            return tests[0]
        return lambda fields: any(test(fields) for test in tests)

    def _read_all(self, bounds: list[str] | None) -> Test:
        tests = [self._read_one(bounds)]
        while self._take("and"):
            tests.append(self._read_one(bounds))
        return tests[0] if len(tests) == 1 else lambda fields: all(test(fields) for test in tests)

    def _read_one(self, bounds: list[str] | None) -> Test:
        if self._take("not"):
            test = self._read_one(None)
            return lambda fields: not test(fields)
        if not self._take("("):
            raise FilterError(self.tokens[self.place])
        is_inner = self.tokens[self.place] == "(" or self.tokens[self.place].lower() == "not"
        test = self.read_any(bounds) if is_inner else self._read_condition(bounds)
        if not self._take(")"):
            raise FilterError(self.tokens[self.place])
        return test

    def _read_condition(self, bounds: list[str] | None) -> Test:
        if self.place + 3 >= len(self.tokens):
            raise FilterError("it ends too soon")
        name, operator, value = (token.strip("'\"") for token in self.tokens[self.place : self.place + 3])
        self.place, name = self.place + 3, name.lower()
        if name in TIMES and value.isdigit():
            value = at(float(value))
        if bounds is not None and name == "receive_time" and operator in {"geq", "leq"}:
            side = operator == "leq"
            bounds[side] = min(bounds[1], value) if side else max(bounds[0], value)
        return _make_test(NAMES.get(name, name), operator, value)

    def _take(self, word: str) -> bool:
        is_there = self.tokens[self.place].lower() == word
        self.place += is_there
        return is_there


def _make_test(name: str, operator: str, value: str) -> Test:
    names = ("src", "dst") if name == "addr" else (name,)
    if operator == "in" and name in {"src", "dst", "addr", "ip"} and not _is_network(value):
        raise FilterError(value)
    judge = JUDGES.get(operator)
    if judge is None:
        raise FilterError(operator)
    if operator == "neq":
        return lambda fields: all(judge(fields.get(each, ""), value) for each in names)
    return lambda fields: any(judge(fields.get(each, ""), value) for each in names)


def _is_network(value: str) -> bool:
    try:
        ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def _is_in(text: str, value: str) -> bool:
    try:
        return ip_address(text) in ip_network(value, strict=False)
    except ValueError:
        return text == value


def _order(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdigit() else (0, text)


JUDGES: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, value: text.lower() == value.lower(),
    "neq": lambda text, value: text.lower() != value.lower(),
    "geq": lambda text, value: _order(text) >= _order(value),
    "leq": lambda text, value: _order(text) <= _order(value),
    "in": _is_in,
    "contains": lambda text, value: value.lower() in text.lower(),
}
