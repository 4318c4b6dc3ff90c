"""Every target is sent its plan, and nothing that one of them does matters to another."""

import threading
from collections import Counter
from ipaddress import ip_address
from itertools import count as count_up
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.limits import PATIENCE, wait_until
from uidsync.deadline import Deadline
from uidsync.deliver.refusals import ALL_REFUSED, REFUSED_LATER
from uidsync.deliver.workers import GRACE, Delivery, deliver
from uidsync.panos import Tagged
from uidsync.panos.userid.messages import Login, Logout, Rejection
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, TargetError, Unauthorized, Unreachable, Untrusted
from uidsync.plan.due import Plan
from uidsync.report.report import Delivered, Failed, NotTried


def make_plan(logins, logouts=0):
    """Make a plan of so many new logins, after so many logouts."""
    return Plan(
        logouts=tuple(Logout(ip_address(0x0A010000 + n), f"user{n}") for n in range(logouts)),
        new=tuple(Login(ip_address(0x0A000000 + n), f"user{n}", 60) for n in range(logins)),
    )


class Peer:
    """A target that takes everything, unless `answer` says otherwise; it remembers what it was sent."""

    certificate_not_after = client_certificate_not_after = None
    warnings = MappingProxyType({})

    def __init__(self, answer=lambda _: ()):
        self.answer = answer
        self.batches = []
        self._attempts = Counter()
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()

    @property
    def attempts(self):
        """How many messages came from this thread."""
        return self._attempts[threading.get_ident()]

    def send(self, batch):
        """Take a batch."""
        with self._lock:
            self.batches.append(batch)
            self._attempts[threading.get_ident()] += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return self.answer(batch)
        finally:
            with self._lock:
                self.in_flight -= 1

    def close(self):
        """Close nothing."""


class Observer:
    """Sends what was planned and writes down what it hears."""

    def __init__(self):
        self.heard = []

    def prepare(self, delivery):
        """Leave the plan as it is."""

    def sending(self, delivery, batches):
        """Hear that messages are about to be sent."""
        self.heard += [(delivery.name, "sending", batch) for batch in batches]

    def doubting(self, delivery, batch):
        """Hear that a refused message may have been taken before."""
        self.heard.append((delivery.name, "doubting", batch))

    def ended(self, delivery, outcome):
        """Hear what became of entries."""
        self.heard.append((delivery.name, "ended", outcome))


class Clock:
    """A clock that a target may put forward."""

    now = 0.0

    def __call__(self):
        """Tell the time."""
        return self.now


def raising(error):
    """Answer every batch by this error."""

    def answer(_):
        raise error

    return answer


def refusing(bad):
    """Refuse every message that holds an entry for one of these users, as PAN-OS refuses a whole document."""

    def answer(batch):
        if names := [entry.user for entry in batch if entry.user in bad]:
            raise BadRequest(f"uid-message: {names[0]} is no user")
        return ()

    return answer


def rejecting(bad):
    """Take every message, but for the entries of these users."""
    return lambda batch: tuple(Rejection(entry, f"{entry.user} is no user") for entry in batch if entry.user in bad)


def send(peer, plan, *, batch_size=100, deadline=None, observer=None, **options):
    """Send one plan to one target and return the delivery."""
    delivery = Delivery("fw", peer, plan, **options)
    deliver([[(delivery, observer or Observer())]], batch_size, deadline or Deadline(60))
    return delivery


def count(delivery):
    """Count entries by what became of them."""
    counts = Counter()
    for outcome in delivery.outcomes:
        match outcome:
            case Delivered(batch, rejections):
                counts["delivered"] += len(batch) - len(rejections)
                counts["rejected"] += len(rejections)
            case Failed(batch):
                counts["failed"] += len(batch)
            case NotTried(batch):
                counts["not_tried"] += len(batch)
    return dict(+counts)


def errors(delivery):
    """Return the kinds of errors, in their order."""
    return [outcome.error.kind for outcome in delivery.outcomes if isinstance(outcome, Failed)]


def rejected(delivery):
    """Return the users of rejected entries."""
    return {r.entry.user for outcome in delivery.outcomes if isinstance(outcome, Delivered) for r in outcome.rejections}


def failed(delivery):
    """Return the users of failed entries."""
    return {
        entry.user for outcome in delivery.outcomes if isinstance(outcome, Failed) for entry in outcome.batch.entries
    }


