"""Whatever is done to the targets' tables, and to the source's clock: in the end they are right, and green means it.

Ours are right where nobody else has written since, theirs where somebody has.
"""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.oracle import Settings, judge
from tests.world import World
from uidsync.simulator.table import Mapping

START = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
VALIDITY = timedelta(hours=8)
FULL_EVERY = timedelta(hours=2)
ADDRESSES = tuple(f"10.0.0.{n}" for n in range(1, 13))
USERS = ("ada", "ben", "cleo", "LAB\\dan", "null")
TARGETS = (
    {"name": "fw", "kind": "firewall", "host": "fw", "mapping_timeout": "24h"},
    {"name": "fw-short", "kind": "firewall", "host": "fw-short", "mapping_timeout": "40m"},
)
NAMES = tuple(target["name"] for target in TARGETS)
SETTLED = timedelta(minutes=2)
TOLERANCE = timedelta(minutes=2)  # between the clocks of a firewall and the source

FOUND = {
    "what was sent for two minutes by a clock that was behind ends by itself": (
        ("begin", {"users": ["ada"] * len(ADDRESSES)}),
        ("time_passes", {"minutes": 7 * 60 + 18}),
        ("the_clock_jumps", {"minutes": -20}),
        ("the_clock_jumps", {"minutes": 0}),
    ),
    "what nobody remembers, sent by a clock that was behind, is left to whoever that may have been": (
        ("begin", {"users": ["ada"] * len(ADDRESSES)}),
        ("people_log_in", {"facts": [(ADDRESSES[0], "cleo")]}),
        ("a_run", {}),
        ("time_passes", {"minutes": 61}),
        ("the_clock_jumps", {"minutes": -180}),
        ("time_passes", {"minutes": 90}),
        ("a_run_that_keeps_nothing", {"facts": []}),
        ("the_clock_jumps", {"minutes": 0}),
    ),
    "what was sent by a clock that was ahead was not sent just now, though its time has come": (
        ("begin", {"users": ["ada"] * len(ADDRESSES)}),
        ("the_clock_jumps", {"minutes": 121}),
        ("time_passes", {"minutes": 121}),
        ("another_source_maps", {"name": "fw", "ips": [ADDRESSES[0]], "source": "AD"}),
        ("the_clock_jumps", {"minutes": 0}),
    ),
    "what was sent to an address that another source had is due while it is in doubt": (
        ("begin", {"users": ["ada"] * len(ADDRESSES)}),
        ("another_source_maps", {"name": "fw", "ips": [ADDRESSES[0]], "source": "AD"}),
        ("time_passes", {"minutes": 121}),
        ("another_source_maps", {"name": "fw", "ips": [ADDRESSES[0]], "source": "AD"}),
        ("a_run", {}),
        ("a_target_changes", {"name": "fw", "kind": "may not ask"}),
        ("a_run", {}),
        ("time_passes", {"minutes": 121}),
        ("a_target_changes", {"name": "fw", "kind": "away"}),
        ("a_run", {}),
        ("a_target_changes", {"name": "fw", "kind": "well"}),
        ("a_run", {}),
    ),
}

names = st.sampled_from(NAMES)
addresses = st.sampled_from(ADDRESSES)


class Notes:
    """What a judge remembers of one device: who wrote last at each address, and for which of our events."""

    def __init__(self):
        self.delivered = {}  # by address: the event whose login was accepted last
        self.lowest = {}  # the same event, or an older one that has had the address since; 0 for none
        self.proven = {}  # the event that was seen to be right at the end of a run that could look
        self.theirs = {}  # another source's user, and the event that was delivered or proven when it came
        self.touched = {}  # by address: when it was tampered with, until a look may have seen it
        self.right_at = START  # when the whole table was put right last


