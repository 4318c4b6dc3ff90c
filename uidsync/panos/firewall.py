"""A firewall, or a firewall behind Panorama, as a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv6Address

from uidsync.panos.client import Client
from uidsync.panos.userid import (
    Address,
    Entry,
    Rejection,
    TableEntry,
    make_empty_message,
    make_message,
    make_show_mappings,
    make_user_id,
    read_mappings,
    read_rejections,
)
from uidsync.panos.xmlapi import SYSTEM_INFO, Request


@dataclass(frozen=True, slots=True)
class System:
    """What a firewall says of itself."""

    hostname: str
    model: str
    serial: str
    version: str


class Firewall:
    """Sends batches to one vsys of one firewall; `serial` names a firewall behind Panorama."""

    def __init__(self, client: Client, *, vsys: str = "", serial: str = "") -> None:
        self._client = client
        self._vsys = vsys
        self._serial = serial

    @property
    def attempts(self) -> int:
        """Messages sent, those of retries included, without questions."""
        return self._client.attempts["user-id"]

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate that the firewall last showed ends."""
        return self._client.certificate_not_after

    def send(self, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        """Send one batch, of logins or of logouts; return what the firewall rejects. Raises PanosError."""
        request = make_user_id(make_message(batch), self._vsys)
        return read_rejections(self._client.call(self._address(request)), batch)

    def try_right(self) -> None:
        """Send a message without entries: it changes nothing and needs the same right. Raises PanosError."""
        self._client.call(self._address(make_user_id(make_empty_message(), self._vsys)))

    def read_system(self) -> System:
        """Ask the firewall who it is. Raises PanosError."""
        response = self._client.call(self._address(SYSTEM_INFO))
        return System(
            *(
                (response.findtext(f"result/system/{key}") or "").strip()
                for key in ("hostname", "model", "serial", "sw-version")
            )
        )

    def read_mappings(self) -> tuple[TableEntry, ...]:
        """Read the mapping table. Raises PanosError."""
        return read_mappings(self._client.call(self._address(make_show_mappings(self._vsys))))

    def ask(self, ip: Address) -> tuple[TableEntry, ...]:
        """Read what the mapping table has for one address; a question is not repeated. Raises PanosError."""
        return read_mappings(self._client.call(self._address(make_show_mappings(self._vsys, ip)), attempts=1))

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _address(self, request: Request) -> Request:
        """Name the firewall behind Panorama that a request is for."""
        if not self._serial:
            return request
        return replace(request, parameters=(*request.parameters, ("target", self._serial)))


def make_url(host: str, port: int) -> str:
    """Return where a host's API is; IPv6 addresses come in brackets."""
    return f"https://{host if ':' not in host else f'[{IPv6Address(host)}]'}:{port}/api/"
