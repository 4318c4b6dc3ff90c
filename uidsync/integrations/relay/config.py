"""The relay's own table of uidsync.toml, and the same by the original's environment variables.

Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta, tzinfo
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from msgspec import Meta

from uidsync.config.values import (
    DAY,
    MINUTE,
    SECOND,
    Duration,
    File,
    Listen,
    NeighbourTable,
    Network,
    Secret,
    Text,
    TimeZone,
    between,
)
from uidsync.integrations.relay.mapping import Rules, check_alert_name
from uidsync.integrations.relay.quota import Quota

VARIABLES = (
    "API_KEY", "API_KEY_ID", "FQDN", "PSK", "DEBUG", "PORT", "OFFSET", "QUOTA_SIZE", "QUOTA_SECONDS", "UPDATE_SIZE",
    "BUFFER_SIZE", "T1",
)  # fmt: skip
NEEDED = VARIABLES[:3]
TEXTS = ("API_KEY", "API_KEY_ID", "FQDN", "PSK")
SECONDS = ("QUOTA_SECONDS", "T1")
NUMBERS: dict[str, tuple[str, Callable[[str], object]]] = {  # the key of each, and how its value is made
    "PORT": ("listen", lambda text: f"0.0.0.0:{int(text)}"),
    "QUOTA_SIZE": ("quota_size", int),
    "QUOTA_SECONDS": ("quota_time", lambda text: timedelta(seconds=float(text))),
    "UPDATE_SIZE": ("update_size", int),
    "BUFFER_SIZE": ("buffer_size", int),
    "T1": ("poll_every", lambda text: timedelta(seconds=float(text))),
}
WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
FRACTION = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,6})?")
MOST_HOURS = 24.0  # no zone is as far from UTC
LAST_PORT = 65535
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # those of the library


def _check_proxy(value: str) -> None:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("must be a URL that begins with http:// or https://")
    if "@" in value:
        raise ValueError("must hold no user and password; the environment variable HTTPS_PROXY may")


def make_base(fqdn: str) -> str:
    """Return the URL of a tenant's API by whatever somebody pasted: with a scheme, `api-` or a path.

    An address, or localhost, is taken as it is: that is a simulated tenant. Raises ValueError.
    """
    name = re.sub(r"^[A-Za-z]+://", "", fqdn.strip()).partition("/")[0].rstrip(".")
    host, _, port = name.rpartition(":") if re.search(r":\d+$", name) else (name, "", "")
    if not re.fullmatch(r"(?!-)[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]+\]", host):
        raise ValueError("is not the name of a tenant such as myxdr.xdr.us.paloaltonetworks.com")
    if port and not 0 < int(port) <= LAST_PORT:
        raise ValueError(f"has no port from 1 to {LAST_PORT}")
    if host.lower() != "localhost" and not _is_address(host.strip("[]")):
        host = f"api-{host.lower().removeprefix('api-')}"
    return f"https://{host}{f':{port}' if port else ''}"


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _check_fqdn(value: str) -> None:
    if value:
        make_base(value)


class RelayConfig(NeighbourTable, frozen=True, kw_only=True):
    """How `uidsync relay` receives alerts of firewalls and sends them to Cortex XDR."""

    listen: Listen = "127.0.0.1:8080"
    """The address and port to listen on."""
    psk_file: File = None
    """The file that holds what the `Authorization` header of firewalls must be. Default: the secret `relay-psk`. If
    there is none, anybody may send alerts."""
    certificate_file: File = None
    """The server's certificate with its chain (PEM). Without one, the relay speaks plain HTTP."""
    key_file: File = None
    """The file that holds the private key of the certificate. Default: the secret `relay-tls-key`."""
    client_ca_file: File = None
    """If it is set, clients must show a certificate of this CA (PEM)."""
    networks: tuple[Network, ...] = ()
    """The networks that clients may come from. Default: all."""
    fqdn: Annotated[Text, _check_fqdn] = ""
    """The name of the tenant, with or without `api-` before it. Required for the relay."""
    api_key_id: Text = ""
    """The number of the API key. Required for the relay."""
    api_key_file: File = None
    """The file that holds the API key. Default: the secret `relay-api-key`."""
    key_kind: Literal["advanced", "standard"] = "advanced"
    """The kind of the API key, as the tenant shows it."""
    ca_file: File = None
    """The CA of the tenant, or of a proxy that decrypts TLS (PEM). Default: the public CAs."""
    proxy: Annotated[Text, _check_proxy] = ""
    """The URL of a proxy to the tenant. Default: that of the environment variable `HTTPS_PROXY`."""
    time_zone: TimeZone = "UTC"
    """The firewalls' time zone, for logs that contain local time only."""
    quota_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 600
    """The number of alerts that the tenant takes in `quota_time`."""
    quota_time: Annotated[Duration, between(SECOND, DAY)] = MINUTE
    """The length of the quota. No window of this length has more alerts."""
    update_size: Annotated[int, Meta(ge=1, le=60)] = 60
    """The number of alerts in one request."""
    buffer_size: Annotated[int, Meta(ge=1, le=10_000_000)] = 6000
    """The number of alerts that may wait. If the queue is full, the relay answers 503."""
    poll_every: Annotated[Duration, between(timedelta(milliseconds=10), MINUTE)] = 2 * SECOND
    """How often the relay looks for alerts to send."""
    max_age: Annotated[Duration, between(MINUTE, 366 * DAY)] = 7 * DAY
    """How long an alert may wait. After that it becomes a dead letter."""
    alert_name: Annotated[Text, check_alert_name] = "{threat_name}"
    """The layout of alert names. `{threat_name} / {src}` tells hosts apart: XDR groups alerts that share a name."""
    storm: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """If more alerts than this wait under one name, they are sent as one. `0` never does that."""
    empty_address: Literal["", "0.0.0.0"] = ""  # noqa: S104 (what XDR is told of an address that is not known)
    """What the tenant gets for an address that the log does not have. Default: an empty text."""
    who: bool = False
    """`true` adds to the description who had the addresses at that moment. It needs `[source]`."""
    who_wait: Annotated[Duration, between(timedelta(), MINUTE)] = timedelta()
    """How long each alert waits before it is sent, so that its names are found. By default no alert waits: one that is
    sent within a second of its arrival may lack names. `3s` is enough for most databases."""

    @property
    def quota(self) -> Quota:
        """How many alerts the tenant takes."""
        return Quota(self.quota_size, self.quota_time.total_seconds())

    def make_rules(self, zone: tzinfo) -> Rules:
        """Make the rules by which alerts are read, of firewalls in this zone."""
        return Rules(zone, self.alert_name, self.empty_address)

    @classmethod
    def find_contradictions(cls, table: Mapping[str, Any], firewalls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """Find a CA for clients without a certificate for the server."""
        if table.get("client_ca_file") and not table.get("certificate_file"):
            yield "client_ca_file", "needs certificate_file"

    def find_secrets(self) -> Iterator[Secret]:
        """List the secrets of a relay that is set up: its key, what firewalls show it, and its own TLS key."""
        if self.fqdn:
            yield Secret("relay-api-key", f"API key of {self.fqdn}", self.api_key_file)
            is_named = self.psk_file is not None
            yield Secret("relay-psk", "Authorization header of the firewalls", self.psk_file, needed=is_named)
        if self.certificate_file:
            yield Secret("relay-tls-key", "private key of the relay's certificate", self.key_file, is_key=True)


MODEL = RelayConfig


def is_by_environment(environment: Mapping[str, str]) -> bool:
    """Tell whether the environment is that of the original."""
    return any(environment.get(name) for name in NEEDED)


def read_environment(environment: Mapping[str, str]) -> tuple[RelayConfig, timedelta]:
    """Return the configuration by environment variables, and the firewall's hours ahead of UTC.

    Raises ValueError with every problem, one a line.
    """
    given = {name: text.strip() for name in VARIABLES if (text := environment.get(name, ""))}
    problems = [f"{name} env variable not provided" for name in NEEDED if not given.get(name)]
    problems += [
        f"{name}: must be text that can be printed, and not blank"
        for name in TEXTS
        if name in given and not (given[name] and given[name].isprintable())
    ]
    keys: dict[str, Any] = {"fqdn": given.get("FQDN", ""), "api_key_id": given.get("API_KEY_ID", "")}
    keys |= {"listen": "0.0.0.0:8080", "ca_file": find_ca_variable(environment)[1]}  # as the original listens
    for name, (key, make) in NUMBERS.items():
        text, pattern = given.get(name, ""), FRACTION if name in SECONDS else WHOLE
        if not text:
            continue
        if not pattern.fullmatch(text):
            problems.append(f"{name}: {text!r} is no {'number of seconds' if name in SECONDS else 'whole number'}")
        elif name == "PORT" and not 1 <= int(text) <= LAST_PORT:
            problems.append(f"PORT: {text} is no port from 1 to {LAST_PORT}")
        else:
            keys[key] = make(text)
    offset = given.get("OFFSET") or "0"
    hours = float(offset) if FRACTION.fullmatch(offset) else MOST_HOURS
    if abs(hours) >= MOST_HOURS:
        problems.append(f"OFFSET: {offset!r} must be hours such as 0, -5 or 5.5")
    config, wrong = RelayConfig.read(keys)
    variables = {key: name for name, (key, _) in NUMBERS.items()}
    for problem in wrong:
        key, _, words = problem.partition("; ")[0].partition(": ")  # hints are for whoever writes a file
        name = variables.get(key, key.upper())
        problems.append(f"{name}: {given.get(name, '')} {words}")
    if config is None or problems:
        raise ValueError("\n".join(problems))
    return config, timedelta(hours=hours)


def find_ca_variable(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return which variable names a file of CAs, and that file; the first of them if none does."""
    return next(((name, environment[name]) for name in CA_VARIABLES if environment.get(name)), (CA_VARIABLES[0], ""))