# ---- side by side ------------------------------------------------------------------------------------------------


def test_targets_are_judged_apart():
    """Targets that take all, reject some, fail now and then, refuse or are dead each end as if they were alone."""
    calls = iter(range(1000))

    def fail_now_and_then(_):
        if next(calls) % 2:
            raise BadReply("the answer is empty")
        return ()

    def reject_every_tenth(batch):
        return tuple(Rejection(entry, "no") for entry in batch[::10])

    answers = {
        "ok": lambda _: (),
        "partial": reject_every_tenth,
        "flaky": fail_now_and_then,
        "denied": raising(Unauthorized("no")),
        "dead": raising(Unreachable("refused")),
        "buggy": raising(ZeroDivisionError()),
    }
    plan = make_plan(400)
    deliveries = [Delivery(name, Peer(answer), plan) for name, answer in answers.items()]
    deliver([[(delivery, Observer())] for delivery in deliveries], 100, Deadline(60))
    assert {delivery.name: count(delivery) for delivery in deliveries} == {
        "ok": {"delivered": 400},
        "partial": {"delivered": 360, "rejected": 40},
        "flaky": {"delivered": 200, "failed": 200},
        "denied": {"failed": 100, "not_tried": 300},
        "dead": {"failed": 100, "not_tried": 300},
        "buggy": {"failed": 100, "not_tried": 300},
    }
    assert [delivery.name for delivery in deliveries if delivery.bug] == ["buggy"]


def test_nothing_due_is_nothing_sent():
    """A target without anything due is not contacted."""
    delivery = send(peer := Peer(), Plan())
    assert (delivery.outcomes, delivery.messages, len(peer.batches), delivery.bug) == ([], 0, 0, None)
    deliver([], 100, Deadline(60))


def test_batches_are_sent_in_the_plan_s_order():
    """Over one connection the plan goes out in its own order, logouts first, every entry once."""
    plan = make_plan(250, 30)
    delivery = send(peer := Peer(), plan)
    assert [len(batch) for batch in peer.batches] == [30, 100, 100, 50]
    assert [entry for batch in peer.batches for entry in batch] == [*plan.logouts, *plan.logins]
    assert (delivery.messages, count(delivery)) == (4, {"delivered": 280})
    assert delivery.seconds > 0


def test_whoever_watches_hears_of_every_message():
    """A message is told before it is sent, and what became of its entries afterwards."""
    observer = Observer()
    delivery = send(Peer(refusing({"user7"})), make_plan(150), observer=observer)
    assert [said for _, what, said in observer.heard if what == "ended"] == delivery.outcomes
    sent = [batch for _, what, batch in observer.heard if what == "sending"]
    whole = [delivery.plan.new[:100], delivery.plan.new[100:]]
    assert [batch.entries for batch in sent] == whole, "halves are not announced again"
    assert delivery.messages == len(delivery.target.batches)


def test_the_plan_may_be_settled_late():
    """What is sent is what whoever watches settles on as the worker begins; what that refuses is not tried."""

    class Late(Observer):
        def prepare(self, delivery):
            delivery.plan, delivery.refused = make_plan(3), make_plan(0, 5)

    delivery = send(peer := Peer(), make_plan(9), observer=Late())
    assert (len(peer.batches), count(delivery)) == (1, {"delivered": 3, "not_tried": 5})
    assert {type(entry) for batch in peer.batches for entry in batch} == {Login}


@pytest.mark.parametrize(
    ("answer", "is_heard"),
    [
        (lambda _: (), True),
        (lambda batch: [Rejection(batch[0], "no")], True),
        (lambda batch: [Rejection(entry, "no") for entry in batch], False),
        (raising(BadReply("no")), False),
        (raising(Unreachable("no")), False),
    ],
)
def test_a_target_is_heard_once_it_takes_something(answer, is_heard):
    """Only a target that accepted an entry has shown that it can be used."""
    assert send(Peer(answer), make_plan(5)).is_heard is is_heard


# ---- refused messages --------------------------------------------------------------------------------------------


def find_refused_last(plan, names):
    """Return the users at the end of a plan that nobody is accepted after."""
    last = []
    for entry in reversed([*plan.logouts, *plan.logins]):
        if entry.user not in names:
            break
        last.append(entry.user)
    return set(last)


