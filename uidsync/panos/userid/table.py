"""Asks for a firewall's mapping table, reads it, and tells whose an entry is.

Pure: no I/O, no clock. Source: public captures of `show user ip-user-mapping`. Nobody knows how names are normalised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lxml import etree
from msgspec import Struct

from uidsync.panos import Subject, read_address
from uidsync.panos.userid.messages import Logout
from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import Request, make_op, read_elements, read_seconds

XML_API, UIA = "XMLAPI", "UIA"  # a table's names for its sources: this API, and an agent
ENTRY_PATH, COUNT_PATH = ("response", "result", "entry"), ("response", "result", "count")


class TableEntry(Struct, frozen=True):
    """One row of a firewall's mapping table; `seconds_left` is None for one that never expires."""

    ip: Subject
    vsys: str
    type: str
    user: str
    seconds_left: int | None


def find_other_spelling(logout: Logout, shown: Iterable[TableEntry]) -> str | None:
    """Return the name under which a firewall still shows a mapping after its logout; None if it is gone."""
    ours = (entry.user for entry in shown if entry.ip == logout.ip and entry.type == XML_API)
    return next((user for user in ours if is_shown_as(logout.user, user)), None)


def is_shown_as(sent: str, shown: str) -> bool:
    """Tell whether a firewall may show the sent user in this way.

    Case does not count. A firewall may add a domain or leave it out. It may show a NetBIOS domain (`CAMPUS`) as a DNS
    domain or a realm (`example.edu`), or the other way round; nobody can tell whether these belong together. With two
    different domains of one kind, they are two users.
    """
    (domain, name), (shown_domain, shown_name) = _split(sent), _split(shown)
    if name != shown_name:
        return False
    if not domain or not shown_domain or ("." in domain) != ("." in shown_domain):
        return True
    return domain == shown_domain


def _split(user: str) -> tuple[str, str]:
    """Return the domain or realm, and the name."""
    domain, has_domain, name = user.casefold().rpartition("\\")
    if has_domain:
        return domain, name
    name, _, realm = name.partition("@")
    return realm, name


def make_show_mappings(vsys: str = "", ip: Subject | None = None) -> Request:
    """Make the request for the mapping table, whole or for one address."""
    which = f"<ip>{ip}</ip>" if ip else "<all></all>"
    return make_op(f"<show><user><ip-user-mapping>{which}</ip-user-mapping></user></show>", vsys)


def read_mappings(response: etree._Element) -> tuple[TableEntry, ...]:
    """Read a small mapping table, such as that of one address. Entries without a user are left out. Raises BadReply."""
    return tuple(filter(None, map(_read_entry, response.iterfind("result/entry"))))


def read_table(status: int, pieces: Iterator[bytes]) -> Iterator[TableEntry]:
    """Read a mapping table of any size as it comes; `status` is the HTTP status.

    Entries without a user are left out. Raises what `read_elements` raises, and BadReply if the number of entries
    differs from the number that the table gives.
    """
    said, seen, is_strange = None, 0, False
    for path, element in read_elements(status, pieces, "table", {"result", "entry", "count"}, {ENTRY_PATH}):
        if path == ENTRY_PATH:
            seen += 1
            if entry := _read_entry(element):
                yield entry
        elif path == COUNT_PATH:
            said = (element.text or "").strip()
        elif path == ENTRY_PATH[: len(path)]:
            expected = {ENTRY_PATH[len(path)], "count"}
            is_strange = is_strange or any(child.tag not in expected for child in element.iterchildren(etree.Element))
    if is_strange and said is None and not seen:
        raise BadReply("the answer is not a table")
    if said is not None and said != str(seen):
        raise BadReply(f"the table holds {seen} entries and says {said[:20]!r}")


def _read_entry(entry: etree._Element) -> TableEntry | None:
    user = (entry.findtext("user") or "").strip()
    if not user or user == "unknown":
        return None
    try:
        ip = read_address((entry.findtext("ip") or "").strip())
    except ValueError:
        raise BadReply("the mapping table holds an entry without an address") from None
    left = read_seconds(entry.findtext("timeout"))
    return TableEntry(ip, entry.findtext("vsys") or "", entry.findtext("type") or "", user, left)
