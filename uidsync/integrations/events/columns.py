"""Lists events one by one, with the columns that somebody wants: as CSV, JSON lines, or a table; and by person.

Column sets are data. `log_NAME` is a field of the log as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from difflib import get_close_matches
from typing import Any

from uidsync.integrations.events.event import Event
from uidsync.integrations.events.spool import SIDES, Spool

PLAIN = tuple(name for name in Event._fields if name not in {"key", "log", "src_key", "dst_key", "raw", "at"})
OF_SIDE = ("mark", "user", "candidates", "since", "until", "mac", "machine", "verdict")
KNOWN = tuple(f"{side}_nac_{name}" for side in SIDES for name in OF_SIDE)
PROFILES: Mapping[str, tuple[str, ...]] = {
    "minimal": ("time", "src", "src_name", "dst", "dst_name", "threat"),
    "standard": (
        "time", "device", "severity", "action", "src", "src_user", "src_nac_user", "src_nac_mark", "dst", "dst_user",
        "dst_nac_user", "dst_nac_mark", "threat", "threat_id",
    ),
    "people": (
        "time", "threat", "threat_id",
        *(f"{side}{name}" for side in SIDES for name in ("", "_user", *(f"_nac_{own}" for own in OF_SIDE))),
    ),
    "all": (*PLAIN, "src_name", "dst_name", *KNOWN),
}  # fmt: skip
SOURCES = (
    {name: f"e.{name}" for name in PLAIN}
    | {f"{side}_name": f"coalesce({side}.name, e.{side}_user)" for side in SIDES}
    | {f"{side}_nac_{name}": f"{side}.{name}" for side in SIDES for name in OF_SIDE}
)
ALL = "all"
RAW = "log_"  # before the name of a field of the log
TIMES = frozenset({"time", *(f"{side}_nac_{name}" for side in SIDES for name in ("since", "until"))})


def read_columns(words: str) -> tuple[str, ...]:
    """Return the columns of a profile, or those that are named, separated by commas. Raises ValueError."""
    if words in PROFILES:
        return PROFILES[words]
    names = tuple(dict.fromkeys(name.strip() for name in words.split(",")))
    known = PROFILES[ALL]
    for name in names:
        if name not in known and not name.removeprefix(RAW):
            raise ValueError(f"name a set ({', '.join(PROFILES)}) or columns, separated by commas")
        if name not in known and not name.startswith(RAW):
            if name in PROFILES:
                raise ValueError(f"{name} is a set: name it alone, or name columns")
            alike = get_close_matches(name, known, n=1)
            hint = f"did you mean {alike[0]}? A" if alike else f"there are {', '.join(known)}; a"
            raise ValueError(f"no column has the name {name}; {hint} field of the log itself is {RAW}{name}")
    return names


def find_raw(words: str) -> Collection[str] | None:
    """Return which fields of the log have to be kept for these columns; None is all of them."""
    if words == ALL:
        return None
    names = set(read_columns(words)) - set(PROFILES[ALL])
    return frozenset(name.removeprefix(RAW) for name in names)


def list_events(
    spool: Spool, columns: Sequence[str], zone: tzinfo | None, *, with_rest: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield each event, the oldest first, with these columns; `with_rest` adds all other fields of the log."""
    own = [name for name in columns if name in PROFILES[ALL]]
    others = [name for name in columns if name not in PROFILES[ALL]]
    needs_raw = with_rest or bool(others)
    chosen = ", ".join([*(SOURCES[name] for name in own), *(["e.raw"] if needs_raw else [])]) or "1"
    statement = (
        f"SELECT {chosen} FROM event e "  # noqa: S608 (constants)
        "LEFT JOIN side src ON src.event = e.id AND src.side = 'src' "
        "LEFT JOIN side dst ON dst.event = e.id AND dst.side = 'dst' ORDER BY e.at, e.id"
    )
    times = [place for place, name in enumerate(own) if name in TIMES]
    for row in spool.select(statement):
        values = list(row)
        for place in times:
            values[place] = _show_moment(values[place], zone)
        event = dict(zip(own, values, strict=False))
        if needs_raw:
            raw = json.loads(values[-1]) if values[-1] else {}
            event |= {name: raw.get(name.removeprefix(RAW)) for name in others}
            event |= {f"{RAW}{name}": text for name, text in raw.items()} if with_rest else {}
        yield {name: event[name] for name in columns} | event if others else event