@given(
    size=st.integers(1, 120),
    bad=st.sets(st.integers(0, 119), max_size=ALL_REFUSED - 1),
    batch_size=st.integers(1, 100),
)
@settings(deadline=None)
def test_one_bad_entry_costs_one_entry(size, bad, batch_size):
    """Halving finds exactly the entries at fault, in the target's words, and delivers all others.

    Those that nothing was accepted after have failed: whether it was their fault is not known.
    """
    names = {f"user{n}" for n in bad if n < size}
    delivery = send(Peer(refusing(names)), plan := make_plan(size), batch_size=batch_size)
    last = find_refused_last(plan, names)
    assert (rejected(delivery), failed(delivery)) == (names - last, last)
    counts = {"delivered": size - len(names), "rejected": len(names - last), "failed": len(last)}
    assert count(delivery) == {kind: entries for kind, entries in counts.items() if entries}
    for outcome in delivery.outcomes:
        words = f"uid-message: {outcome.batch.entries[0].user} is no user"
        if isinstance(outcome, Failed):
            assert (outcome.error.kind, str(outcome.error)) == ("BadRequest", words)
        else:
            assert [r.message for r in outcome.rejections] in ([], [words])


@given(
    size=st.integers(1, 120),
    bad=st.sets(st.integers(0, 119), max_size=ALL_REFUSED - 1),
    batch_size=st.integers(1, 100),
)
@settings(deadline=None)
def test_a_target_s_own_word_on_an_entry_is_taken_alike(size, bad, batch_size):
    """Whom a target names in its answer is judged as one whose message it refuses."""
    names = {f"user{n}" for n in bad if n < size}
    one, other = (send(Peer(kind(names)), make_plan(size), batch_size=batch_size) for kind in (refusing, rejecting))
    if batch_size == 1:
        assert (rejected(one), failed(one)) == (rejected(other), failed(other))
    assert rejected(other) | failed(other) == names
    # What came with others that were taken was refused for itself.
    alone = {entry.user for batch in other.target.batches if all(e.user in names for e in batch) for entry in batch}
    assert failed(other) <= alone


@given(connections=st.integers(2, 5), bad=st.sets(st.integers(0, 59), max_size=ALL_REFUSED - 1))
def test_entries_are_judged_alike_over_several_connections(connections, bad):
    """However messages go out, exactly the entries at fault are not delivered."""
    names = {f"user{n}" for n in bad}
    delivery = send(Peer(refusing(names)), make_plan(60), batch_size=7, connections=connections)
    assert rejected(delivery) | failed(delivery) == names
    assert count(delivery)["delivered"] == 60 - len(names)


def test_halving_is_quick():
    """One bad entry of a hundred is found with a handful of messages."""
    assert send(Peer(refusing({"user77"})), make_plan(100)).messages <= 15


def test_a_target_that_refuses_all_is_given_up():
    """Ten single entries refused in a row are no bad entries but a bad target: nothing is rejected."""
    delivery = send(peer := Peer(raising(BadRequest("vsys7 is unknown"))), make_plan(500))
    assert count(delivery) == {"failed": ALL_REFUSED, "not_tried": 500 - ALL_REFUSED}
    assert set(errors(delivery)) == {"TargetError"}
    assert "vsys7 is unknown" in str(delivery.outcomes[0].error)
    assert len(peer.batches) < 3 * ALL_REFUSED


@pytest.mark.parametrize("answer", [raising(BadRequest("no")), lambda batch: [Rejection(e, "no") for e in batch]])
@pytest.mark.parametrize("size", [1, ALL_REFUSED - 1])
def test_a_few_refused_entries_have_failed(size, answer):
    """Fewer than ten entries, all refused, may be the target's fault, which is full or busy: they are sent again."""
    delivery = send(Peer(answer), make_plan(size))
    assert count(delivery) == {"failed": size}
    assert set(errors(delivery)) == {"BadRequest"}
    assert {str(outcome.error) for outcome in delivery.outcomes} == {"no"}
    assert all(len(outcome.batch) == 1 for outcome in delivery.outcomes)


