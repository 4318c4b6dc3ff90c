"""What a run settles on before it sends anything, by what the ledger can say."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
import structlog
from msgspec.structs import replace

from tests.deliver.test_deliver import Peer, count, make_plan
from uidsync.config.reader import make_config
from uidsync.deadline import Deadline
from uidsync.deliver.recorder import Recorder
from uidsync.deliver.workers import Delivery, deliver
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import Rejected, TargetState
from uidsync.panos.userid.messages import Login, Logout
from uidsync.panos.wire.errors import Unreachable
from uidsync.plan.dispatch import Dispatch
from uidsync.plan.due import NOTHING_DUE, Batch, Plan
from uidsync.report.report import Delivered, Failed, NotTried

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
CONFIG = make_config(
    {"source": {"kind": "mysql", "host": "db"}, "target": [{"name": "fw", "kind": "firewall", "host": "fw"}]},
    "uidsync.toml",
)
IPS = [ip_address(0x0A000000 + n) for n in range(40)]
LOGINS = tuple(Login(ip, "ada", 60) for ip in IPS[20:])
LOGOUTS = tuple(Logout(ip, "ada") for ip in IPS[:20])


class Watcher:
    """Whoever watches a run, and counts."""

    def __init__(self):
        self.due = self.done = 0

    def begin(self, _target, entries):
        """Hear that a target begins."""
        self.due += entries

    def advance(self, _target, entries):
        """Hear that entries have an outcome."""
        self.done += entries


@pytest.fixture
def ledger():
    """Make a ledger in which forty mappings are held."""
    with closing(Ledger.make_empty()) as ledger:
        ledger.write_target(TargetState("fw", "x"))
        ledger.note_accepted("fw", [Login(ip, "ada", 60) for ip in IPS], NOW - timedelta(minutes=9))
        yield ledger


def make_recorder(ledger, plan, *, is_ordered=False, watcher=None, clock=lambda: NOW, **more):
    """Make the recorder of a run over one target."""
    dispatch = Dispatch(CONFIG.target[0], TargetState("fw", "x"), NOW, plan, **more)
    means = SimpleNamespace(config=CONFIG, ledger=ledger, log=SILENT, progress=watcher or Watcher())
    return Recorder(means, dispatch, clock, is_ordered=is_ordered)


def prepare(ledger, plan, **options):
    """Prepare a delivery; return it."""
    delivery = Delivery("fw", None, NOTHING_DUE)
    make_recorder(ledger, plan, **options).prepare(delivery)
    return delivery


def test_too_much_is_refused_and_the_rest_is_sent(ledger):
    """A plan is parted by what the target holds; what somebody ordered is sent whole."""
    plan = Plan(LOGOUTS, new=LOGINS)
    delivery = prepare(ledger, plan)
    assert (delivery.plan, delivery.refused) == (Plan(new=LOGINS), Plan(LOGOUTS))
    assert "20 logouts due, 20 of 40 mappings" in delivery.refusal
    for ordered in (prepare(ledger, plan, is_ordered=True), prepare(ledger, plan, ordered=set(IPS[:20]))):
        assert (ordered.plan, ordered.refused, ordered.refusal) == (plan, NOTHING_DUE, "")


def test_what_was_rejected_before_is_known(ledger):
    """Whoever judges refusals knows which logins the target has rejected before."""
    rejected = Rejected(IPS[3], "ada", 7, NOW, NOW, timedelta(hours=1))
    ledger.note_rejected("fw", rejected)
    assert prepare(ledger, Plan(new=LOGINS)).rejected_before == {IPS[3]}


def test_where_nobody_knows_what_is_too_much_nothing_is_undone(ledger):
    """When the ledger cannot be read, no logout and no change of user goes out, and the run says why."""
    ledger.close()
    for plan in (Plan(LOGOUTS, new=LOGINS), Plan(changed=LOGINS)):
        delivery = prepare(ledger, plan)
        assert not delivery.plan.may_undo
        assert len(delivery.plan) + len(delivery.refused) == len(plan)
        assert delivery.refusal


def test_what_needs_no_limit_goes_out_whatever_the_ledger_says(ledger):
    """New logins, and what somebody ordered, do not wait for a ledger that cannot be read."""
    ledger.close()
    new, forced = Plan(new=LOGINS), Plan(LOGOUTS, new=LOGINS)
    assert prepare(ledger, new).plan == new
    assert prepare(ledger, forced, is_ordered=True).plan == forced


def fail(*, is_unsent):
    """Make the error of a message that was lost, on its way or before it went out."""
    error = Unreachable("gone")
    error.is_unsent = is_unsent
    return error


def list_held(ledger, ip):
    """Return who is held at an address, and whether that is in doubt."""
    return {holding.user: holding.in_doubt for holding in ledger.read_holdings("fw", [ip]).get(ip, ())}


@pytest.mark.parametrize("entry", [Logout(IPS[0], "ada"), Login(IPS[0], "ben", 60), Login(IPS[0], "ada", 60)])
@pytest.mark.parametrize("is_unsent", [False, True, None])
def test_what_never_went_out_is_not_in_doubt(ledger, entry, is_unsent):
    """A message that was lost leaves its entries in doubt; one that nobody can have got leaves all as it was.

    So does a message that was announced and never sent.
    """
    recorder, delivery = make_recorder(ledger, NOTHING_DUE), Delivery("fw", None, NOTHING_DUE)
    batch = Batch("logouts" if isinstance(entry, Logout) else "logins", (entry,))
    recorder.sending(delivery, [batch])
    is_lost = is_unsent is False
    failed = NotTried(batch) if is_unsent is None else Failed(batch, fail(is_unsent=is_unsent))
    recorder.ended(delivery, failed)
    assert list_held(ledger, IPS[0]) == ({"ada": entry.user == "ada", entry.user: True} if is_lost else {"ada": False})


@pytest.mark.parametrize("is_unsent", [False, True])
def test_an_empty_target_that_was_never_reached_has_nothing_in_doubt(is_unsent):
    """Nothing is held before a first message: one that never went out leaves nothing, a lost one leaves doubt."""
    with closing(Ledger.make_empty()) as empty:
        empty.write_target(TargetState("fw", "x"))
        recorder = make_recorder(empty, Plan(new=LOGINS), is_empty=True)
        batch, delivery = Batch("logins", LOGINS), Delivery("fw", None, NOTHING_DUE)
        recorder.sending(delivery, [batch])
        recorder.ended(delivery, Failed(batch, fail(is_unsent=is_unsent)))
        assert empty.count_holdings("fw", NOW) == (0, 0 if is_unsent else len(LOGINS))


def test_what_another_message_put_in_doubt_stays_so(ledger):
    """Where two messages for one address are on their way, one that never went out takes back its own doubt alone."""
    ledger.note_doubt("fw", [Login(IPS[0], "ben", 60)], NOW - timedelta(minutes=5))
    recorder, delivery = make_recorder(ledger, NOTHING_DUE), Delivery("fw", None, NOTHING_DUE)
    lost, unsent = (Batch("logouts", (Logout(IPS[0], user),), number) for number, user in enumerate(("ada", "ben")))
    recorder.sending(delivery, [lost])
    recorder.sending(delivery, [unsent])
    recorder.ended(delivery, Failed(lost, fail(is_unsent=False)))
    recorder.ended(delivery, Failed(unsent, fail(is_unsent=True)))
    assert list_held(ledger, IPS[0]) == {"ada": True, "ben": True}


def test_whoever_watches_hears_what_became_of_every_entry(ledger):
    """What was delivered, what failed, what was not tried and what was refused come to what was due."""
    watcher, plan = Watcher(), Plan(LOGOUTS, new=LOGINS)
    recorder, delivery = make_recorder(ledger, plan, watcher=watcher), Delivery("fw", None, NOTHING_DUE)
    recorder.prepare(delivery)
    first, second, third = delivery.plan.batches(7)
    for outcome in (Delivered(first), Failed(second, fail(is_unsent=False)), NotTried(third)):
        recorder.ended(delivery, outcome)
    for batch in delivery.refused.batches(7):
        recorder.ended(delivery, NotTried(batch))
    assert watcher.due == watcher.done == len(plan)


def test_what_was_accepted_is_recorded_with_what_is_sent_next(ledger):
    """What was accepted is held as soon as the next messages are announced, or at the end of the run."""
    recorder, delivery = make_recorder(ledger, NOTHING_DUE), Delivery("fw", None, NOTHING_DUE)
    first, second, last = (Batch("logins", (Login(ip, "ben", 60),), number) for number, ip in enumerate(IPS[:3]))
    recorder.sending(delivery, [first])
    recorder.ended(delivery, Delivered(first))
    assert list_held(ledger, IPS[0]) == {"ada": False}
    recorder.sending(delivery, [second])
    assert list_held(ledger, IPS[0]) == {"ben": False}
    recorder.ended(delivery, Delivered(second))
    recorder.sending(delivery, [last])
    recorder.ended(delivery, Delivered(replace(last, entries=())))
    recorder.finish()
    ledger.doubt_messages()
    assert list_held(ledger, IPS[2]) == {"ada": False, "ben": True}, "that message is not settled"
    recorder.purge(timedelta(days=7))
    assert list_held(ledger, IPS[1]) == {"ben": False}


def test_what_was_accepted_ends_by_the_second_in_which_it_was(ledger):
    """Messages that are noted together are each held from when they were accepted, less a second at most."""
    times = [NOW + timedelta(seconds=n) * 0.7 for n in range(5)]
    at = iter(times)
    recorder = make_recorder(ledger, NOTHING_DUE, clock=lambda: next(at))
    delivery = Delivery("fw", None, NOTHING_DUE)
    for login in LOGINS[: len(times)]:
        recorder.ended(delivery, Delivered(Batch("logins", (login,))))
    recorder.finish()
    held = ledger.read_holdings("fw", IPS[20:25])
    for login, accepted in zip(LOGINS, times, strict=False):
        (holding,) = held[login.ip]
        assert accepted - timedelta(seconds=1) < holding.sent_at <= accepted
        assert holding.held_until - holding.sent_at == timedelta(hours=1)


@pytest.mark.parametrize("connections", [1, 5])
def test_a_ledger_that_fails_in_the_middle_is_one_warning(ledger, connections):
    """All messages go out, over however many connections, and the warning comes once."""
    turns = iter(range(1000))

    def answer(_):
        if next(turns) == 9:
            ledger.close()
        return ()

    recorder = make_recorder(ledger, plan := make_plan(500, 300), is_ordered=True)
    delivery = Delivery("fw", Peer(answer), plan, connections=connections)
    deliver([[(delivery, recorder)]], 10, Deadline(60))
    recorder.finish()
    assert count(delivery) == {"delivered": 800}
    (warning,) = recorder.warnings
    assert warning.startswith("ledger.unwritable: ")
