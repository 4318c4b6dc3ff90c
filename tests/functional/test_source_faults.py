"""Every fault of the source: nothing is sent, the report says which, the run ends, and the next one puts it right.

The rows are in source_faults.py. They are played side by side, on a real database and with targets over real TLS; each
has an export, a site and targets to itself. Each run is a process of its own.
"""

import os
import re
import signal
import sqlite3
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import pymysql
import pytest
import trustme

from tests.command import Called
from tests.forks import call_in_fork, start_simulator
from tests.functional.conftest import Site
from tests.functional.private_server import PrivateServer
from tests.functional.source_faults import (
    CLOSED,
    FAULTS,
    HOLE,
    NO_CA,
    ODDITIES,
    RIGHT_CA,
    WRONG_CA,
)
from tests.functional.wire import Wire, black_hole, cut, meanwhile
from tests.limits import raise_if_late, wait_until
from tests.safeconnect import free_port, fresh_export
from uidsync.deadline import Deadline
from uidsync.source import SourceError
from uidsync.source.mysql import Login, MySQLSource

MANY, ROWS, FEW = (
    1_500,
    400,
    40,
)  # in an export at which something is done amid its rows, that is broken there, and in others
STEP = 1 if os.environ.get("UIDSYNC_SOAK") else 61  # bytes between two places where a read is cut
WEIGHT = 5_000  # bytes of roles, more than are read, so that no buffer between here and the server holds all the rows
HEAVY_AMID = 20 * WEIGHT  # bytes of answers: among such rows, and past whatever is asked before them
PEAK = 150_000  # KiB that a run takes at most; most of it is what is imported
AT_ONCE = 8  # rows of the matrix; most of them wait for something
PRIVATE = 2  # servers for the rows that break one, each row after another
NAMES = {"latin1": "zoë", "utf8mb3": "Ödön.李雷", "utf8mb4": "Ödön.李雷😀"}
REMEMBERED = ("reading", "mark", "ahead", "event", "holding", "withdrawn", "rejected", "taken", "logout")


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the command that has ended, and what it cost."""

    ended: Called
    seconds: float
    peak: int  # KiB

    @property
    def error(self):
        """The error in its report."""
        return self.ended.report["error"]


@dataclass(slots=True)
class Story:
    """What became of one row of the matrix."""

    before: object = None  # what was remembered and sent before the fault's run
    broken: Run | None = None
    after: object = None  # and after it
    secrets: tuple = ()
    next: Run | None = None
    expected: dict | None = None  # who is at each address
    held: tuple = ()  # what each target has, after the next run
    tail: bool = False


def run(site, *arguments):
    """Run the command to its end and measure it."""
    started = time.monotonic()
    ended, peak = call_in_fork(site.call, *arguments)
    return Run(ended, time.monotonic() - started, peak)


def remember(site):
    """Return all that the ledger knows of the source and of what targets hold."""
    file = site.state_dir / "ledger.sqlite3"
    if not file.exists():
        return {table: [] for table in REMEMBERED}
    ledger = sqlite3.connect(file)
    try:
        return {table: sorted(ledger.execute(f"SELECT * FROM {table}"), key=repr) for table in REMEMBERED}  # noqa: S608
    finally:
        ledger.close()


class Scene:
    """One row's export, its site and the server, and the means to break them."""

    def __init__(self, fault, number, place, server, targets):
        self.fault = fault
        self.number = number
        self.place = place
        self.private = server if isinstance(server, PrivateServer) else None
        self.server = self.private.server if self.private else server
        self.targets = targets
        self.wire = None
        self.site = Site(place)
        self.stack = ExitStack()
        self.rows = 0

    # ---- the export ----

    def open_export(self):
        """Set up the export; it is dropped in the end, unless its server has been another one meanwhile."""
        opened = fresh_export(self.server, self.place, self.fault.charset)

        def leave():
            with suppress(pymysql.Error if self.private else ()):
                opened.__exit__(None, None, None)

        self.stack.callback(leave)
        return opened.__enter__()

    def insert(self, export):
        """Write events of the last minutes, each at an address of its own."""
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(seconds=60)
        roles = "x" * (WEIGHT if self.fault.act else 1)
        first, self.rows = self.rows, self.rows + ((MANY if self.fault.act else ROWS) if self.is_long else FEW)
        export.insert(
            [
                (
                    number + 1,
                    now,
                    f"10.{self.number}.{number // 250}.{number % 250 + 1}",
                    f"{self.name}{number},{roles}",
                    None,
                )
                for number in range(first, self.rows)
            ]
        )

    @property
    def is_long(self):
        """Whether the answers must be longer than where they are broken off."""
        return bool(self.fault.wire or self.fault.act or self.fault.first)

    @property
    def name(self):
        """What the users' names begin with."""
        return NAMES[self.fault.charset]

    def find_expected(self):
        """Return who is at each address."""
        return {f"10.{self.number}.{n // 250}.{n % 250 + 1}": f"{self.name}{n}" for n in range(self.rows)}

    def execute(self, export, statements):
        """Run statements as the administrator, of the export's database."""
        words = {
            "db": export.database,
            "account": f"'{export.user}'@'%'",
            "password": export.password_file.read_text().strip(),
        }
        for statement in statements:
            export.ask(statement.format(**words))

    # ---- the targets ----

    def find_held(self):
        """Return what each target has."""
        return tuple(target.mappings() for target in self.targets)

    def count_requests(self):
        """Return how many requests the firewall got."""
        firewall, _ = self.targets
        return firewall.counters()["requests"]

    # ---- the fault ----

    def configure(self, export, **keys):
        """Set up the site as it is without a fault."""
        self.site.source = {}
        self.site.use_database(export, port=self.wire.port if self.wire else export.port)
        self.site.source |= keys
        self.site.source = {key: value for key, value in self.site.source.items() if value is not None}

    def choose_keys(self, export, stack):
        """Return the keys of the source that differ while the fault lasts; what they need ends with the stack."""
        fault = self.fault
        keys = dict(fault.source)
        match keys.get("port"):
            case str() as port if port == CLOSED:
                keys["port"] = free_port()
            case str() as port if port == HOLE:
                keys["port"] = stack.enter_context(black_hole())
        if name := keys.get("ca_file"):
            keys["ca_file"] = self.make_ca_file(name, export)
        if "password_file" in keys:
            keys["password_file"] = self.site.secret("wrong-password", "wr0ng-passw0rd")
        if fault.first:
            host = f"127.0.1.{self.number}"
            stack.enter_context(Wire(export.port, fault.first, host, export.port))
            keys |= {"host": None, "hosts": [host, "127.0.0.1"]}
        return keys

    @contextmanager
    def broken(self, export):
        """Make the fault, and end it."""
        fault = self.fault
        with ExitStack() as stack:
            stack.callback(self.mend, export)
            keys = self.choose_keys(export, stack)
            self.configure(export, **keys)
            self.site.sync = dict(fault.sync)
            if self.private:
                self.private.restart(*fault.server)
            if fault.sql:
                self.execute(export, fault.sql)
            if self.wire:
                self.wire.fault = meanwhile(HEAVY_AMID, lambda: self.act(export)) if fault.act else fault.wire
            if fault.act == "fill":
                for _ in range(11):
                    stack.enter_context(self.server.connect())
            elif fault.act == "down":
                self.private.stop()
            for statements in fault.sessions:
                stack.enter_context(self.hold(export, statements))
            yield

    def mend(self, export):
        """End what does not end by itself."""
        fault = self.fault
        if self.wire:
            self.wire.mend()
        if self.private:
            self.private.restart()
        if fault.mend:
            self.execute(export, fault.mend)
        self.site.sync = {}
        self.configure(export)

    def make_ca_file(self, name, export):
        """Return the CA file that a row names."""
        if name == WRONG_CA:
            trustme.CA().cert_pem.write_to_path(self.place / "other.pem")
        return {WRONG_CA: self.place / "other.pem", RIGHT_CA: export.ca_file, NO_CA: self.place / "none.pem"}[name]

    def act(self, export):
        """Do to the run's connection, or to its server, what the row says."""
        if self.fault.act.startswith("SIG"):
            self.private.stop(signal.Signals[self.fault.act])
            return
        ((number,),) = export.ask("SELECT id FROM information_schema.processlist WHERE user = %s", export.user)
        export.ask(self.fault.act.format(connection=number))

    @contextmanager
    def hold(self, export, statements):
        """Run statements in a session that lasts; the last one may wait, and is waited for until it runs or waits."""
        with ExitStack() as stack:
            connection = stack.enter_context(export.admin(autocommit=False))
            cursor = stack.enter_context(connection.cursor())

            def execute():
                with suppress(pymysql.Error):  # one that waited to the end is killed
                    for statement in statements:
                        cursor.execute(statement)

            thread = threading.Thread(target=execute)
            thread.start()
            wait_until(lambda: not thread.is_alive() or self.is_waiting(export))
            yield
            if thread.is_alive():
                export.ask(f"KILL QUERY {connection.thread_id()}")
                thread.join()

    def is_waiting(self, export):
        """Tell whether a session waits for the table."""
        sessions = "SELECT id FROM information_schema.processlist WHERE db = %s AND state LIKE '%%metadata lock%%'"
        return export.ask(sessions, export.database)

    # ---- the story ----

    def play(self):
        """Break the source, run, end the fault, run again; return what became of it."""
        fault, story = self.fault, Story()
        firewall, agent = self.targets
        self.place.mkdir()
        with self.stack as stack:
            export = self.open_export()
            if fault.engine != "InnoDB":
                self.execute(export, [f"ALTER TABLE clienthist ENGINE={fault.engine}"])
            if fault.wire or (fault.act and fault.act not in {"down", "fill"}):
                self.wire = stack.enter_context(Wire(export.port))
            self.site.add_firewall("fw", firewall)
            self.site.add_agent("uia", agent)
            self.insert(export)
            if fault.tail:
                self.configure(export)
                first = run(self.site, "sync", "--json")
                assert first.ended.code == 0, first.ended.err
                self.insert(export)
            with self.broken(export):
                story.before = remember(self.site), self.find_held(), self.count_requests()
                story.broken = run(self.site, "sync", "--json", "-vv")
                story.after = remember(self.site), self.find_held(), self.count_requests()
            if fault in FAULTS:
                story.next = run(self.site, "sync", "--json")
                story.held = self.find_held()
            story.expected = self.find_expected()
            story.secrets = tuple(self.site.secrets)
        return story