@pytest.mark.parametrize(("size", "outcome"), [(ALL_REFUSED - 1, "rejected"), (ALL_REFUSED, "failed")])
def test_a_few_that_have_no_room_for_tags_are_rejected(size, outcome):
    """Whom a target names for too many tags concerns nobody else; of many it may be the target's own fault."""
    tags = tuple(Login(Tagged("ip", f"10.0.0.{n}"), "nac-staff", 60) for n in range(size))
    delivery = send(Peer(lambda batch: [Rejection(entry, "too many tags") for entry in batch]), Plan(new=tags))
    assert count(delivery) == {outcome: size}


@pytest.mark.parametrize("kind", [refusing, rejecting])
@pytest.mark.parametrize(("bad", "is_rejected"), [(0, True), (8, True), (9, False)])
def test_what_was_accepted_afterwards_shows_whose_fault_it_was(kind, bad, is_rejected):
    """An entry is rejected once the target took another one after it, and not before."""
    delivery = send(Peer(kind({f"user{bad}"})), make_plan(10), batch_size=1)
    assert (rejected(delivery), failed(delivery)) == (({f"user{bad}"}, set()) if is_rejected else (set(), {"user9"}))


def test_a_refused_logout_is_judged_like_a_login():
    """A logout that is refused is rejected once a login is accepted, and has failed when nothing is."""
    plan = make_plan(1, 1)
    good = send(Peer(lambda batch: [Rejection(e, "no") for e in batch if isinstance(e, Logout)]), plan)
    assert count(good) == {"delivered": 1, "rejected": 1}
    bad = send(Peer(lambda batch: [Rejection(entry, "no") for entry in batch]), plan)
    assert {(type(o.batch.entries[0]), o.batch.action) for o in bad.outcomes} == {
        (Logout, "logouts"),
        (Login, "logins"),
    }
    assert count(bad) == {"failed": 2}


def test_what_was_rejected_before_is_rejected_again():
    """A login that the target rejected among others before is no failure when it is refused alone."""
    plan = make_plan(3)
    delivery = send(Peer(raising(BadRequest("no"))), plan, rejected_before={plan.new[1].ip})
    assert (rejected(delivery), failed(delivery)) == ({"user1"}, {"user0", "user2"})
    assert not delivery.is_heard


def test_many_that_were_rejected_before_are_no_reason_to_give_a_target_up():
    """When all that is tried again is refused again, however much it is, the target is as it was."""
    plan = make_plan(3 * ALL_REFUSED)
    before = {login.ip for login in plan.new}
    delivery = send(Peer(raising(BadRequest("no"))), plan, rejected_before=before)
    assert count(delivery) == {"rejected": 3 * ALL_REFUSED}


def test_bad_entries_far_apart_are_not_the_target_s_fault():
    """However many entries are bad, as long as others between them are taken the target is not given up."""
    bad = {f"user{n}" for n in range(0, 5 * REFUSED_LATER + 50, 5)}  # the last is none of them
    delivery = send(Peer(refusing(bad)), make_plan(5 * REFUSED_LATER + 50))
    assert (rejected(delivery), count(delivery)) == (bad, {"delivered": 4 * len(bad), "rejected": len(bad)})


def test_bad_entries_side_by_side_do_not_end_a_target_that_takes_others():
    """After something was accepted it takes more than ten refused entries in a row to give a target up."""
    bad = {f"user{n}" for n in range(100, 100 + ALL_REFUSED)}
    delivery = send(Peer(refusing(bad)), make_plan(200))
    assert (rejected(delivery), count(delivery)) == (bad, {"delivered": 190, "rejected": ALL_REFUSED})


def test_a_target_that_refuses_all_later_is_given_up_too():
    """A target that took the first message and refuses everything from then on is given up in the end."""
    plan = make_plan(1000)
    delivery = send(peer := Peer(refusing({entry.user for entry in plan.new[100:]})), plan)
    assert count(delivery) == {"delivered": 100, "failed": REFUSED_LATER, "not_tried": 900 - REFUSED_LATER}
    assert errors(delivery) == ["TargetError"]  # one for all, and so one line in the log
    assert len(peer.batches) < 3 * REFUSED_LATER
    assert delivery.is_heard


def test_an_answer_that_is_none_fails_its_batch_alone():
    """What is not PAN-OS's answer is not halved, and the next batch is sent all the same."""
    delivery = send(peer := Peer(raising(BadReply("the answer is empty"))), make_plan(250))
    assert count(delivery) == {"failed": 250}
    assert (len(peer.batches), errors(delivery)) == (3, ["BadReply"] * 3)


