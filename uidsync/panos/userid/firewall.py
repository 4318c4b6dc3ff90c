"""A firewall, an HA pair or a firewall behind Panorama, as a target."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, TypeVar

from lxml import etree
from msgspec import Struct

from uidsync.panos import Address, Subject
from uidsync.panos.userid import table
from uidsync.panos.userid.messages import (
    Entry,
    Logout,
    Rejection,
    make_empty_message,
    make_update,
    make_user_id,
    read_rejections,
)
from uidsync.panos.userid.pair import HA_STATE, Pair, Roles, read_role
from uidsync.panos.userid.table import TableEntry
from uidsync.panos.wire.client import Client, Read
from uidsync.panos.wire.errors import BadRequest, Unauthorized
from uidsync.panos.wire.retries import Tries
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, Request, address_to

if TYPE_CHECKING:  # a run asks for no log: who does imports what it takes
    from uidsync.panos.logs.events import LogEntry, LogQuery, UserIdEvent

# Questions for single mappings that could not be logged out; for more of them the whole table is read, once.
MOST_QUESTIONS = 100
NO_JOB = "0"  # the jobs of a firewall are counted from 1
EVENTS_SHOWN = 100  # of an address, the newest: a login a minute would be more than an hour's

Taken = TypeVar("Taken")


class System(Struct, frozen=True):
    """What a firewall says of itself."""

    hostname: str
    model: str
    serial: str
    version: str


class Firewall:
    """Sends batches to one vsys of one firewall; `serial` names a firewall behind Panorama."""

    client_certificate_not_after: datetime | None = None  # of our own certificate: there is none

    def __init__(self, client: Client | Pair, *, vsys: str = "", serial: str = "") -> None:
        self._client = client
        self.vsys = vsys
        self._serial = serial
        self._looking = threading.Lock()  # several threads may log out, and one of them reads the table for all
        self._questions = 0
        self._shown: dict[Subject, tuple[TableEntry, ...]] | None = None
        self._warnings: dict[str, str] = {}

    @property
    def attempts(self) -> int:
        """Messages that this thread has sent, those of retries included, without questions."""
        return self._client.count_attempts("user-id")

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate that the firewall last showed ends."""
        return self._client.certificate_not_after

    @property
    def member(self) -> str:
        """The active member of a pair; empty if none is known, or without a pair."""
        return self._client.member

    @property
    def warnings(self) -> Mapping[str, str]:
        """What to tell beside outcomes, by log event."""
        return {**self._warnings, **self._client.warnings}

    def send(self, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        """Send one batch, of logins or of logouts; return what the firewall rejects. Raises PanosError.

        A logout of a mapping that is gone is not rejected. The firewall is asked whether it is gone, and one that is
        still there under another spelling is logged out as it is shown. A key without the right to ask is told of in
        `warnings`, and the firewall believed.
        """
        rejections = self._send(batch)
        unsure = [rejection for rejection in rejections if rejection.is_about_gone]
        left = self._log_out_as_shown([Logout(each.entry.ip, each.entry.user) for each in unsure])
        return tuple(rejection for rejection in rejections if not rejection.is_about_gone or rejection.entry in left)

    def _send(self, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        return read_rejections(self.call(make_update(batch, self.vsys)), batch)

    def call(self, request: Request, *, tries: Tries = "usual", of_panorama: bool = False) -> etree._Element:
        """Make one call, of the firewall or of the Panorama before it. Raises PanosError."""
        return self._client.call(request if of_panorama else self._address(request), tries=tries)

    def read(self, request: Request, read: Read[Taken], *, tries: Tries = "usual") -> Taken:
        """Make one call whose answer may be large. Raises PanosError."""
        return self._client.read(self._address(request), read, tries=tries)

    def _log_out_as_shown(self, logouts: Sequence[Logout]) -> set[Entry]:
        """Log out what is left of mappings that were said not to be there; return the logouts of those that stay.

        First by the name that is shown, then by the address alone.
        """
        shown: dict[Entry, Entry] = {}
        try:
            for logout in logouts:
                if name := table.find_other_spelling(logout, self._look(logout.ip)):
                    shown[Logout(logout.ip, name)] = logout
        except (Unauthorized, BadRequest) as error:
            self._warnings["logouts.unsure"] = f"cannot ask whether the logout took effect: {error}"
        if not shown:
            return set()
        stubborn: dict[Entry, Entry] = {
            Logout(each.entry.ip, ""): shown[each.entry] for each in self._send(list(shown))
        }
        return {stubborn[each.entry] for each in self._send(list(stubborn))} if stubborn else set()

    def _look(self, ip: Subject) -> tuple[TableEntry, ...]:
        """Return what is shown at an address: asked for it at first, looked up in the whole table when it gets much."""
        with self._looking:
            self._questions += 1
            if self._questions > MOST_QUESTIONS and self._shown is None:
                self._shown = self.read_table(_sort_by_address)
        return self.ask(ip) if self._shown is None else self._shown.get(ip, ())

    def try_right(self) -> None:
        """Send a message without entries: it changes nothing and needs the same right. Raises PanosError."""
        self.call(make_user_id(make_empty_message(), self.vsys))

    def read_system(self) -> System:
        """Ask the firewall who it is. Raises PanosError."""
        response = self.call(SYSTEM_INFO)
        return System(
            *(
                (response.findtext(f"result/system/{key}") or "").strip()
                for key in ("hostname", "model", "serial", "sw-version")
            )
        )

    def try_log_right(self) -> None:
        """End a log job that never was: it changes nothing and needs the right to read logs. Raises PanosError."""
        from uidsync.panos.logs.events import make_finish  # noqa: PLC0415

        with suppress(BadRequest):  # "no such job", which is told to whom it may concern
            self.call(make_finish(NO_JOB), of_panorama=True)

    def ask_role(self) -> str:
        """Ask one firewall, which may be the member of a pair, what it is. Raises PanosError."""
        return read_role(self.call(HA_STATE))

    def ask_roles(self) -> Roles:
        """Ask the members of a pair for their roles; return nothing without a pair."""
        return self._client.ask_roles()

    def read_table(self, take: Callable[[Iterator[TableEntry]], Taken]) -> Taken:
        """Read the whole mapping table, of half a million entries maybe, and return what `take` makes of it.

        `take` gets the entries as they come, anew for every try. Raises PanosError.
        """
        request, read = self._address(table.make_show_mappings(self.vsys)), table.read_table
        return self._client.read(request, lambda status, pieces: take(self._only_ours(read(status, pieces))))

    def _only_ours(self, entries: Iterator[TableEntry]) -> Iterator[TableEntry]:
        """Leave out what lies in other virtual systems."""
        return (entry for entry in entries if self._is_ours(entry.vsys))

    def ask(self, ip: Subject) -> tuple[TableEntry, ...]:
        """Read what the mapping table has for one address. Raises PanosError."""
        response = self.call(table.make_show_mappings(self.vsys, ip), tries="unless_denied")
        return tuple(self._only_ours(iter(table.read_mappings(response))))

    def read_user_id_log(self, ip: Address) -> tuple[UserIdEvent, ...]:
        """Read what the firewall's own log has of users at one address, the newest first. Raises PanosError.

        What names another address is left out, and what names another vsys: a filter that was not understood must not
        show strangers. For a firewall behind Panorama it is the log that Panorama has of it.
        """
        from uidsync.panos.logs.events import make_user_id_query, plain_address, read_user_id_event  # noqa: PLC0415
        from uidsync.panos.logs.job import read_log  # noqa: PLC0415

        events = map(read_user_id_event, read_log(self._client, make_user_id_query(ip, EVENTS_SHOWN, self._serial)))
        return tuple(event for event in events if event and event.ip == plain_address(ip) and self._is_ours(event.vsys))

    def read_log(
        self, query: LogQuery, longest: float, breakable: Callable[[], AbstractContextManager[None]]
    ) -> tuple[LogEntry, ...]:
        """Run a query of any log to its end, for so many seconds; `breakable` as for `read_log`. Raises PanosError.

        Of a firewall behind Panorama it is Panorama's logs that are asked, and the query has to name the serial.
        """
        from uidsync.panos.logs.job import read_log  # noqa: PLC0415

        return read_log(self._client, query, longest=longest, breakable=breakable)

    def _is_ours(self, vsys: str) -> bool:
        return not self.vsys or vsys == self.vsys or not re.fullmatch("vsys[0-9]+", vsys)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _address(self, request: Request) -> Request:
        return address_to(request, self._serial)


def _sort_by_address(entries: Iterator[TableEntry]) -> dict[Subject, tuple[TableEntry, ...]]:
    """Sort what came by this API; without a vsys an address may have several."""
    found: dict[Subject, tuple[TableEntry, ...]] = {}
    for entry in entries:
        if entry.type == table.XML_API:
            found[entry.ip] = (*found.get(entry.ip, ()), entry)
    return found


def make_url(host: str, port: int) -> str:
    """Return where a host's API is; IPv6 addresses come in brackets."""
    return f"https://{host if ':' not in host else f'[{IPv6Address(host)}]'}:{port}/api/"
