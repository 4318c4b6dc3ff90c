"""A site in memory, for runs over time: a table of rows, a clock, devices that apply messages, and a plug to pull.

The ledger is a real file. Devices read real messages and give real answers, by the simulators' own tables. What one
target does never depends on how threads are scheduled, so that a failure can be had again.
"""

import functools
import shutil
import threading
from collections import Counter, deque
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import structlog
from lxml import etree

from tests.oracle import Row as OracleRow
from uidsync.config.reader import make_config
from uidsync.deadline import Deadline
from uidsync.ledger.ledger import FILE, Ledger
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.messages import make_message, read_rejections
from uidsync.panos.wire.errors import BadReply, Unauthorized, Unreachable
from uidsync.panos.wire.xmlapi import read_response
from uidsync.simulator import operations, replies
from uidsync.simulator.replies import Identity
from uidsync.simulator.table import Rules, Table
from uidsync.simulator.vpn import Vpn
from uidsync.source.rows import Row
from uidsync.sync import Order, Parts, run

SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
PATIENCE = 120  # seconds that a target waits for its turn; far above what any takes


@dataclass(slots=True)
class Export:
    """The NAC's table, its clock, and how the last read went."""

    now: datetime
    rows: list[OracleRow] = field(default_factory=list)
    tails: int = 0

    may_cut_addresses = True
    groups = None

    @contextmanager
    def open(self):
        """Open a snapshot."""
        yield self

    @property
    def highest_id(self) -> int | None:
        """The highest clientHistId."""
        return max((row[0] for row in self.rows), default=None)

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read the window."""
        return (Row(*row) for row in self.rows if row[1].replace(tzinfo=UTC) >= date)

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read a tail."""
        self.tails += 1
        return (row for row in self.read_since(date) if row.event_id > event_id or row.event_id in others)


@dataclass(slots=True)
class Power:
    """Goes out after so many effects: from then on nothing reaches a device, and the ledger stays as it was then."""

    file: Path
    left: int = 0
    is_out: bool = False

    def spend(self):
        """Count an effect on the world, or the moment after it."""
        if self.left == 1:
            self.is_out = True
            for part in self._parts(self.file):
                shutil.copy(part, part.with_name(f"crashed-{part.name}"))
        self.left -= 1

    def restore(self):
        """Leave the ledger's file as it was when the power went out."""
        for part in self.file.parent.glob(f"{self.file.name}*"):
            part.unlink()
        for part in self._parts(self.file.with_name(f"crashed-{self.file.name}")):
            part.rename(part.with_name(part.name.removeprefix("crashed-")))

    @staticmethod
    def _parts(file):
        return [part for part in (file.with_name(f"{file.name}{end}") for end in ("", "-wal", "-shm")) if part.exists()]


def _fragile(write):
    @functools.wraps(write)
    def wrapper(self, *arguments, **options):
        self.power.spend()
        write(self, *arguments, **options)
        self.power.spend()

    return wrapper


class FragileLedger(Ledger):
    """A ledger at any of whose writes the power may go out."""

    power: Power
    own_now: datetime
    keep = _fragile(Ledger.keep)
    write_target = _fragile(Ledger.write_target)
    note_sending = _fragile(Ledger.note_sending)
    note_doubt = _fragile(Ledger.note_doubt)
    note_accepted = _fragile(Ledger.note_accepted)
    note_rejected = _fragile(Ledger.note_rejected)
    correct = _fragile(Ledger.correct)
    purge = _fragile(Ledger.purge)

    def disbelieve(self, now, own_now):
        """Go by this world's clock in the place of the host's."""
        del own_now
        return super().disbelieve(now, self.own_now)


class Turns:
    """Lets targets work one after the other, in their order, though each has a thread of its own."""

    def __init__(self, names):
        self._names = list(names)
        self._threads = {}
        self._changed = threading.Condition()

    def take(self, name):
        """Wait until all targets before this one have ended."""
        with self._changed:
            self._threads[name] = threading.current_thread()
            self._changed.notify_all()
        for earlier in self._names[: self._names.index(name)]:
            with self._changed:
                assert self._changed.wait_for(lambda earlier=earlier: earlier in self._threads, PATIENCE)
            self._threads[earlier].join(PATIENCE)

    def begin(self, target, _entries):
        """Hear that a target begins."""
        self.take(target)

    def advance(self, target, entries):
        """Hear that entries have an outcome."""