class Tampering(RuleBasedStateMachine):
    """A site over hours, whose tables others write to."""

    @initialize(users=st.lists(st.sampled_from(USERS), min_size=len(ADDRESSES), max_size=len(ADDRESSES)))
    def begin(self, users):
        """Set up a site that is in order."""
        self.directory = tempfile.TemporaryDirectory(prefix="uidsync-tampering-")
        self.world = World(Path(self.directory.name), START, TARGETS)
        self.world.sync = {"batch_size": 5, "full_every": "2h", "max_logout_percent": 100, "max_change_percent": 100}
        self.world.identity = {"domain": "CAMPUS"}
        self.notes = {name: Notes() for name in NAMES}
        self.doubted = {name: set() for name in NAMES}
        self.row_id = 1000
        for address, user in zip(ADDRESSES, users, strict=True):
            self._log_in(address, user, HOUR)
        self._log_in("10.0.0.99", "zoe", HOUR)
        self._run()

    def _log_in(self, address, user, age=timedelta()):
        self.row_id += 1
        date = (self.world.true_now - age).replace(tzinfo=None)
        self.world.export.rows.append((self.row_id, date, address, user, None))

    # ---- what happens --------------------------------------------------------------------------------------------

    @rule(facts=st.lists(st.tuples(addresses, st.sampled_from(USERS)), min_size=1, max_size=3))
    def people_log_in(self, facts):
        """Write rows."""
        for address, user in facts:
            self._log_in(address, user)

    @rule(minutes=st.sampled_from((1, 2, 3, 5, 10, 21, 30, 61, 121)))
    def time_passes(self, minutes):
        """Let all clocks go on."""
        self.world.pass_time(minutes * MINUTE)

    @rule(minutes=st.sampled_from((-180, -20, 20, 121, 72 * 60)))
    def the_clock_jumps(self, minutes):
        """Let the database's clock be wrong, or right again; the timer goes on, so that the next run sees it."""
        self.world.jump = timedelta() if self.world.jump else minutes * MINUTE
        self._run()

    @rule(name=names, ips=st.lists(addresses, min_size=1, unique=True))
    def mappings_are_removed(self, name, ips):
        """Take some mappings away, as a clear command does."""
        for ip in ips:
            if self.world.devices[name].table.forget(ip, "vsys1"):
                self._touch(name, ip)

    @rule(name=names)
    def all_is_lost(self, name):
        """Clear a table, as a restart does."""
        self.mappings_are_removed(name, [*ADDRESSES, "10.0.0.99"])

    @rule(
        name=names,
        ips=st.lists(addresses, min_size=1, max_size=11, unique=True),
        source=st.sampled_from(("AD", "XMLAPI")),
    )
    def another_source_maps(self, name, ips, source):
        """Let an agent for Active Directory, or another program, say who is there."""
        now = self.world.true_now.timestamp()
        for ip in ips:
            self.world.devices[name].table.learn(Mapping("vsys1", ip, "OTHER\\eve", source, now + 2700))
            self._leave(name, ip, "OTHER\\eve")
            self._touch(name, ip)

    @rule(name=names, ip=addresses)
    def a_user_is_shown_by_another_name(self, name, ip):
        """Let a firewall show our user by a primary name: nothing is wrong with that."""
        table = self.world.devices[name].table
        row = table.find("vsys1", ip, self.world.true_now.timestamp())
        if row and row.source == "XMLAPI" and row.user.startswith("CAMPUS\\"):
            table.learn(Mapping("vsys1", ip, f"{_bare(row.user)}@example.edu", row.source, row.expires))

    def _leave(self, name, ip, user):
        """Note that an address is left to whoever is not known to be ours, until a newer event."""
        notes = self.notes[name]
        notes.theirs[ip] = user, max(notes.delivered.get(ip, 0), notes.proven.get(ip, 0))

    def _touch(self, name, ip):
        self.notes[name].touched[ip] = self.world.true_now

    @rule(
        name=names,
        faults=st.lists(st.sampled_from((None, "lost", "dropped", "garbled", "refused", "again")), max_size=3),
    )
    def a_target_answers_badly(self, name, faults):
        """Lose, refuse or apply its next messages, and lose or spoil some of the answers."""
        self.world.devices[name].answers.extend(faults)

    @rule(name=names, kind=st.sampled_from(("away", "well", "may not ask")))
    def a_target_changes(self, name, kind):
        """Let nobody reach it, or take a right from our key, or let all be well."""
        device = self.world.devices[name]
        device.is_away, device.may_ask = kind == "away", kind != "may not ask"

    # ---- runs ----------------------------------------------------------------------------------------------------

    @rule()
    def a_run(self):
        """Make a run."""
        self._run()

    @rule(facts=st.lists(st.tuples(addresses, st.sampled_from(USERS)), max_size=3))
    def a_run_that_keeps_nothing(self, facts):
        """Make a run while the state directory cannot be written: it goes by a copy, which ends with it."""
        self.people_log_in(facts)
        self._run(keeps=False)

    @rule(minutes=st.integers(1, 5), count=st.integers(1, 6))
    def a_few_runs(self, minutes, count):
        """Make runs as a timer does."""
        for _ in range(count):
            self._run()
            self.world.pass_time(minutes * MINUTE)

    def _run(self, *, keeps=True):
        reads = {name: device.reads for name, device in self.world.devices.items()}
        before = {name: len(device.table.log) for name, device in self.world.devices.items()}
        theirs = {name: self._find_theirs(name) for name in NAMES}
        this = self.world.run(keeps=keeps)
        report = this.report  # a run that is refused as a whole has sent nothing
        sent = {each.name for each in this.dispatches if each.is_full_send and not report.error}
        event(f"exit {report.exit_code}, jump {bool(self.world.jump)}")
        assert report.exit_code in {0, 1, 4}, report
        holders = self._judge().holders
        oldest = self.world.now - VALIDITY + MINUTE
        for notes in self.notes.values():  # by a wrong clock, an older event may have had the address, or none
            for ip, event_id in notes.lowest.items():
                is_valid = ip in holders and holders[ip].seen_at >= oldest
                notes.lowest[ip] = min(event_id, holders[ip].event_id if is_valid else 0)
        for part in report.targets:
            device = self.world.devices[part.name]
            for record in list(device.table.log)[before[part.name] :]:
                self._check_write(part, record, theirs[part.name], holders, keeps=keeps)
            is_read = device.reads > reads[part.name]
            if keeps and (is_read or part.name in sent):  # else nobody remembers
                self._see(part.name)
            # One that ends badly has looked all the same. Else nobody remembers that a run could not look.
            if (keeps and is_read) or (part.status == "complete" and (keeps or device.may_ask)):
                self._prove(part.name)
            if part.status == "complete" and not self.world.jump:
                self._check(part.name)
        return report

    def _check_write(self, part, record, theirs, holders, *, keeps):
        """Hold a message that was applied against the rule that what another source has taken since is left to it."""
        notes = self.notes[part.name]
        ip = record.ip
        holder = holders.get(ip)
        if record.subtype == "login":
            other = theirs.pop(ip, None)  # a message that comes again finds ours
            if other and holder and self.world.devices[part.name].may_ask and not self.world.jump:
                note(f"{part.name}: {record} over {other}")
                assert holder.event_id > notes.lowest.get(ip, 0) or ip in self.doubted[part.name], (part.name, ip)
            notes.theirs.pop(ip, None)
            if self.world.jump and not keeps:  # nobody remembers whom it sent, nor why
                self._leave(part.name, ip, record.user)
            if holder and keeps:
                notes.delivered[ip] = notes.lowest[ip] = holder.event_id

    def _find_theirs(self, name):
        now = self.world.true_now.timestamp()
        rows = self.world.devices[name].table.mappings(now)
        believed = self.world.read_believed(name)
        # What was in doubt, and was not there when the ledger looked, may never have been delivered.
        forgotten = self.doubted[name] - believed.keys()
        self.doubted[name] = forgotten | {ip for ip, users in believed.items() if any(users.values())}
        return {row.ip: row.user for row in rows if row.user == "OTHER\\eve"}

    def _see(self, name):
        """Note that the whole table was looked at, or sent: what was sent just before may not have shown."""
        notes, now = self.notes[name], self.world.true_now
        notes.right_at = now
        recent = {
            record.ip for record in self.world.devices[name].table.log if record.at >= (now - SETTLED).timestamp()
        }
        notes.touched = {ip: at for ip, at in notes.touched.items() if ip in recent}
        shown = self.world.devices[name].holds(now)
        notes.theirs = {ip: theirs for ip, theirs in notes.theirs.items() if shown.get(ip) == theirs[0]}

    def _judge(self):
        rules = Settings(idle_after=VALIDITY, reauth_days=10_000, domain="CAMPUS")
        return judge(self.world.export.rows, self.world.now, rules)

    def _prove(self, name):
        """Note what is right by the clock of now: a run that could look has seen as much."""
        notes, device, verdict = self.notes[name], self.world.devices[name], self._judge()
        wanted = {str(ip): user for ip, (user, _) in verdict.wanted.items()}
        for ip, held in device.holds(self.world.true_now).items():
            if ip in wanted and _bare(held) == _bare(wanted[ip]):
                notes.proven[ip] = max(notes.proven.get(ip, 0), verdict.holders[ip].event_id) if device.may_ask else 0

    def _check(self, name, *, strictly=False):
        """Hold a table against the rules: what is wrong there was tampered with since the last look at all of it."""
        notes, device, now = self.notes[name], self.world.devices[name], self.world.true_now
        verdict = self._judge()
        holds = device.holds(now)
        wanted = {str(ip): mapping for ip, mapping in verdict.wanted.items()}
        for ip in wanted.keys() | holds.keys():
            (user, until), held = wanted.get(ip, (None, None)), holds.get(ip)
            is_right = held is not None and user is not None and _bare(held) == _bare(user)
            if (
                is_right
                or (held is None and (user is None or until - self.world.now <= MINUTE))  # it is not sent for so short
                or self._may_stay(name, ip, held, verdict)
                or (user is None and self._ends_by_itself(name, ip, verdict))
                or (ip, user) in device.rejected
            ):
                continue
            if held and "@" in held and not device.may_ask:  # nobody could ask whether the logout took effect
                self._leave(name, ip, held)
                continue
            note(f"{name} {ip}: wanted {user}, holds {held}; {notes.touched.get(ip)}")
            has_run_out = held is None and ip in notes.theirs  # what another source said, and nobody has looked since
            assert ip in notes.touched or has_run_out, (name, ip, user, held)
            assert not strictly, (name, ip, user, held)
            assert not device.may_ask or now - notes.right_at <= FULL_EVERY, (name, ip, user, held)

    def _may_stay(self, name, ip, held, verdict):
        """Tell whether another source has come since the event that has the address was delivered, or proven."""
        user, event_id = self.notes[name].theirs.get(ip, (None, 0))
        holder = verdict.holders.get(ip)
        return held == user and (holder is None or holder.user is None or holder.event_id <= event_id)

    def _ends_by_itself(self, name, ip, verdict):
        """Tell whether a mapping goes in a moment, after its event has: clocks need not agree any better."""
        holder, now = verdict.holders.get(ip), self.world.true_now.timestamp()
        row = self.world.devices[name].table.find("vsys1", ip, now)
        is_its_event = holder is None or (holder.user is not None and _bare(holder.user) == _bare(row.user))
        return is_its_event and row.expires - now <= TOLERANCE.total_seconds()

    def teardown(self):
        """In the end all clocks are right and all targets answer; a look at all, and a quiet run, make all well."""
        if not hasattr(self, "world"):
            return
        try:
            self.world.jump = timedelta()
            for name in NAMES:
                self.a_target_changes(name, "well")
                self.world.devices[name].answers.clear()
            self._log_in("10.0.0.99", "zoe")
            self._run()
            self.world.pass_time(FULL_EVERY + MINUTE)
            self._log_in("10.0.0.99", "zoe")
            self._run()
            self.world.pass_time(3 * MINUTE)
            report = self._run()
            assert report.exit_code == 0, report
            for name in NAMES:
                self._check(name, strictly=True)
        finally:
            self.directory.cleanup()


def _bare(user):
    return user.rpartition("\\")[2].partition("@")[0].casefold()


TestTampering = Tampering.TestCase
if settings.get_current_profile_name() != "soak":
    TestTampering.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.sampled_from(list(FOUND)))
@settings(deadline=None)
def test_what_was_found_once(title):
    """What the search found to be wrong is right now."""
    site = Tampering()
    for what, arguments in FOUND[title]:
        getattr(site, what)(**arguments)
    site.teardown()