@pytest.fixture(scope="module")
def private_servers():
    """Start servers that may be broken; one is free when it is in the queue."""
    free = SimpleQueue()
    with ExitStack() as stack, ThreadPoolExecutor(PRIVATE) as pool:
        places = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uidsync-db-"))) for _ in range(PRIVATE)]
        for private in pool.map(PrivateServer, places):
            stack.callback(private.stop)
            free.put(private)
        yield free


@pytest.fixture(scope="module")
def stories(safeconnect_server, private_servers, tmp_path_factory):
    """Play every row, several at once, the longest first; yield what is to become of each, by name."""
    place = tmp_path_factory.mktemp("source")
    rows = sorted(enumerate(FAULTS + ODDITIES, 1), key=lambda row: -row[1].within)
    pairs = SimpleQueue()
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(PRIVATE) as breakers:
        for _ in range(AT_ONCE + PRIVATE):
            pairs.put([stack.enter_context(start_simulator(kind)) for kind in ("firewall", "agent")])

        def play(number, fault, server=safeconnect_server):
            with taken(pairs) as targets:
                for target in targets:
                    target.do("clear")
                return Scene(fault, number, place / str(number), server, targets).play()

        def play_on_a_private_server(number, fault):
            with taken(private_servers) as server:
                return play(number, fault, server)

        yield {
            fault.name: pool.submit(play, number, fault)
            if fault.server is None
            else breakers.submit(play_on_a_private_server, number, fault)
            for number, fault in rows
        }