@pytest.mark.parametrize("kind", [Unreachable, Busy, Untrusted, Unauthorized, TargetError])
def test_a_target_that_cannot_be_used_is_left_alone(kind):
    """After an error of the target's own the rest is not tried."""
    delivery = send(peer := Peer(raising(kind("no"))), make_plan(250, 30))
    assert count(delivery) == {"failed": 30, "not_tried": 250}
    assert (len(peer.batches), errors(delivery)) == (1, [kind.__name__])


# ---- time --------------------------------------------------------------------------------------------------------


def test_after_the_deadline_nothing_is_begun():
    """What is left at the deadline is not tried."""
    clock = Clock()

    def take_a_second(_):
        clock.now += 1
        return ()

    delivery = send(Peer(take_a_second), make_plan(1000), deadline=Deadline(2.5, clock))
    assert count(delivery) == {"delivered": 300, "not_tried": 700}
    late = send(Peer(), make_plan(1000), deadline=Deadline(0, clock))
    assert (count(late), late.messages) == ({"not_tried": 1000}, 0)


def test_a_signal_ends_the_sending():
    """A deadline that is brought forward counts at once; what is in flight is finished."""
    deadline = Deadline(60)
    deadline.is_interruptible = False
    peer = Peer(lambda _: deadline.cut() or ())
    assert count(send(peer, make_plan(300), deadline=deadline)) == {"delivered": 100, "not_tried": 200}


@pytest.mark.parametrize("connections", [1, 3])
def test_a_target_that_hangs_does_not_hold_the_run(connections):
    """What hangs beyond the deadline has failed, the rest was not tried, and a late answer changes nothing."""
    clock, over, others = Clock(), threading.Event(), set(threading.enumerate())

    def hang(_):
        clock.now += 60 + GRACE
        over.wait(30)
        return ()

    hanging, fine = Delivery("hangs", Peer(hang), make_plan(1000), connections), Delivery("ok", Peer(), make_plan(100))
    deliver([[(hanging, Observer())], [(fine, Observer())]], 100, Deadline(60, clock))
    told = list(hanging.outcomes)
    assert set(errors(hanging)) == {"Unreachable"}
    assert 100 <= count(hanging)["failed"] <= 100 * connections
    assert sum(count(hanging).values()) == 1000
    assert sum(count(fine).values()) == 100
    over.set()
    while threads := set(threading.enumerate()) - others:
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join(10)
    assert hanging.outcomes == told


# ---- connections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connections", [1, 2, 5])
def test_no_more_connections_than_allowed(connections):
    """So many messages are in flight at a time once the target accepted one, and never more."""
    together = threading.Barrier(connections)

    def meet(batch):
        if batch[0].user == "user0":
            assert len(peer.batches) == 1
        else:
            together.wait(PATIENCE)
        return ()

    delivery = send(peer := Peer(meet), make_plan(1 + 10 * connections), batch_size=1, connections=connections)
    assert (peer.most_in_flight, count(delivery)) == (connections, {"delivered": 1 + 10 * connections})


@pytest.mark.parametrize("error", [Unauthorized, Unreachable, Busy])
def test_a_target_that_cannot_be_used_gets_one_message(error):
    """However many connections there may be: a wrong key is shown once."""
    delivery = send(peer := Peer(raising(error("no"))), make_plan(100), batch_size=10, connections=5)
    assert (len(peer.batches), count(delivery)) == (1, {"failed": 10, "not_tried": 90})


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("error", [Busy("crowded"), Unreachable("refused").unsent()], ids=["busy", "refused"])
def test_a_target_that_takes_fewer_calls_gets_fewer(limit, error):
    """All is delivered; what failed beside other calls is sent again, and is in doubt if it may have been accepted."""
    observer, together, numbers, later = Observer(), threading.Barrier(5), count_up(), []

    def answer(_):
        number = next(numbers)
        if 1 <= number <= 5:
            together.wait(PATIENCE)
            if number > limit:
                raise error
            wait_until(lambda: peer.in_flight <= limit)
        later.append(peer.in_flight)
        return ()

    delivery = send(peer := Peer(answer), make_plan(50), batch_size=1, connections=5, observer=observer)
    assert count(delivery) == {"delivered": 50}
    assert delivery.messages == len(peer.batches) == 50 + 5 - limit
    assert max(later) == limit
    doubted = sum(what == "doubting" for _, what, _ in observer.heard)
    assert doubted == (0 if error.is_unsent else 5 - limit)


