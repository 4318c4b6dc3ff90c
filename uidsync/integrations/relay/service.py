"""Runs a relay: opens its queue and its door, tells systemd how it is, and ends in order at SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from msgspec import Struct, field
from structlog.typing import FilteringBoundLogger

from uidsync.integrations.door import Door, listen
from uidsync.integrations.relay.config import RelayConfig
from uidsync.integrations.relay.health import Finding, judge_relay, judge_senders, sort, try_disk, write_health
from uidsync.integrations.relay.mapping import FindPerson
from uidsync.integrations.relay.names import Names
from uidsync.integrations.relay.queue import Limits as QueueLimits
from uidsync.integrations.relay.queue import Queue
from uidsync.integrations.relay.receiver import Came, Receiver, Terms
from uidsync.integrations.relay.sender import Sender, Settings
from uidsync.integrations.relay.tenant import Tenant
from uidsync.integrations.relay.tls import TlsFiles, make_server_context

DIRECTORY_MODE = 0o750
HEALTH_EVERY = 5.0  # seconds between writings of the health
LOG_EVERY = 60.0  # seconds between lines of the log with counters
SENDER_SECONDS = 120.0  # a sender that shows no sign of life for so long hangs; a request takes less
MARK, MARKS = "uidsync-relay:", Path("/proc/self/net/unix")  # what a relay names a socket, and where they are listed
ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104 (to compare with)
People = tuple[FindPerson | None, Came | None]
NOBODY: People = (None, None)
LOGGED = (
    "received",
    "delivered",
    "queued",
    "dead_refused",
    "dead_expired",
    "parse_errors",
    "psk_errors",
    "refused_full",
    "refused_disk",
)


class Plan(Struct, frozen=True):
    """All that a relay is made of."""

    state_dir: Path
    host: str
    port: int
    terms: Terms
    settings: Settings
    queue_limits: QueueLimits
    tls: TlsFiles | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


class PortTaken(Exception):
    """Something listens there already; `is_relay` tells whether it is another relay."""

    def __init__(self, place: str, *, is_relay: bool) -> None:
        who = "another relay" if is_relay else f"another program (ss -ltnp 'sport = :{place.rpartition(':')[2]}')"
        super().__init__(f"{who} listens at {place} already")
        self.is_relay = is_relay


def make_plan(table: RelayConfig, zone: tzinfo, state_dir: Path, psk: str, key: Path | None, people: People) -> Plan:
    """Make the plan by a table of the configuration."""
    find_person, came = people
    rules = table.make_rules(zone)
    return Plan(
        state_dir,
        *split_listen(table.listen),
        Terms(rules, psk, came=came),
        Settings(
            table.quota,
            table.update_size,
            table.poll_every.total_seconds(),
            table.max_age,
            table.storm,
            rules,
            find_person,
            table.who_wait.total_seconds() if find_person else 0.0,
        ),
        QueueLimits(table.buffer_size),
        TlsFiles(table.certificate_file, key, table.client_ca_file) if table.certificate_file and key else None,
        table.networks,
    )


def split_listen(listen: str) -> tuple[str, int]:
    """Return the host and the port of an address to listen on."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def open_port(plan: Plan) -> socket.socket:
    """Listen. Raises PortTaken and OSError."""
    try:
        return listen(plan.host, plan.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(f"{plan.host}:{plan.port}", is_relay=_is_relay_there(plan.host, plan.port)) from None


def _listen(plan: Plan, mark: socket.socket) -> socket.socket:
    """Listen, and mark the port as a relay's for as long as `mark` is open. Raises PortTaken and OSError."""
    listening = open_port(plan)
    # A relay may ask for TLS, a certificate and a network; the name of a socket tells all the same.
    with suppress(OSError):
        mark.bind(f"\0{MARK}{plan.host}:{plan.port}")
    return listening


def _is_relay_there(host: str, port: int) -> bool:
    """Tell whether a relay listens at an address: at this one, at all of them, or at any if all are meant."""
    with suppress(OSError):
        marks = re.findall(rf"@{MARK}(\S+):{port}\n", MARKS.read_text("utf-8", "replace"))
        return any(host == other or {host, other} & ANYWHERE for other in marks)
    return False


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


def _prepare(plan: Plan, names: Names, log: FilteringBoundLogger) -> None:
    """Warn of a relay that others can misuse, and make its directory."""
    if not ip_address(plan.host).is_loopback and plan.tls is None:
        hint = f"without TLS anybody on the network path can read alerts and PSK; {names.tls}"
        log.warning("relay.exposed", hint=hint)
    if not plan.terms.psk and not (plan.tls and plan.tls.client_ca):
        log.warning("relay.open", hint=f"anybody who can reach it may send alerts; {names.psk}")
    with suppress(OSError):  # the queue says so itself
        plan.state_dir.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)