@contextmanager
def taken(free):
    """Take what is free from a queue, and put it back."""
    thing = free.get()
    try:
        yield thing
    finally:
        free.put(thing)


@pytest.fixture
def story(stories, fault):
    """Wait for what became of a row."""
    return stories[fault.name].result()


def by_name(rows):
    """Try a test on each of these rows."""
    return pytest.mark.parametrize("fault", rows, ids=lambda fault: fault.name)


# ---- the cells ---------------------------------------------------------------------------------------------------


@by_name(FAULTS)
def test_it_is_said(story, fault):
    """The exit code is 3, and report and log say what is wrong, and where."""
    assert story.broken.ended.code == 3, story.broken.ended.err
    assert story.broken.error["kind"] == "SourceError"
    assert re.search(fault.says, story.broken.error["message"]), story.broken.error["message"]
    assert [facts["exit_code"] for event, facts in story.broken.ended.events if event == "sync.finished"] == [3]


@by_name(FAULTS)
def test_nothing_is_sent_and_nothing_forgotten(story, fault):
    """No target is asked anything, and the ledger is as it was: a read that broke off is no short table."""
    assert story.after == story.before
    targets = story.broken.ended.targets.values()
    assert [(target["status"], target["batches"], target["attempts"]) for target in targets] == [
        ("not_tried", 0, 0)
    ] * 2
    assert story.before[0]["reading"] == [] or fault.tail