@pytest.mark.parametrize("connections", [2, 3])
@pytest.mark.parametrize("serves_one", [True, False])
def test_a_call_without_others_decides(connections, serves_one):
    """A target that refuses all calls but one at a time is served so; one that refuses that one as well is given up."""
    together, numbers = threading.Barrier(connections), count_up()

    def answer(_):
        number = next(numbers)
        if 1 <= number <= connections:
            together.wait(PATIENCE)
        if number and (number <= connections or not serves_one):
            raise Busy("crowded")
        return ()

    delivery = send(peer := Peer(answer), make_plan(50), batch_size=1, connections=connections)
    ends = {"delivered": 50} if serves_one else {"delivered": 1, "failed": 1, "not_tried": 48}
    assert (len(peer.batches), count(delivery)) == (50 + connections if serves_one else 2 + connections, ends)


def test_logouts_end_before_logins_begin():
    """Over several connections every logout has its answer before the first login goes out."""
    open_logouts, early = [0], []
    lock = threading.Lock()

    def answer(batch):
        with lock:
            if isinstance(batch[0], Login):
                early.append(open_logouts[0])
                return ()
            open_logouts[0] += 1
        threading.Event().wait(0.005)
        with lock:
            open_logouts[0] -= 1
        return ()

    peer = Peer(answer)
    assert count(send(peer, make_plan(20, 20), batch_size=1, connections=5)) == {"delivered": 40}
    kinds = [type(batch[0]) for batch in peer.batches]
    assert kinds == [Logout] * 20 + [Login] * 20
    assert set(early) == {0}


def test_an_error_on_one_connection_stops_all():
    """What one connection learns about the target holds for the others."""
    calls = iter(range(1000))

    def die_in_time(_):
        if next(calls) >= 20:
            raise Unreachable("reset")
        return ()

    delivery = send(peer := Peer(die_in_time), make_plan(1000), batch_size=1, connections=5)
    assert len(peer.batches) <= 20 + 5
    assert sum(count(delivery).values()) == 1000


def test_few_messages_are_announced_before_their_turn():
    """At most eight messages are announced ahead; those that were and never went out are told apart from the rest."""
    observer = Observer()
    sent = []

    def answer(_):
        noted = sum(what == "sending" for _, what, _ in observer.heard)
        sent.append(noted - len(sent))
        if len(sent) == 3:
            raise Unreachable("gone")
        return ()

    delivery = Delivery("fw", Peer(answer), make_plan(1000))
    deliver([[(delivery, observer)]], 50, Deadline(60))
    assert sent == [8, 7, 6]
    assert count(delivery) == {"delivered": 100, "failed": 50, "not_tried": 850}


def test_what_is_in_flight_counts_as_announced():
    """Over all connections of a target, at most eight messages lack an outcome: so many a crash puts in doubt."""
    has_gone_on, most = threading.Event(), []

    class Counting(Observer):
        def sending(self, delivery, batches):
            super().sending(delivery, batches)
            kinds = Counter(what for _, what, _ in self.heard)
            most.append(kinds["sending"] - kinds["ended"])
            if len(most) > 1:
                has_gone_on.set()

    def answer(batch):
        if batch[0].user == "user1":
            assert has_gone_on.wait(PATIENCE)
        return ()

    delivery = send(Peer(answer), make_plan(100), batch_size=1, connections=2, observer=Counting())
    assert (max(most), count(delivery)) == (8, {"delivered": 100})


@pytest.mark.parametrize("answer", [refusing({"user1"}), rejecting({"user1"})], ids=["all of it", "an entry"])
@pytest.mark.parametrize("tries", [1, 2])
def test_what_is_refused_when_it_comes_again_may_have_been_taken(answer, tries):
    """Of a message that went out more than once, an earlier copy may have been accepted: its entries are in doubt."""

    class Stumbling(Peer):
        def send(self, batch):
            if len(batch) == 3:  # the message as it was planned, and none of its parts
                self._attempts[threading.get_ident()] += tries - 1
            return super().send(batch)

    observer = Observer()
    delivery = send(Stumbling(answer), make_plan(3), observer=observer)
    assert count(delivery) == {"delivered": 2, "rejected": 1}
    doubted = [(each[1], len(each[2])) for each in observer.heard if each[1] == "doubting"]
    assert doubted == [("doubting", 3)] * (tries - 1)
    assert delivery.attempts == delivery.messages + tries - 1


