"""Whatever happens between runs and in the middle of them, in the end every target holds what the rules say."""

import tempfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import event, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.oracle import Settings, is_in, judge
from tests.world import Device, World

START = datetime(2026, 3, 10, 12, tzinfo=UTC)  # the database's clock, which is hours or years off our own
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
VALIDITY = timedelta(hours=8)
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.4", "2001:db8::5")
PRINCIPALS = (
    "ada",
    "ADA,Staff",
    "ben",
    "LAB\\cleo",
    "o'neil <&>",
    "null",
    ",Staff",
    "svc-scan",
    None,
    "  ",
    "ben,Guest,Quarantined",
    "ada,Quarantined",
    "cleo,Guests,Staff",
)
TARGETS = (
    {"name": "fw", "kind": "firewall", "host": "fw", "mapping_timeout": "3h"},
    {"name": "fw-lab", "kind": "firewall", "host": "fw-lab", "mapping_timeout": "50m", "networks": ["10.0.0.0/24"]},
    {"name": "uia", "kind": "agent", "host": "uia", "mapping_timeout": "45m"},
)
NAMES = tuple(target["name"] for target in TARGETS)

addresses = st.sampled_from(ADDRESSES)
principals = st.sampled_from(PRINCIPALS)
names = st.sampled_from(NAMES)


