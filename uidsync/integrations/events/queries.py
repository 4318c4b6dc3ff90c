"""Knows the queries that have a name, and makes the one that somebody asks for.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address

from msgspec import Struct
from msgspec.structs import replace

from uidsync.integrations.events.config import EventsConfig
from uidsync.integrations.events.filters import (
    at_addresses,
    check_condition,
    check_log_type,
    enclose,
    equals,
    equals_bare,
)
from uidsync.refusal import Refusal, read_option, suggest


class Query(Struct, frozen=True):
    """What to look for in which log; without a condition it is all of the log."""

    name: str
    log_type: str
    condition: str = ""


class Wish(Struct, frozen=True):
    """What somebody asks for: queries by name, or one of its own, and what narrows all of them."""

    names: Sequence[str] = ()
    log_type: str = ""
    condition: str = ""
    threat_id: str = ""
    nat: str = ""
    addresses: Sequence[str] = ()


NAMED = (
    Query("virus", "threat", "(subtype eq virus)"),
    Query("spyware", "threat", "(subtype eq spyware)"),
    Query("brute-force-ssh", "threat", equals("name-of-threatid", "SSH User Authentication Brute Force Attempt")),
    Query("brute-force-mail", "threat", equals("name-of-threatid", "MAIL: User Login Brute Force Attempt")),
    Query("brute-force-sip", "threat", equals("name-of-threatid", "SIP Bye Message Brute Force Attack")),
    Query("cnc", "traffic"),
    Query("malware", "wildfire"),
)
LAST_PORT = 65_535
MOST_ADDRESSES = 50  # in one filter: how long one may be is not published


def list_queries(config: EventsConfig) -> Mapping[str, Query]:
    """Return all queries that have a name; one's own takes the place of one that is built in."""
    queries = {query.name: query for query in NAMED}
    queries["cnc"] = replace(queries["cnc"], condition=equals_bare("rule", config.cnc_rule))
    for name, own in config.query.items():
        condition = _join(check_condition(own.filter), _of_threat(own.threat_id))
        queries[name] = Query(name, check_log_type(own.log_type), condition)
    return queries


def choose_queries(wish: Wish, config: EventsConfig) -> list[Query]:
    """Return the queries that are asked for; with nothing asked for, all of the threat log.

    Raises Refusal.
    """
    known = list_queries(config)
    if wish.names and wish.log_type:
        raise Refusal("leave it out: the name of a query says which log is read", "--log-type")
    usual = "traffic" if wish.nat else "threat"
    log_type = read_option("--log-type", check_log_type, wish.log_type) if wish.log_type else usual
    names = dict.fromkeys(_find_name(name, known) for name in wish.names)
    chosen = [known[name] for name in names] or [Query(log_type, log_type)]
    narrowed = (
        read_option("--query", check_condition, wish.condition),
        read_option("--threat-id", _of_threat, wish.threat_id),
        read_option("--nat", _of_nat, wish.nat),
    )
    chosen = [replace(query, condition=_join(query.condition, *narrowed)) for query in chosen]
    if not wish.addresses:
        return chosen
    places = [wish.addresses[start : start + MOST_ADDRESSES] for start in range(0, len(wish.addresses), MOST_ADDRESSES)]
    return [
        replace(query, condition=_join(query.condition, at_addresses(map(ip_address, some))))
        for query in chosen
        for some in places
    ]


def _find_name(given: str, known: Collection[str]) -> str:
    """Return the query that a name means, in whatever case. Raises Refusal."""
    if given in known:
        return given
    by_case = {name.casefold(): name for name in known}
    if given.casefold() in by_case:
        return by_case[given.casefold()]
    raise Refusal(f"no query has the name {given}; {suggest(given, known)}", "NAME")


def _of_threat(number: str) -> str:
    if number and not re.fullmatch("[0-9]{1,10}", number):
        raise ValueError(f"{number!r} is not the number of a threat, such as 40007")
    return f"( threatid eq {number} )" if number else ""


def _of_nat(words: str) -> str:
    """Return the condition of a translated source: an address as the world saw it, and its port."""
    if not words:
        return ""
    address, _, port = words.rpartition(":")
    try:
        ip = ip_address(address.strip("[]"))
    except ValueError:
        ip = None
    if ip is None or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= LAST_PORT:
        raise ValueError(f"{words!r} is not ADDRESS:PORT: many people share the address, and the port tells them apart")
    return f"( natsrc in {ip} ) and ( natsport eq {int(port)} )"


def _join(*conditions: str) -> str:
    there = [words for words in conditions if words]
    return there[0] if len(there) == 1 else " and ".join(map(enclose, there))
