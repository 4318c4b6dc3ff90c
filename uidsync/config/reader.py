"""Reads uidsync.toml, and reports everything that is wrong with it at once.

What it may say is in models.py; the tables of neighbours are handed in by whoever knows them.
"""

from __future__ import annotations

import errno
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from uidsync.config import models
from uidsync.config.credentials import describe_refusal
from uidsync.config.tables import BACKSLASH
from uidsync.config.values import NAME, NeighbourTable

NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
PAIR = 2  # members of an HA pair
LARGEST_FILE = 2**20  # bytes: a thousand targets take a third of it
LONGEST_PROBLEM = 300  # characters: what is wrong may be a megabyte long
MOST_PROBLEMS = 100  # lines: nobody mends more of them before the next try
MOST_PARTS = 32  # of a dotted key; ours have four. What tomllib takes for one grows with the square of them
# Texts and comments, whose dots are no key's; a text that is not closed ends with its line.
QUOTED = re.compile(r"""\"{3}(?s:.*?)\"{3,5}|'{3}(?s:.*?)'{3,5}|\"(?:[^\"\\\n]|\\.)*+\"?|'[^'\n]*+'?|#.*""")
# What was probably meant where a file is not TOML. No hint repeats a value: that may be a secret.
TWO_BRACKETS = "write [[target]] with two brackets, once for each target"
PLACE = re.compile(r"at line (\d+)")
MEANT = {  # what tomllib says, and what to do
    "Illegal character '\\n'": "a text ends with the quote that it begins with, on the same line",
    "Cannot overwrite a value": "this table has that key already: keep one of the two",
    "Cannot declare": "that table is there already: put all its keys into one",
}
BARE_VALUE = re.compile(r"""\s*([\w.-]+)\s*=\s*[^\s"'\[{#]""")
# TOML's own limit is 64 bits. Python reads longer numbers, and refuses to print some of them.
HUGE = re.compile(r"0x[0-9A-Fa-f_]{17}|0o[0-7_]{23}|0b[01_]{65}|(?<![\w.])[0-9][0-9_]{19}")

# The tables of neighbours by name; None is one that is not installed, whose table says nothing to anybody.
Neighbours = Mapping[str, type[NeighbourTable] | None]
NOBODY: Neighbours = MappingProxyType({})


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are lines of `path: what is wrong`."""

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        more = (f"and {len(problems) - MOST_PROBLEMS:,} more",) if len(problems) > MOST_PROBLEMS else ()
        self.file = file
        self.problems = (*problems[:MOST_PROBLEMS], *more)
        super().__init__("\n".join(f"{file}: {problem}" for problem in self.problems))


def read_config(file: Path, neighbours: Neighbours = NOBODY, *, is_whole: bool = True) -> models.Config:
    """Read a configuration file, with the tables of these neighbours. Raises ConfigError with every problem in it.

    One that need not be whole may lack source and targets. Then `source` is None.
    """
    text = ""
    try:
        text = _read_text(file)
        document = tomllib.loads(_check_keys(text))
    except PermissionError:
        raise ConfigError("configuration", [describe_refusal(file)]) from None
    except OSError as error:
        hint = "; `uidsync init` writes one, --config names another" if isinstance(error, NO_FILE) else ""
        raise ConfigError(str(file), [f"cannot be read: {error.strerror or error}{hint}"]) from None
    except UnicodeDecodeError as error:
        problem = f"not UTF-8, from byte {error.start + 1:,} on: save the file as UTF-8"
        raise ConfigError(str(file), [problem]) from None
    except RecursionError:
        raise ConfigError(str(file), ["not TOML: brackets within brackets, too deep"]) from None
    except ValueError as error:
        problem = "; ".join(filter(None, (f"not TOML: {error}", _find_hint(text, str(error)))))
        raise ConfigError(str(file), [problem]) from None
    return make_config(document, str(file), neighbours, is_whole=is_whole)


def open_now(file: str, flags: int) -> int:
    """Open a file without waiting: a FIFO that nobody writes to is empty."""
    opened = os.open(file, flags | os.O_NONBLOCK)
    os.set_blocking(opened, True)
    return opened


def _read_text(file: Path) -> str:
    """Read a file, which may be endless."""
    with open(file, "rb", opener=open_now) as opened:
        text = opened.read(LARGEST_FILE + 1)
    if len(text) > LARGEST_FILE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return text.decode("utf-8-sig")


def _check_keys(text: str) -> str:
    """Return the text, unless a key in it has too many parts, or a number too many digits. Raises ValueError."""
    bare = QUOTED.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(bare.split("\n"), 1):
        if line.count(".") >= MOST_PARTS:
            raise ValueError(f"a key of more than {MOST_PARTS} parts (at line {number})")
        if HUGE.search(line):
            raise ValueError(f"a number of more than 64 bits (at line {number})")
    return text


def _find_hint(text: str, error: str) -> str:
    """Return what to write instead in the line that is not TOML; nothing if that is not known."""
    place = PLACE.search(error)
    lines = text.split("\n")
    line = lines[int(place[1]) - 1] if place and int(place[1]) <= len(lines) else ""
    if "target" in line and re.match(r"\s*\[\s*target\s*\]", line):
        return TWO_BRACKETS
    if "\\" in line and "'''" not in line and '"' in line:
        return BACKSLASH
    if bare := BARE_VALUE.match(line):
        return f'text needs quotes: {bare[1]} = "..."'
    return next((hint for words, hint in MEANT.items() if error.startswith(words)), "")


def make_model(neighbours: Neighbours, *, is_whole: bool = True) -> type[models.Config]:
    """Make the model of a configuration with the tables of these neighbours."""
    if not neighbours:
        return models.Config
    tables: list[tuple[str, Any, Any]] = [(name, own or object, own and own()) for name, own in neighbours.items()]
    if not is_whole:
        tables += [("source", models.SourceConfig, None), ("target", models.Targets, ())]
    return msgspec.defstruct("Config", tables, bases=(models.Config,), frozen=True, kw_only=True)  # type: ignore[return-value]


def make_config(
    document: Mapping[str, Any], file: str, neighbours: Neighbours = NOBODY, *, is_whole: bool = True
) -> models.Config:
    """Make the configuration from its parsed file. Raises ConfigError with every problem in it."""
    problems = []
    if isinstance(document.get("target"), dict):  # the one [[target]] was meant
        document = {**document, "target": [document["target"]]}
        problems = [f"target: {TWO_BRACKETS}"]
    present = {name: neighbours[name] if name in document else None for name in neighbours}  # no other is imported
    problems += _find_contradictions(document, present)
    config, wrong = make_model(present, is_whole=is_whole).read(document)
    problems = [problem[:LONGEST_PROBLEM] for problem in wrong] + problems
    if config is None or problems:
        raise ConfigError(file, _name_targets(problems, document))
    return config


def _name_targets(problems: Sequence[str], document: Mapping[str, Any]) -> list[str]:
    """Name targets in problems, instead of counting them, where the name is good and no other target's."""
    targets = document.get("target")
    targets = targets if isinstance(targets, list) else []
    names = [target.get("name") if isinstance(target, dict) else None for target in targets]

    def name(found: re.Match[str]) -> str:
        word = names[int(found[1])]
        is_good = isinstance(word, str) and re.fullmatch(NAME, word) and names.count(word) == 1
        return f'target "{word}": ' if is_good else found[0]

    return [re.sub(r"^target\[(\d+)\](?:\.|: )", name, problem) for problem in problems]