class History(RuleBasedStateMachine):
    """A site over hours and days."""

    @initialize()
    def begin(self):
        """Set up a site whose table has a past: ids are high, and what they were half an hour ago is known."""
        self.directory = tempfile.TemporaryDirectory(prefix="uidsync-history-")
        self.world = World(Path(self.directory.name), START, TARGETS)
        self.highest = [(START - VALIDITY, 0)]  # the highest id at each time
        self.first_read = self.last_try = None
        self.moves = 0
        for hours, row_id in ((7, 1_000), (3, 5_000)):
            self.highest.append((START - hours * HOUR, row_id))
            self._write(row_id, hours * HOUR, "10.0.0.1", "ada")
        self._furnish()

    def _furnish(self):
        """Add what makes another kind of site."""

    # ---- the NAC -------------------------------------------------------------------------------------------------

    @rule(
        facts=st.lists(st.tuples(addresses, principals, st.integers(0, 90)), min_size=1, max_size=4),
        gap=st.integers(1, 700),
    )
    def people_log_in(self, facts, gap):
        """Write rows with higher ids, which may be far apart."""
        for address, principal, age in facts:
            self._write(self.highest[-1][1] + gap, timedelta(seconds=age), address, principal)

    @rule(back=st.integers(1, 999), age=st.integers(0, 200), address=addresses, principal=principals)
    def a_late_writer_commits(self, back, age, address, principal):
        """Write a row under one of the last 1,000 ids, which others have passed."""
        self._write_late(self.highest[-1][1] - back, age * MINUTE, address, principal)

    @precondition(lambda self: self.first_read and self.first_read <= self.last_try - 30 * MINUTE)
    @rule(share=st.floats(0, 1), age=st.integers(0, 200), address=addresses, principal=principals)
    def a_later_writer_commits(self, share, age, address, principal):
        """Write a row under an id that was new within the half hour before the last run."""
        known = next(row_id for at, row_id in reversed(self.highest) if at <= self.last_try - 30 * MINUTE)
        self._write_late(known + 1 + int(share * (self.highest[-1][1] - known)), age * MINUTE, address, principal)

    def _write_late(self, row_id, age, address, principal):
        if row_id not in {row[0] for row in self.world.export.rows}:
            self._write(row_id, age, address, principal)

    @rule(minutes=st.integers(6, 90), address=addresses, principal=principals)
    def a_clock_is_fast(self, minutes, address, principal):
        """Write a row whose date lies ahead."""
        if sum(row[1].replace(tzinfo=UTC) > self.world.now for row in self.world.export.rows) < 8:
            self._write(self.highest[-1][1] + 1, -minutes * MINUTE, address, principal)

    def _write(self, row_id, age, address, principal):
        date = (self.world.now - age).replace(tzinfo=None)
        self.world.export.rows.append((row_id, date, address, principal, None))
        if row_id > self.highest[-1][1]:
            self.highest.append((self.world.now, row_id))

    @rule(
        minutes=st.sampled_from((1, 2, 3, 5, 10, 20, 29, 31, 60, 119, 121, 240, 479, 481)), seconds=st.integers(0, 59)
    )
    def time_passes(self, minutes, seconds):
        """Let the database's clock go on."""
        self.world.pass_time(minutes * MINUTE + timedelta(seconds=seconds))

    # ---- the targets ---------------------------------------------------------------------------------------------

    @rule(name=names)
    def a_target_goes_away(self, name):
        """Let nobody reach it."""
        self.world.devices[name].is_away = True

    @rule(name=names)
    def a_target_is_well(self, name):
        """Bring it back, rejecting nothing."""
        device = self.world.devices[name]
        device.is_away, device.may_ask, device.rejects = False, True, frozenset()
        device.answers.clear()

    @rule(
        name=names,
        faults=st.lists(st.sampled_from((None, "lost", "dropped", "garbled", "refused", "again")), max_size=5),
    )
    def a_target_answers_badly(self, name, faults):
        """Lose, refuse or apply its next messages, and lose or spoil some of the answers."""
        self.world.devices[name].answers.extend(faults)

    @rule(name=names, users=st.frozensets(st.sampled_from(("ada", "ADA", "ben", "cleo")), min_size=1))
    def a_target_rejects_users(self, name, users):
        """Let it take some names no more, for a while."""
        self.world.devices[name].rejects = users

    @rule(name=names)
    def a_target_loses_its_table(self, name):
        """Clear it, as a restart does."""
        device = self.world.devices[name]
        device.lost = bool(device.table.forget()) or device.lost

    @rule(name=st.sampled_from(("fw", "fw-lab")))
    def a_key_may_not_ask(self, name):
        """Take the right to ask for mappings from our key."""
        self.world.devices[name].may_ask = False

    @rule(name=names)
    def a_target_is_replaced(self, name):
        """Move it to other hardware, under another name."""
        self.moves += 1
        self.world.targets[name] = self.world.targets[name] | {"host": f"{name}-{self.moves}"}
        self.world.devices[name] = Device(self.world.targets[name]["kind"])

    # ---- the operator --------------------------------------------------------------------------------------------

    @rule(domain=st.sampled_from(("", "CAMPUS")))
    def names_change(self, domain):
        """Give names a domain, or take it away."""
        self.world.identity = self.world.identity | {"domain": domain}

    @rule(networks=st.sampled_from(((), ("10.0.1.0/24",))))
    def networks_change(self, networks):
        """Exclude a network, or admit it again."""
        self.world.identity = self.world.identity | {"exclude_networks": list(networks)}

    @rule(networks=st.sampled_from(("10.0.0.0/24", "10.0.0.2/31", "10.0.0.0/16")))
    def a_share_changes(self, networks):
        """Change a target's part of the addresses."""
        self.world.targets["fw-lab"] = self.world.targets["fw-lab"] | {"networks": [networks]}

    # ---- runs ----------------------------------------------------------------------------------------------------

    @rule(full=st.sampled_from((False, False, False, True)), chosen=st.sampled_from((NAMES, NAMES, NAMES, *NAMES)))
    def a_run(self, full, chosen):
        """Make a run, to its end."""
        self._run(full=full, names=NAMES if chosen == NAMES else (chosen,))

    @rule(crash_after=st.integers(1, 60), full=st.booleans())
    def a_run_that_is_killed(self, crash_after, full):
        """Make a run that ends in the middle of whatever it does."""
        self.last_try = self.world.now
        self.world.run(full=full, crash_after=crash_after)
        event(f"killed: {self.world.power.is_out}")

    @rule(
        steps=st.lists(
            st.tuples(st.lists(st.tuples(addresses, principals), max_size=3), st.integers(1, 900), st.integers(1, 45)),
            min_size=1,
            max_size=4,
        )
    )
    def a_few_runs(self, steps):
        """Make runs one after the other, as a timer does, while people log in."""
        for facts, gap, minutes in steps:
            for address, principal in facts:
                self._write(self.highest[-1][1] + gap, timedelta(), address, principal)
            self._run()
            self.world.pass_time(minutes * MINUTE)

    def _run(self, **options):
        tails, self.last_try = self.world.export.tails, self.world.now
        this = self.world.run(**options)
        report = this.report
        event(f"mode: {report.mode}, exit: {report.exit_code}")
        assert report.exit_code in {0, 1, 4}, report
        if report.exit_code < 4:
            self.first_read = self.first_read or self.world.now
        assert self.world.export.tails - tails == (report.mode == "tail")
        for part in report.targets:
            for tally in (part.logins, part.logouts, part.tags, part.untags):
                assert tally.due == tally.delivered + tally.rejected + tally.failed + tally.not_tried
            if part.status == "complete":
                self._check(part.name)
        return this

    # ---- what holds ----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_forgotten(self):
        """Whatever a target maps, the ledger knows that it holds it, or may hold it."""
        for name, device in self.world.devices.items():
            believed = self.world.read_believed(name)
            for ip, user in device.holds(self.world.now).items():
                assert user in believed.get(ip, ()), (name, ip, user)

    def _judge(self, target, validity=VALIDITY, at=None, rows=None):
        """Return who is wanted at which address of a target, and until when, by the rules told a second time."""
        identity = self.world.identity
        rules = Settings(
            idle_after=validity,
            reauth_days=10_000,
            domain=identity.get("domain") or None,
            ignore_users=tuple(identity["ignore_users"]),
            exclude_networks=tuple(identity.get("exclude_networks", ())),
        )
        verdict = judge(self.world.export.rows[:rows], at or self.world.now, rules)
        networks = target.get("networks", ())
        return {str(ip): wanted for ip, wanted in verdict.wanted.items() if not networks or is_in(ip, networks)}

    def _check(self, name, *, strictly=False):
        """Hold what a target that is complete maps against what the rules want."""
        now, device, target = self.world.now, self.world.devices[name], self.world.targets[name]
        wanted = self._judge(target)
        holds = device.holds(now)
        note(f"{name} holds {holds}, wanted {wanted}")
        for ip, user in holds.items():
            if ip in wanted:
                assert user.casefold() == wanted[ip][0].casefold(), (name, ip)
                left, sent = device.lasts(ip, now)
                assert left + MINUTE >= min(sent / 2, wanted[ip][1] - now) or self._is_rejected(name, ip), (name, ip)
            else:  # an agent ends a mapping by its own clock
                assert device.kind == "agent", (name, ip, user)
                ever = self._judge(target, timedelta(days=9_000))
                assert ip in ever, (name, ip, user)
                assert _bare(ever[ip][0]) == _bare(user), (name, ip, user)
        missing = {ip for ip in wanted.keys() - holds.keys() if not self._is_rejected(name, ip)}
        if missing and device.lost and not strictly:
            return
        assert not missing, (name, missing)
        device.lost = device.lost and not wanted.keys() <= holds.keys()

    def _is_rejected(self, name, ip):
        """Tell whether a target rejected what is wanted at an address, and no newer event has come since."""
        target = self.world.targets[name]
        user, until = self._judge(target)[ip]
        for (rejected_ip, rejected_user), (at, rows) in self.world.devices[name].rejected.items():
            if (rejected_ip, rejected_user.casefold()) == (ip, user.casefold()):
                return (rejected_user, until) == self._judge(target, at=at, rows=rows).get(ip)
        return False

    def teardown(self):
        """In the end all targets answer, and a few quiet runs make all well."""
        if not hasattr(self, "world"):
            return
        try:
            self._end()
        finally:
            self.directory.cleanup()

    def _end(self):
        for name in NAMES:
            self.a_target_is_well(name)
        self._write(self.highest[-1][1] + 1, timedelta(), "10.0.0.1", "ada")
        self._run(force=True)
        self.world.pass_time(MINUTE)
        self._run(force=True)  # logs out whom a rejected login was to replace
        if any(device.lost for device in self.world.devices.values()):
            self._run(force=True, full=True)
        this = self._run(force=True)
        assert this.report.exit_code == 0, this.report
        for name, plan in this.plans.items():
            assert len(plan) == len(plan.refreshed), (name, plan)
            self._check(name, strictly=True)
        again = self._run()
        assert all(len(plan) == 0 for plan in again.plans.values()), again.plans
        for name in NAMES:
            believed = self.world.read_believed(name)
            doubted = {ip for ip in self._judge(self.world.targets[name]) if any(believed.get(ip, {}).values())}
            assert {ip for ip in doubted if not self._is_rejected(name, ip)} == set(), name


