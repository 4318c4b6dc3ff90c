"""Runs a relay: opens its queue and its door, tells systemd how it is, and ends in order at SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from uidsync.integrations.relay.health import Health, write_health
from uidsync.integrations.relay.queue import Limits as QueueLimits
from uidsync.integrations.relay.queue import Queue
from uidsync.integrations.relay.receiver import Receiver, Terms
from uidsync.integrations.relay.sender import Sender, Settings
from uidsync.integrations.relay.tenant import Tenant
from uidsync.web.door import Door, listen

HEALTH_EVERY = 5.0  # seconds between writings of the health
LOG_EVERY = 60.0  # seconds between lines of the log with counters
SENDER_SECONDS = 120.0  # a sender that shows no sign of life for so long hangs; a request takes less
FULL_PERCENT = 80  # of the queue, from where on its health is yellow
LOGGED = (
    "received",
    "delivered",
    "queued",
    "dead_refused",
    "dead_expired",
    "parse_errors",
    "psk_errors",
    "refused_full",
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate with its chain, its key, and the CA of clients that must show one."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a relay is made of."""

    state_dir: Path
    host: str
    port: int
    terms: Terms
    settings: Settings
    queue_limits: QueueLimits
    tls: TlsFiles | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


class CannotStart(Exception):
    """The relay cannot start; the message says what to do."""


def make_server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a server with a certificate. Raises CannotStart."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    what = str(files.certificate)
    try:
        for file in (files.certificate, files.key):  # OpenSSL does not say which of them is missing
            what = str(file)
            file.open("rb").close()
        what = f"{files.certificate} and {files.key}"
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca:
            what = str(files.client_ca)
            context.load_verify_locations(files.client_ca)
    except ssl.SSLError as error:
        raise CannotStart(f"{what}: {error.reason or 'not PEM'}") from None
    except OSError as error:
        raise CannotStart(f"{what}: {error.strerror}") from None
    if files.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Systemd:
    """Tells systemd that the service is ready, lives and ends, if it asks for that."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        micros = environment.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(micros) / 1e6 if micros.isdigit() else 0.0

    def tell(self, state: str) -> None:
        """Tell one state."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.sendto(state.encode(), self._address)


def run(plan: Plan, tenant: Tenant, log: FilteringBoundLogger, tell: Callable[[str], None]) -> bool:
    """Run until SIGTERM or SIGINT, and return whether no bug ended it. Raises CannotStart, QueueError and OSError."""
    context = make_server_context(plan.tls) if plan.tls else None
    listening = listen(plan.host, plan.port)
    try:
        queue = Queue(plan.state_dir, plan.queue_limits)
    except BaseException:
        listening.close()
        raise
    health = Health()
    sender = Sender(queue, tenant, plan.settings, health, log, tell)
    receiver = Receiver(queue, plan.terms, log, tell)
    try:
        return asyncio.run(_Life(plan, queue, sender, receiver, health, log, tell).live(listening, context))
    finally:
        receiver.close()
        sender.stop()
        with suppress(OSError):
            write_health(plan.state_dir, health, {**queue.read_counters(), **receiver.counters}, datetime.now(UTC))
        queue.close()


@dataclass(slots=True)
class _Life:
    plan: Plan
    queue: Queue
    sender: Sender
    receiver: Receiver
    health: Health
    log: FilteringBoundLogger
    tell: Callable[[str], None]
    systemd: Systemd = field(default_factory=lambda: Systemd(os.environ))
    _logged: dict[str, int] = field(default_factory=dict)

    async def live(self, listening: socket.socket, context: ssl.SSLContext | None) -> bool:
        plan, loop, ended = self.plan, asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        door = self.receiver.door = Door(
            listening, self.receiver.answer, limits=plan.terms.limits, context=context, networks=plan.networks
        )
        serving = loop.create_task(door.serve())
        self.sender.start()
        port = listening.getsockname()[1]
        self.tell(f"starting http service on port {port}")
        self.log.info(
            "relay.started", host=plan.host, port=port, tls=context is not None, psk=bool(plan.terms.psk),
            queued=self.queue.length,
        )  # fmt: skip
        self.systemd.tell("READY=1")
        watching = loop.create_task(self._watch(ended))
        await ended.wait()
        self.systemd.tell("STOPPING=1")
        self.log.info("relay.ending", queued=self.queue.length)
        for task in (serving, watching):
            task.cancel()
        await door.close(plan.terms.limits.request_seconds)
        if self.sender.bug is None and not serving.done():
            await asyncio.gather(serving, watching, return_exceptions=True)
        return self.sender.bug is None

    async def _watch(self, ended: asyncio.Event) -> None:
        """Write the health, count in the log, and tell systemd of life, as long as there is life in all parts."""
        loop = asyncio.get_running_loop()
        pause = min(HEALTH_EVERY, self.systemd.watchdog_seconds / 3 or HEALTH_EVERY)
        last_log = time.monotonic()
        while True:
            counters = await loop.run_in_executor(None, self._look)
            if time.monotonic() - last_log >= LOG_EVERY:
                last_log = time.monotonic()
                self._log(counters)
            if self.sender.bug is not None:
                ended.set()
            if time.monotonic() - self.sender.alive_at < SENDER_SECONDS:
                self.systemd.tell(f"WATCHDOG=1\nSTATUS=tenant: {self.health.colour}, {counters['queued']} alerts wait")
            await asyncio.sleep(pause)

    def _look(self) -> dict[str, int]:
        counters = {**self.queue.read_counters(), **self.receiver.counters}
        percent = 100 * counters["queued"] // self.queue.limits.alerts
        colour = "red" if percent >= 100 else "yellow" if percent >= FULL_PERCENT else "green"  # noqa: PLR2004
        self.health.tell("room", colour, f"{percent} % of the queue is taken")  # type: ignore[arg-type]
        dead = counters["dead"]
        if dead:
            self.health.tell("dead letters", "yellow", f"{dead} alerts were given up", "uidsync relay dead list")
        else:
            self.health.tell("dead letters", "green", "none")
        with suppress(OSError):
            write_health(self.plan.state_dir, self.health, counters, datetime.now(UTC))
        return counters

    def _log(self, counters: Mapping[str, int]) -> None:
        chosen = {name: counters.get(name, 0) for name in LOGGED}
        if chosen != self._logged:
            self._logged = chosen
            self.log.info("alerts.counted", **chosen)