def run(plan: Plan, tenant: Tenant, names: Names, log: FilteringBoundLogger, tell: Callable[[str], None]) -> bool:
    """Run until SIGTERM or SIGINT, and return whether no bug ended it.

    Raises CannotStart, PortTaken, QueueError and OSError.
    """
    _prepare(plan, names, log)
    gc.enable()  # it may run for years
    context = make_server_context(plan.tls) if plan.tls else None
    queue = Queue(plan.state_dir, plan.queue_limits)  # first: that another relay has it says more than a port in use
    mark = socket.socket(socket.AF_UNIX)
    try:
        listening = _listen(plan, mark)
    except BaseException:
        queue.close()
        mark.close()
        raise
    sender = Sender(queue, tenant, plan.settings, log, tell)
    receiver = Receiver(queue, plan.terms, log, tell)
    life = _Life(plan, queue, sender, receiver, log, tell)
    try:
        return asyncio.run(life.live(listening, context))
    finally:
        receiver.close()
        sender.stop()
        life.look()
        queue.close()
        mark.close()


class _Life(Struct):
    plan: Plan
    queue: Queue
    sender: Sender
    receiver: Receiver
    log: FilteringBoundLogger
    tell: Callable[[str], None]
    systemd: Systemd = field(default_factory=lambda: Systemd(os.environ))
    _logged: dict[str, int] = field(default_factory=dict)
    _trouble: str = ""

    async def live(self, listening: socket.socket, context: ssl.SSLContext | None) -> bool:
        plan, loop, ended = self.plan, asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        door = self.receiver.door = Door(
            listening, self.receiver.answer, limits=plan.terms.limits, context=context, networks=plan.networks,
            refused=self.receiver.refuse_connection,
        )  # fmt: skip
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
            findings, counters = await loop.run_in_executor(None, self.look)
            if time.monotonic() - last_log >= LOG_EVERY:
                last_log = time.monotonic()
                self._log(counters)
            if self.sender.bug is not None:
                ended.set()
            if time.monotonic() - self.sender.alive_at < SENDER_SECONDS:
                self.systemd.tell(f"WATCHDOG=1\nSTATUS=health: {findings[0].colour}, {counters['queued']} waiting")
            await asyncio.sleep(pause)

    def look(self) -> tuple[list[Finding], dict[str, int]]:
        """Write the health for the status page, and return it with the counters."""
        counters = {**self.queue.read_counters(), **self.receiver.counters}
        self.queue.keep_reserve()
        trouble = self.queue.take_trouble() or try_disk(self.plan.state_dir)
        findings = judge_relay(counters, self.queue.limits.alerts, self.queue.read_last_update(), trouble)
        senders = judge_senders(self.receiver.last_refusal, counters.get("senders_refused", 0), time.time())
        findings = sort([*findings, senders])
        if bool(trouble) != bool(self._trouble):
            self.log.error("queue.failed", message=trouble) if trouble else self.log.info("queue.well")
        self._trouble = trouble
        with suppress(OSError):
            write_health(self.plan.state_dir, findings, counters, datetime.now(UTC))
        return findings, counters

    def _log(self, counters: Mapping[str, int]) -> None:
        chosen = {name: counters.get(name, 0) for name in LOGGED}
        if chosen != self._logged:
            self._logged = chosen
            self.log.info("alerts.counted", **chosen)


def tell_as_original(text: str, *, is_verbose: bool) -> None:
    """Say one of the original's lines, as Go's log writes them: all but the first only if it is to be verbose."""
    if is_verbose or text.startswith("starting"):
        sys.stderr.write(f"{datetime.now():%Y/%m/%d %H:%M:%S} {text}\n")  # noqa: DTZ005 (local time, as there)
        sys.stderr.flush()
