"""Reads uidsync.toml, and reports everything that is wrong with it at once.

What it may say is in models.py; the tables of neighbours are handed in by whoever knows them.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError, create_model

from uidsync.config import models
from uidsync.config.credentials import describe_refusal
from uidsync.config.values import DOMAIN, NAME, VSYS, NeighbourTable, Table

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
BACKSLASH = "a backslash in \"...\" starts an escape: write '...' in single quotes"
PLACE = re.compile(r"at line (\d+)")
MEANT = {  # what tomllib says, and what to do
    "Illegal character '\\n'": "a text ends with the quote that it begins with, on the same line",
    "Cannot overwrite a value": "this table has that key already: keep one of the two",
    "Cannot declare": "that table is there already: put all its keys into one",
}
BARE_VALUE = re.compile(r"""\s*([\w.-]+)\s*=\s*[^\s"'\[{#]""")
ESCAPES = re.compile(r"[\b\t\n\f\r]")  # what \b, \t, \n, \f and \r become
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
    tables: dict[str, Any] = {name: (model or object, model and model()) for name, model in neighbours.items()}
    if not is_whole:
        tables |= {"source": (models.SourceConfig, None), "target": (models.Targets, ())}
    model: type[models.Config] = create_model("Config", __base__=models.Config, **tables)
    return model


def make_config(
    document: Mapping[str, Any], file: str, neighbours: Neighbours = NOBODY, *, is_whole: bool = True
) -> models.Config:
    """Make the configuration from its parsed file. Raises ConfigError with every problem in it."""
    problems = []
    if isinstance(document.get("target"), dict):  # the one [[target]] was meant
        document = {**document, "target": [document["target"]]}
        problems = [f"target: {TWO_BRACKETS}"]
    present = {name: neighbours[name] for name in neighbours if name in document}  # the others are not even imported
    problems += _find_contradictions(document, present)
    try:
        config = make_model(present, is_whole=is_whole).model_validate(document)
    except ValidationError as error:
        problems = [
            _describe(problem, neighbours)[:LONGEST_PROBLEM] for problem in error.errors(include_url=False)
        ] + problems
    if problems:
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
            yield from (f"{name}.{key}: {wrong}" for key, wrong in model.find_strangers(table, firewalls))


def _check_hosts(table: Mapping[str, Any], path: str) -> Iterator[str]:
    match bool(table.get("host")), bool(table.get("hosts")):
        case False, False:
            yield f"{path}.host: missing"
        case True, True:
            yield f"{path}.hosts: cannot be set together with host; keep one of them"


PLAIN_WORDS = {
    "missing": "missing",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be a list",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "path_type": "must be a path in quotes",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "holds a character that is not allowed, or is too long",
    "union_tag_invalid": "kind {tag!r} is none of {expected_tags}",
    "union_tag_not_found": "kind is missing",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
ALLOWED = {  # what to write instead, by the pattern that a text does not match
    DOMAIN: "; name the domain alone, without \\, @ or a comma",
    NAME: "; letters, digits, _, . and - are allowed, 64 at most",
    VSYS: '; write "vsys1", for example',
}


def _describe(problem: Any, neighbours: Neighbours) -> str:  # noqa: ANN401 (pydantic's own type for it is not public)
    path, parts = "", list(problem["loc"])
    tag = {"source": 1, "target": 2}.get(str(parts[0]), len(parts))  # where pydantic puts the kind into the path
    for part in parts[:tag] + parts[tag + 1 :]:
        if part == "[key]":  # what is wrong is a key of ours, whose name comes before
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    path = path.removeprefix(".")
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key{_suggest(path, neighbours)}"
    words: str = PLAIN_WORDS.get(problem["type"], problem["msg"])
    facts = problem.get("ctx", {})
    is_escaped = isinstance(problem["input"], str) and ESCAPES.search(problem["input"])
    hint = f"; {BACKSLASH}" if is_escaped else ALLOWED.get(facts.get("pattern", ""), "")
    return f"{path}: {words.format_map(facts)}{hint}"


TABLES: dict[str, tuple[type[Table], ...]] = {
    "source": (models.MySQLConfig, models.CSVConfig),
    "identity": (models.IdentityConfig,),
    "roles": (models.RolesConfig,),
    "sync": (models.SyncConfig,),
    "telemetry": (models.TelemetryConfig,),
    "target": (models.FirewallConfig, models.AgentConfig),
}


def _suggest(path: str, neighbours: Neighbours) -> str:
    """Suggest the key of the same table that was probably meant."""
    name, _, key = path.rpartition(".")
    own = neighbours.get(table := name.partition("[")[0])
    meant = (own,) if own else TABLES.get(table, (models.Config,))
    known = {name for model in meant for name in model.model_fields} | (set() if table else neighbours.keys())
    close = difflib.get_close_matches(key, sorted(known - {key}), n=1)
    return f"; did you mean {close[0]}?" if close else ""
