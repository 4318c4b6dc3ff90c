"""The relay's own table of uidsync.toml, and the same by the original's environment variables.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from uidsync.config.values import (
    DAY,
    MINUTE,
    SECOND,
    Duration,
    File,
    Flag,
    Listen,
    NeighbourTable,
    Network,
    Text,
    TimeZone,
    between,
)
from uidsync.integrations.relay.mapping import check_alert_name

VARIABLES = (
    "API_KEY", "API_KEY_ID", "FQDN", "PSK", "DEBUG", "PORT", "OFFSET", "QUOTA_SIZE", "QUOTA_SECONDS", "UPDATE_SIZE",
    "BUFFER_SIZE", "T1",
)  # fmt: skip
NEEDED = VARIABLES[:3]
MOST_HOURS = 26  # no zone is as far from UTC


def _check_proxy(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("must be a URL that begins with http:// or https://")
    if "@" in value:
        raise ValueError("must hold no user and password; the environment variable HTTPS_PROXY may")
    return value


class RelayConfig(NeighbourTable):
    """Where alerts come in, who may send them, where they go, and how they are kept and mapped."""

    listen: Listen = "127.0.0.1:8080"
    psk_file: File = None
    certificate_file: File = None
    key_file: File = None
    client_ca_file: File = None
    networks: tuple[Network, ...] = ()
    fqdn: Text = ""
    api_key_id: Text = ""
    api_key_file: File = None
    key_kind: Literal["advanced", "standard"] = "advanced"
    ca_file: File = None
    proxy: Annotated[Text, AfterValidator(_check_proxy)] = ""
    time_zone: TimeZone = "UTC"
    quota_size: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 600
    quota_time: Annotated[Duration, AfterValidator(between(SECOND, DAY))] = MINUTE
    update_size: Annotated[int, Field(ge=1, le=60, strict=True)] = 60
    buffer_size: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] = 6000
    poll_every: Annotated[Duration, AfterValidator(between(timedelta(milliseconds=10), MINUTE))] = 2 * SECOND
    max_age: Annotated[Duration, AfterValidator(between(MINUTE, 366 * DAY))] = 7 * DAY
    alert_name: Annotated[Text, AfterValidator(check_alert_name)] = "{threat_name}"
    storm: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 0
    empty_address: Literal["", "0.0.0.0"] = ""  # noqa: S104 (what XDR is told of an address that is not known)
    who: Flag = False


MODEL = RelayConfig


def is_by_environment(environment: Mapping[str, str]) -> bool:
    """Tell whether the environment is that of the original."""
    return any(environment.get(name) for name in NEEDED)


def read_environment(environment: Mapping[str, str]) -> tuple[RelayConfig, timedelta]:
    """Return the configuration by environment variables, and the firewall's hours ahead of UTC.

    Raises ValueError with every problem, one a line.
    """
    problems = [f"{name} env variable not provided" for name in NEEDED if not environment.get(name)]
    keys: dict[str, Any] = {"fqdn": environment.get("FQDN", ""), "api_key_id": environment.get("API_KEY_ID", "")}
    numbers: dict[str, tuple[str, Callable[[float], object]]] = {
        "PORT": ("listen", lambda number: f"0.0.0.0:{number:.0f}"),
        "QUOTA_SIZE": ("quota_size", int),
        "QUOTA_SECONDS": ("quota_time", lambda number: timedelta(seconds=number)),
        "UPDATE_SIZE": ("update_size", int),
        "BUFFER_SIZE": ("buffer_size", int),
        "T1": ("poll_every", lambda number: timedelta(seconds=number)),
    }
    keys["listen"] = "0.0.0.0:8080"
    names = {"fqdn": "FQDN", "api_key_id": "API_KEY_ID"}
    for variable, (key, make) in numbers.items():
        names[key] = variable
        if text := environment.get(variable, "").strip():
            number = _read_number(text)
            if number is None or (number != int(number) and variable not in {"QUOTA_SECONDS", "T1"}):
                problems.append(f"{variable}: {text!r} is no whole number")
            else:
                keys[key] = make(number)
    hours = _read_number(environment.get("OFFSET", "").strip() or "0")
    if hours is None or abs(hours) > MOST_HOURS:
        problems.append("OFFSET: must be hours such as 0, -5 or 5.5")
    try:
        config = RelayConfig.model_validate(keys)
    except ValidationError as error:
        problems += [
            f"{names.get(str(each['loc'][0]), each['loc'][0])}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_url=False)
        ]
    if problems:
        raise ValueError("\n".join(problems))
    return config, timedelta(hours=hours or 0)


def _read_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e9 else None  # noqa: PLR2004 (infinity, and what is not a number, are not)
