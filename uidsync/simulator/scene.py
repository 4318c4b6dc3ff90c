"""Sets the scene of a demonstration and keeps it: sample logins and alerts, secrets, and the configuration."""

from __future__ import annotations

import csv
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from uidsync.simulator.process import Children, Simulator

FRESH = timedelta(minutes=2)  # how old the newest sample event is made
RELAY_PSK = "hello"
FIREWALLS = ("fw-east", "fw-west")
HOUR = timedelta(hours=1)
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EVERY = 60  # seconds between runs, as the timer has it
TO_TRY = """
{page}
A run starts every minute. The first takes about ten seconds, because it retries the dead target.
In another terminal:

  export UIDSYNC_CONFIG={file}{path}
  uidsync status                what is behind, and since when
  uidsync who 192.0.2.21        who has an address, and who had it before
  uidsync explain 192.0.2.21    why, and what each firewall shows
  uidsync verify                compare what the firewalls hold with what they should hold
  uidsync check                 test everything; one target is dead on purpose{events}{relay}

The log is in {log}. Ctrl-C ends all of it and leaves nothing behind."""

TO_EVENTS = """
  uidsync events spyware --by user      who had alerts, and on which devices
  uidsync events spyware --agreement    whether the firewalls name the right people"""

TO_RELAY = """
  uidsync relay status          what became of alerts for a simulated Cortex XDR. This sends one:
  curl -H 'Authorization: {psk}' http://{listen}/in -d '{{"src":"192.0.2.21","threat_name":"a rehearsal"}}'"""


def heed_signals() -> None:
    """End at Ctrl-C, also where a shell had it ignored, as it does for its background; nohup means what it says."""
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(_number: int, _frame: object) -> None:
    """Begin to put everything away, and let no second signal disturb that: a closed terminal sends several."""
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def find_command() -> str:
    """Return what a shell needs to call this command: its name alone where that is found, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("uidsync")
    return "uidsync" if called.name != "uidsync" or (found and Path(found).samefile(called)) else str(called)


def find_free_port() -> int:
    """Find a port on which nobody listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port: int = nobody.getsockname()[1]
        return port


def write_document(place: Path, firewalls: list[Simulator], agent: Simulator) -> dict[str, Any]:
    """Write the sample events and the keys, and return the configuration that names them."""
    targets = [
        {
            "name": name,
            "kind": "firewall",
            "host": firewall.line["host"],
            "port": firewall.port,
            "ca_file": str(firewall.ca_file),
            "api_key_file": _write_secret(place / f"{name}-api-key", firewall.line["api_key"]),
        }
        for name, firewall in zip(FIREWALLS, firewalls, strict=True)
    ]
    client = {name: agent.line[name] for name in ("host", "port", "ca_file", "client_cert_file", "client_key_file")}
    return {
        "source": {"kind": "csv", "path": str(_write_events(place))},
        "identity": {"domain": "CAMPUS", "ignore_users": ["svc-*"]},
        "target": [
            *targets,
            {"name": "uia-1", "kind": "agent", **client},
            {
                "name": "fw-dead",
                "kind": "firewall",
                "host": "127.0.0.1",
                "port": find_free_port(),  # where nobody listens
                "api_key_file": targets[0]["api_key_file"],
            },
        ],
    }


def write_relay_table(place: Path, tenant: Simulator) -> dict[str, Any]:
    """Write the secrets of a relay to a simulated tenant, and return its table."""
    key = _write_secret(place / "relay-api-key", tenant.api_key)
    psk = _write_secret(place / "relay-psk", RELAY_PSK)
    known = {name: tenant.line[name] for name in ("fqdn", "api_key_id", "ca_file")}
    listen = f"127.0.0.1:{find_free_port()}"
    return known | {"listen": listen, "api_key_file": key, "psk_file": psk}


def put_alerts(firewalls: Sequence[Simulator], file: str) -> dict[str, Any]:
    """Put alerts of the sample people into the firewalls' logs, and return the table by which they are read.

    One firewall names nobody in its zone for guests. The other still names who had an address before somebody else.
    """
    with Path(file).open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    former = rows[2]
    later = next(row for row in reversed(rows) if row["currentIpAddress"] == former["currentIpAddress"])
    east = [_make_alert(row, HOUR, "trust", row) for row in rows[:8]]
    east += [_make_alert(later, after, "trust", former) for after in (HOUR / 12, HOUR / 4)]
    west = [_make_alert(row, HOUR, "guest") for row in rows[:40] if row["principal"].endswith(",Guest")]
    for firewall, entries in zip(firewalls, (east, west), strict=True):
        firewall.do("log-add", log_type="threat", entries=entries)
    return {"time_zone": "UTC"}


def _make_alert(
    row: dict[str, str], after: timedelta, zone: str, named: dict[str, str] | None = None
) -> dict[str, str]:
    """Make the entry of an alert so long after a login; the firewall names who logged in by another row, or nobody."""
    at = f"{datetime.fromisoformat(row['transDate']) + after:%Y/%m/%d %H:%M:%S}"
    user = f"CAMPUS\\{named['principal'].partition(',')[0]}" if named else ""
    return {
        "receive_time": at, "time_generated": at, "subtype": "spyware", "src": row["currentIpAddress"], "srcuser": user,
        "dst": "203.0.113.66", "from": zone, "to": "untrust", "threatid": "NetSupport Manager RAT Traffic(86001)",
        "tid": "86001",
    }  # fmt: skip


def _write_secret(file: Path, secret: str) -> str:
    """Write a secret for its owner alone, and return the name of the file."""
    file.touch(0o600)
    file.write_text(secret)
    return str(file)


def _write_events(place: Path) -> Path:
    """Write the sample events as if they had come in just now."""
    rows = list(csv.DictReader(files("uidsync.simulator").joinpath("events.csv").read_text("utf-8").splitlines()))
    dates = [datetime.fromisoformat(row["transDate"]).replace(tzinfo=UTC) for row in rows]
    shift = datetime.now(UTC) - FRESH - max(dates)
    file = place / "events.csv"
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        for row, date in zip(rows, dates, strict=True):
            writer.writerow(row | {"transDate": (date + shift).isoformat()})
    return file


def say_what_to_try(page: str, file: Path, path: str, document: dict[str, Any]) -> str:
    """Say how to use the scene while it is kept: by its page, its configuration, and a line for the PATH."""
    relay = document.get("relay")
    to_relay = TO_RELAY.format(listen=relay["listen"], psk=RELAY_PSK) if relay else ""
    to_events = TO_EVENTS if "events" in document else ""
    return TO_TRY.format(page=page, file=file, path=path, log=file.parent / "log", events=to_events, relay=to_relay)


def keep_running(command: Sequence[str], services: Sequence[str], log: Path, tell: Callable[[], object]) -> None:
    """Start the services and the first run, tell of them, and make a run every minute, until Ctrl-C."""
    with suppress(KeyboardInterrupt), Children(log) as children:
        for service in services:
            children.start(*command, service)
        first = children.start(*command, "sync")
        tell()
        first.wait()
        while True:
            time.sleep(EVERY)
            children.start(*command, "sync").wait()