def _bare(user):
    return user.rpartition("\\")[2].casefold()


# ---- by example --------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path):
    """Set up a site with 20,000 ids, one user, and a run that has read all."""
    world = World(tmp_path, START, TARGETS)
    write(world, 20_000, "10.0.0.1", "ada", age=HOUR)
    world.run()
    return world


def write(world, row_id, address, user, *, age=timedelta()):
    """Write a row, dated so long ago."""
    world.export.rows.append((row_id, (world.now - age).replace(tzinfo=None), address, user, None))


def go_on(world, minutes, rows=0):
    """Let time pass, let a busy table grow, and run; the report has to be that of a tail."""
    world.pass_time(minutes * MINUTE)
    if rows:
        write(world, world.export.highest_id + rows, "10.0.1.4", "ben")
    report = world.run().report
    assert report.mode == "tail"
    return report


def who(world, name="fw"):
    """Return who is mapped where on a target."""
    return world.devices[name].holds(world.now)


def test_a_row_that_lay_ahead_counts_once_its_time_has_come(world):
    """However far the table has grown since, a row that was skipped as ahead is read when the clock reaches it."""
    write(world, 20_001, "10.0.0.2", "cleo", age=-50 * MINUTE)
    for _ in range(4):
        go_on(world, 10, 5_000)
        assert "10.0.0.2" not in who(world)
    go_on(world, 6)
    assert who(world)["10.0.0.2"] == "cleo"