@pytest.mark.parametrize("kind", [refusing, rejecting])
def test_what_is_refused_beside_others_went_out_once(kind):
    """Messages on other connections are no second try: what a target refuses meanwhile is not in doubt."""
    others = threading.Semaphore(0)

    def answer(batch):
        if "user4" not in {entry.user for entry in batch}:
            others.release()
        elif len(batch) == 3:  # the message as it was planned, and none of its parts
            assert all(others.acquire(timeout=PATIENCE) for _ in range(5))
        return kind({"user4"})(batch)

    observer = Observer()
    delivery = send(Peer(answer), make_plan(21), batch_size=3, connections=2, observer=observer)
    assert count(delivery) == {"delivered": 20, "rejected": 1}
    assert [each[1:] for each in observer.heard if each[1] == "doubting"] == []


# ---- bugs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["prepare", "sending", "ended"])
def test_a_bug_fails_its_target_alone(where):
    """A bug anywhere in a worker is told of its target; the other is served, and every entry has its outcome."""

    class Broken(Observer):
        def prepare(self, delivery):
            return self._break("prepare", delivery) or super().prepare(delivery)

        def sending(self, delivery, _):
            self._break("sending", delivery)

        def ended(self, delivery, _):
            self._break("ended", delivery)

        def _break(self, place, delivery):
            if place == where and delivery.name == "broken":
                raise ZeroDivisionError(where)

    deliveries = [Delivery("broken", Peer(), make_plan(300)), Delivery("ok", Peer(), make_plan(300))]
    deliver([[(delivery, Broken())] for delivery in deliveries], 100, Deadline(60))
    broken, fine = deliveries
    assert isinstance(broken.bug, ZeroDivisionError)
    assert sum(count(broken).values()) == 300
    assert (count(fine), fine.bug) == ({"delivered": 300}, None)


def test_a_bug_is_no_delivery():
    """Entries in flight when a bug came have failed, and the error says so without the bug's own words."""
    delivery = send(Peer(raising(KeyError("secret"))), make_plan(250), connections=2, batch_size=50)
    assert set(errors(delivery)) == {"TargetError"}
    assert "delivered" not in count(delivery)
    assert all("secret" not in str(outcome.error) for outcome in delivery.outcomes if isinstance(outcome, Failed))
    assert isinstance(delivery.bug, KeyError)


# ---- always ------------------------------------------------------------------------------------------------------

ANSWERS = st.sampled_from(
    ["ok", "ok", "ok", "reject", BadRequest, BadRequest, BadReply, Unreachable, Busy, ZeroDivisionError]
)


@given(
    script=st.lists(ANSWERS, max_size=40),
    logins=st.integers(0, 60),
    logouts=st.integers(0, 20),
    batch_size=st.integers(1, 30),
    connections=st.integers(1, 5),
)
@settings(deadline=None, max_examples=200)
def test_every_entry_has_one_outcome(script, logins, logouts, batch_size, connections):
    """Whatever a target answers, the outcomes hold every entry of the plan exactly once."""
    lines = iter(script)

    def answer(batch):
        match next(lines, "ok"):
            case "ok":
                return ()
            case "reject":
                return (Rejection(batch[-1], "no"),)
            case kind:
                raise kind("no")

    plan = make_plan(logins, logouts)
    delivery = send(Peer(answer), plan, batch_size=batch_size, connections=connections)
    entries = [entry for outcome in delivery.outcomes for entry in outcome.batch.entries]
    assert sorted(entries, key=repr) == sorted((*plan.logouts, *plan.logins), key=repr)
    assert all(1 <= len(outcome.batch) <= batch_size for outcome in delivery.outcomes)
    assert all(r.entry in o.batch.entries for o in delivery.outcomes if isinstance(o, Delivered) for r in o.rejections)
    assert isinstance(delivery.bug, ZeroDivisionError | None)