@dataclass(slots=True)
class Device:
    """A firewall or an agent: its table, its clock, and what is wrong with it."""

    kind: str
    table: Table = None
    answers: deque = field(default_factory=deque)  # what becomes of the next messages
    is_away: bool = False
    may_ask: bool = True
    breaks_off: bool = False  # whenever its whole table is read
    rejects: frozenset[str] = frozenset()
    lost: bool = False  # its table, and nobody is known to have noticed
    reads: int = 0  # of its whole table
    rejected: dict = field(default_factory=dict)  # the logins that it rejected, with the time and the rows of then

    def __post_init__(self):
        agent = Rules(source="UIA", honour_timeout=False)
        self.table = Table(agent if self.kind == "agent" else Rules())

    def holds(self, now: datetime) -> dict[str, str]:
        """Return who is mapped at which address."""
        return {row.ip: row.user for row in self.table.mappings(now.timestamp())}

    def tags(self, now: datetime) -> dict[str, set[str]]:
        """Return which tags each user and each address has."""
        found = (self.table.users.current(now.timestamp()), self.table.addresses.current(now.timestamp()))
        return {whose: set(tags) for rows in found for _, whose, tags in rows}

    def count_tries(self) -> int:
        """Say how often the next message goes out."""
        return 2 if self.answers and self.answers[0] == "again" else 1

    def lasts(self, ip: str, now: datetime) -> tuple[timedelta, timedelta]:
        """Return how long a mapping lasts, and how long it was to last when it was sent."""
        left = self.table.find("vsys1", ip, now.timestamp()).expires - now.timestamp()
        sent = next(record.timeout for record in reversed(self.table.log) if record.ip == ip)
        return timedelta(seconds=left), timedelta(seconds=sent)

    def take(self, document, world):
        """Apply a message, or not, and answer it, or not."""
        power, now = world.power, world.true_now
        fault = self.answers.popleft() if self.answers else None
        power.spend()
        if power.is_out or self.is_away or fault == "lost":
            raise Unreachable("went away")
        message = etree.fromstring(document)
        entries = message.findall("payload/*/entry")
        if fault == "refused":
            self._remember(message, entries if len(entries) == 1 else [], world)
            return read_response(200, replies.error("refused as asked"))
        rejected = self.table.apply(
            message,
            "vsys1",
            now.timestamp(),
            lambda entry: (
                "rejected as asked"
                if (entry.get("name") or entry.get("user") or "").rpartition("\\")[2] in self.rejects
                else None
            ),
        )
        if fault == "again":  # the answer is lost, the message goes out once more, and is refused now
            self._remember(message, entries if len(entries) == 1 else [], world)
            return read_response(200, replies.error("refused as asked"))
        names = {dict(entry.attributes).get("ip") for section in rejected.values() for entry in section}
        self._remember(message, [entry for entry in entries if entry.get("ip") in names], world)
        power.spend()
        if power.is_out or fault == "dropped":
            raise Unreachable("dropped the answer")
        if fault == "garbled":
            raise BadReply("what is this")
        return read_response(200, replies.applied(rejected))

    def ask(self, document, world):
        """Answer a question."""
        return read_response(200, self.show(document, world))

    def show(self, document, world):
        """Return what a question is answered, in bytes."""
        if world.power.is_out or self.is_away:
            raise Unreachable("went away")
        if not self.may_ask:
            raise Unauthorized("not authorized for user role", is_denied=True)
        if self.breaks_off and b"<all>" in document:
            raise Unreachable("broke off")
        self.reads += b"<all>" in document
        asked = operations.Device(Identity(), self.table, Vpn(), "off", None, world.true_now.timestamp())
        return operations.operate(document, asked)

    def _remember(self, message, rejected, world):
        for entry in message.findall("payload/login/entry"):
            ip, name = entry.get("ip"), entry.get("name")
            self.rejected = {known: when for known, when in self.rejected.items() if known[0] != ip}
            if entry in rejected:
                self.rejected[ip, name] = world.now, len(world.export.rows)