@pytest.mark.parametrize(("pause", "back"), [(0, 9_999), (29, 9_999), (55, 9_999)])
def test_a_late_writer_is_read(world, pause, back):
    """A row under an id that was new in the half hour before the last run is read, however long the next one takes."""
    go_on(world, 31, 1)
    go_on(world, 29, 10_000)
    world.pass_time(pause * MINUTE)
    write(world, world.export.highest_id - back, "10.0.0.2", "cleo", age=HOUR)
    go_on(world, 1)
    assert who(world)["10.0.0.2"] == "cleo"


def test_a_firewall_that_goes_on_losing_its_table_is_read_ever_more_seldom(world):
    """A lost table is sent again at once; when that is of no use, longer and longer passes between two looks."""
    looks = []
    for _ in range(100):
        world.devices["fw"].table.forget()
        reads = world.devices["fw"].reads
        world.pass_time(MINUTE)
        world.run()
        if world.devices["fw"].reads > reads:
            looks.append((world.now - START) // MINUTE)
    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert looks[0] <= 3
    assert pauses == sorted(pauses)
    assert pauses[0] >= 5
    assert len(looks) <= 6
    for _ in range(2):
        world.pass_time(HOUR)
        world.run()
    assert who(world) == {"10.0.0.1": "ada"}


def test_a_logout_without_an_answer_is_in_doubt(world):
    """Whoever logs in again after a logout whose answer was lost is sent again: the logout may have been applied."""
    write(world, 20_001, "10.0.0.1", "null")
    for device in world.devices.values():
        device.answers.append("dropped")
    go_on(world, 1)
    write(world, 20_002, "10.0.0.1", "ada")
    go_on(world, 1)
    assert [who(world, name) for name in NAMES] == [{"10.0.0.1": "ada"}] * 3


def test_a_logout_without_an_answer_is_no_lost_table(world):
    """Addresses that are being logged out are missed by nobody: the table shows that they are gone."""
    for n in (2, 3):
        write(world, 20_000 + n, f"10.0.0.{n}", f"user{n}")
    go_on(world, 3)
    for n in (1, 2, 3):
        write(world, 20_010 + n, f"10.0.0.{n}", "null")
    world.sync = world.sync | {"batch_size": 100}
    world.devices["fw"].answers.append("dropped")
    go_on(world, 3)
    report = go_on(world, 3, 100)
    assert report.targets[0].logouts.due == 0
    assert report.warnings == []
    assert who(world) == {"10.0.1.4": "ben"}


def test_what_is_rejected_in_the_end_is_not_in_doubt(world):
    """A login that is rejected alone, after the message that carried it was refused, leaves nothing on the target."""
    for n in (2, 3):
        write(world, 20_000 + n, f"10.0.0.{n}", f"user{n}")
    world.devices["fw"].answers += ["refused", "refused"]  # both, then the first of them
    part = go_on(world, 3).targets[0]
    assert (part.logins.rejected, part.logins.delivered, part.held, part.in_doubt) == (1, 1, 2, 0)
    assert set(who(world)) == set(world.read_believed("fw"))


def test_a_firewall_that_may_not_be_asked_gets_all_now_and_then(world):
    """Without the right to ask, every report says so, and every full_every all is sent, so that a loss is mended."""
    world.targets["fw"] = world.targets["fw"] | {"mapping_timeout": "24h"}
    world.run(full=True)
    world.devices["fw"].may_ask = False
    warned, sent = [], []
    for _ in range(25):
        world.pass_time(10 * MINUTE)
        world.devices["fw"].table.forget()
        report = world.run(names=["fw"]).report
        warned += report.warnings
        if who(world):
            sent.append(world.now - START)
    assert sent == [2 * HOUR, 4 * HOUR]
    assert sum("table.unreadable" in warning for warning in warned) == 25


TestHistory = History.TestCase
if settings.get_current_profile_name() != "soak":
    TestHistory.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