def _show_moment(at: float | str | None, zone: tzinfo | None) -> str | None:
    """Write a moment in the zone of the report; a time of a log without an offset stays as it is."""
    if isinstance(at, str):
        moment = datetime.fromisoformat(at) if at else None
        return moment.astimezone(zone).isoformat() if moment and moment.tzinfo else at
    return None if at is None else datetime.fromtimestamp(at, zone).isoformat()


def list_raw_names(spool: Spool) -> tuple[str, ...]:
    """Return the names of all fields that the logs have, for the head of a table."""
    rows = spool.select("SELECT DISTINCT j.key FROM event, json_each(event.raw) j WHERE raw IS NOT NULL ORDER BY j.key")
    return tuple(f"{RAW}{row[0]}" for row in rows)


def find_missing(spool: Spool, words: str | None) -> list[str]:
    """Return the columns that no event has a field of the log for."""
    if words is None or not (fields := find_raw(words)):
        return []
    return sorted({f"{RAW}{name}" for name in fields} - set(list_raw_names(spool)))


BY_USER = ("user", "devices", "threats", "addresses", "events", "first", "last", "differs")
PEOPLE = """
  WITH told AS (
    SELECT s.event, s.side, s.user, coalesce(s.machine, s.mac) AS device, e.time, e.received, e.threat, e.threat_id,
      CASE s.side WHEN 'src' THEN e.src ELSE e.dst END AS address, s.first, s.verdict
    FROM side s JOIN event e ON e.id = s.event WHERE s.mark = '' AND s.user IS NOT NULL
  )
  SELECT MAX(user) AS user, json_group_array(DISTINCT device) FILTER (WHERE device IS NOT NULL) AS devices,
    json_group_array(DISTINCT threat) AS threats, json_group_array(DISTINCT address) AS addresses,
    COUNT(DISTINCT event) AS events, MIN(first) AS first, MAX(first) AS last,
    COUNT(DISTINCT event) FILTER (WHERE verdict = 'differs') AS differs
  FROM told GROUP BY fold(user) ORDER BY events DESC, fold(user)
"""


def list_people(spool: Spool, zone: tzinfo | None) -> Iterator[dict[str, Any]]:
    """Yield one line for each person with a sure name: devices, threats, how often, first and last.

    Devices, threats and addresses are lists.
    """
    for row in spool.select(PEOPLE):
        person = dict(row)
        person |= {name: json.loads(person[name]) for name in ("devices", "threats", "addresses")}
        for name in ("first", "last"):
            person[name] = _show_moment(person[name], zone)
        yield person


def count_unsure(spool: Spool) -> dict[str, int]:
    """Count the sides of events without a sure name, by reason."""
    rows = spool.select("SELECT mark, COUNT(*) AS n FROM side WHERE mark != '' GROUP BY mark ORDER BY n DESC, mark")
    return {row["mark"]: row["n"] for row in rows}


def show_cell(value: object) -> str:
    """Return the text of a cell; several values are parted by `|`, and one that is in a value is escaped."""
    if isinstance(value, list):
        return " | ".join(text.replace("|", r"\|") for text in value)
    return "" if value is None else str(value)


def write_lines(
    rows: Iterator[dict[str, Any]], columns: Sequence[str], make: Callable[[Sequence[object]], str]
) -> Iterator[str]:
    """Yield rows as CSV, the names of the columns first."""
    yield make(columns)
    for row in rows:
        yield make([show_cell(row.get(name)) for name in columns])


def write_json(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield rows as JSON, one a line."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"