def _find_contradictions(document: Mapping[str, Any], neighbours: Neighbours) -> Iterator[str]:
    """Find contradictions between values: keys that exclude, need or repeat each other."""
    source, sync = document.get("source"), document.get("sync")
    if isinstance(source, dict) and source.get("kind") == "csv" and isinstance(sync, dict) and sync.get("standby_lock"):
        yield 'sync.standby_lock: needs a source of kind = "mysql": the lock is in the database'
    if isinstance(source, dict) and source.get("kind") == "mysql" and not source.get("unix_socket"):
        yield from _check_hosts(source, "source")
    targets = document.get("target")
    if targets == []:
        yield "target: none; at least one [[target]] is needed"
    targets = [target if isinstance(target, dict) else {} for target in targets] if isinstance(targets, list) else []
    names = Counter(str(target.get("name")) for target in targets if "name" in target)
    for place, target in enumerate(targets):
        path = f"target[{place}]"
        yield from _check_hosts(target, path)
        members = target.get("hosts")
        if isinstance(members, list) and members and (len(members) != PAIR or members[0] == members[-1]):
            yield f"{path}.hosts: must name the two members of an HA pair; for a single firewall, use host"
        if names[str(target.get("name"))] > 1:
            yield f"{path}.name: {target['name']!r} names more than one target"
        if target.get("ca_file") and target.get("fingerprint_sha256"):
            yield f"{path}.fingerprint_sha256: cannot be set together with ca_file; keep one of them"
    firewalls = {str(target.get("name")): target for target in targets if target.get("kind") == "firewall"}
    for name, model in neighbours.items():
        table = document.get(name)
        if model is not None and isinstance(table, dict):
            yield from (f"{name}.{key}: {wrong}" for key, wrong in model.find_contradictions(table, firewalls))


def _check_hosts(table: Mapping[str, Any], path: str) -> Iterator[str]:
    match bool(table.get("host")), bool(table.get("hosts")):
        case False, False:
            yield f"{path}.host: missing"
        case True, True:
            yield f"{path}.hosts: cannot be set together with host; keep one of them"