class Wire:
    """What stands between a target and its device: a client of the firewall, or the agent as a target."""

    certificate_not_after = client_certificate_not_after = None
    member = ""
    warnings = MappingProxyType({})

    def __init__(self, name, device, world):
        self._name = name
        self._device = device
        self._world = world
        self._attempts = Counter()  # by thread

    def count_attempts(self, kind):
        """Count the messages of this thread."""
        return self._attempts[threading.get_ident()] if kind == "user-id" else 0

    def call(self, request, *, tries="usual"):
        """Make one call of the XML API."""
        del tries
        self._world.turns.take(self._name)
        if request.type == "user-id":
            self._attempts[threading.get_ident()] += self._device.count_tries()
        answer = self._device.ask if request.type == "op" else self._device.take
        return answer(dict(request.parameters)["cmd"].encode(), self._world)

    def read(self, request, read, *, tries="usual"):
        """Make one call whose answer may be large."""
        del tries
        self._world.turns.take(self._name)
        document = dict(request.parameters)["cmd"].encode()
        return read(200, iter([self._device.show(document, self._world)]))

    def close(self):
        """End the connections."""


class AgentTarget:
    """An agent as a target; the message travels as it would over TLS, without timeouts."""

    certificate_not_after = client_certificate_not_after = None
    warnings = MappingProxyType({})

    def __init__(self, device, world):
        self._device = device
        self._world = world
        self.attempts = 0

    def send(self, batch):
        """Send one message."""
        self.attempts += self._device.count_tries()
        document = make_message(batch, timeouts=False).encode()
        rejections = read_rejections(self._device.take(document, self._world), batch)
        return tuple(rejection for rejection in rejections if not rejection.is_about_gone)

    def close(self):
        """End the connections."""


class World:
    """All of it, and the runs over it."""

    def __init__(self, place: Path, now: datetime, targets):
        self.file = place / FILE
        self.export = Export(now)
        self.true_now = now  # what the devices' clocks say, and the NAC's
        self.power = Power(self.file)
        self.turns = Turns(())
        self.source = {"kind": "mysql", "host": "db", "password_file": "/nowhere", "idle_after": "8h"}
        self.identity = {"ignore_users": ["svc-*"]}
        self.roles = {}
        self.sync = {"batch_size": 2, "full_every": "2h"}
        self.targets = {target["name"]: target for target in targets}
        self.devices = {name: Device(target["kind"]) for name, target in self.targets.items()}

    @property
    def now(self) -> datetime:
        """What the database's clock says."""
        return self.export.now

    def run(self, *, names=(), crash_after=0, keeps=True, **options):
        """Make a run, over all targets or some; the power goes out after so many effects, if the run has as many.

        One that does not keep its ledger goes by a copy in memory: its state directory cannot be written.
        """
        config = make_config(
            {
                "source": self.source,
                "identity": self.identity,
                "roles": self.roles,
                "sync": self.sync,
                "target": [*self.targets.values()],
            },
            "uidsync.toml",
        )
        self.power = Power(self.file, crash_after)
        with closing(FragileLedger.open(self.file) if keeps else self._copy_ledger()) as ledger:
            for each in (ledger, ledger.tags):
                each.power, each.own_now = self.power, self.true_now
            chosen = [target for target in config.target if not names or target.name in names]
            self.turns = Turns(target.name for target in chosen)
            parts = Parts(
                config, chosen, self.export, ledger, self._make_target, Deadline(60), SILENT, self.turns
            )  # fmt: skip
            this = run(parts, Order(**options))
        if self.power.is_out:
            self.power.restore()
        return this

    def _copy_ledger(self):
        return FragileLedger.open_copy(self.file)

    def read_believed(self, name: str):
        """Return, by address and name, whether what the ledger holds on a target is in doubt."""
        if not self.file.exists():
            return {}
        with closing(Ledger.open_copy(self.file)) as ledger:
            return {
                str(ip): {holding.user: holding.in_doubt for holding in holdings}
                for ip, holdings in ledger.read_holdings(name).items()
            }

    def pass_time(self, span: timedelta):
        """Let time pass."""
        self.export.now += span
        self.true_now += span

    @property
    def jump(self) -> timedelta:
        """How far the database's clock is ahead of all others."""
        return self.export.now - self.true_now

    @jump.setter
    def jump(self, jump: timedelta):
        self.export.now = self.true_now + jump

    def _make_target(self, share):
        device = self.devices[share.name]
        if device.kind == "agent":
            return AgentTarget(device, self)
        return Firewall(Wire(share.name, device, self), vsys="vsys1")