@by_name(FAULTS + ODDITIES)
def test_it_ends(story, fault):
    """The run ends in time and in little memory."""
    raise_if_late(story.broken.seconds, fault.within)
    assert story.broken.peak < PEAK


@by_name(FAULTS + ODDITIES)
def test_nothing_is_shown(story):
    """No run shows a secret or a trace."""
    for played in filter(None, (story.broken, story.next)):
        assert "Traceback" not in played.ended.err
        assert [secret for secret in story.secrets if secret in played.ended.out + played.ended.err] == []
    assert len(story.secrets) >= 2


@by_name(FAULTS)
def test_the_next_run_puts_it_right(story, fault):
    """The run after the fault reads and delivers everything, as a tail where one was due."""
    assert story.next.ended.code == 0, story.next.ended.err
    assert story.held == (story.expected, story.expected)
    assert story.next.ended.report["mode"] == ("tail" if fault.tail else "full")
    assert story.next.ended.report["source"]["rows"] == len(story.expected)


@by_name(ODDITIES)
def test_an_oddity_is_no_fault(story):
    """Everything is delivered, and names are what they are in the table."""
    assert story.broken.ended.code == 0, story.broken.ended.err
    assert story.after[1] == (story.expected, story.expected)


# ---- every place where a read may break off ----------------------------------------------------------------------


def read_all(login, password, event_id=None):
    """Read the window, or the tail after an id, and return the ids."""
    with MySQLSource(login, lambda: password, Deadline(60)).open() as snapshot:
        since = datetime(1970, 1, 2, tzinfo=UTC)
        rows = snapshot.read_since(since) if event_id is None else snapshot.read_after(event_id, [], since)
        return [row.event_id for row in rows]


@pytest.mark.parametrize("event_id", [None, 5])
def test_no_read_that_breaks_off_is_a_short_table(safeconnect, event_id):
    """Wherever the answers are cut, in the login, the settings or the rows: an error, or the whole table."""
    safeconnect.insert([(n, datetime(2026, 3, 10, 12), f"192.0.2.{n}", f"user{n},Staff", None) for n in range(1, 41)])  # noqa: DTZ001
    password = safeconnect.password_file.read_text().strip()
    with Wire(safeconnect.port) as wire:
        login = Login(("127.0.0.1",), wire.port, "", safeconnect.database, safeconnect.user, None)
        whole = read_all(login, password, event_id)
        assert len(whole) == 40 - (event_id or 0)
        total = wire.passed
        assert total > 2000
        for after in range(1, total, STEP):
            wire.fault = cut(after)
            with pytest.raises(SourceError):
                read_all(login, password, event_id)
        wire.fault = cut(total)
        assert read_all(login, password, event_id) == whole
