"""Looks at tunnels: what is asked beside them takes the time that is left, and says when that was not enough."""

from uidsync.deadline import Deadline
from uidsync.panos.tunnels.look import LACKS_RIGHT, Wants, look, look_at_all, make_look
from uidsync.panos.tunnels.vpn import Flow, FlowTable
from uidsync.panos.wire.errors import BadReply, Busy, Unauthorized, Unreachable

TUNNELS = 2000
SECONDS = 5
ROLE = "not in a pair"


class ShortLine:
    """Asks a host whose time is up after so many details; `failures` are what comes instead of some of them."""

    def __init__(self, most=TUNNELS, failures=None):
        self.asked = 0
        self._most = most
        self._failures = failures or {}

    @property
    def limit(self):
        """The time that is left, a second for each question."""
        return Deadline(self._most - self.asked)

    def ask_flows(self):
        """List tunnels."""
        flows = tuple(Flow(f"T{number}", "active", number=str(number)) for number in range(TUNNELS))
        return FlowTable(flows, TUNNELS, TUNNELS, "short")

    def ask_role(self):
        """Tell the HA state."""
        return ROLE

    def ask(self, request, read):
        """Tell of one tunnel in detail."""
        number = dict(request.parameters)["cmd"].partition("<tunnel-id>")[2].partition("<")[0]
        self.asked += 1
        if failure := self._failures.get(int(number)):
            raise failure
        entry = f"<entry><name>T{number}</name><id>{number}</id><state>active</state><pkt-encap>3</pkt-encap></entry>"
        body = f'<response status="success"><result><IPSec>{entry}</IPSec></result></response>'
        return read(200, iter([body.encode()]))


def count(line):
    """Look with counters; return how many tunnels have some, and what is said of that."""
    view = look("fw", line, Wants(role=True, counters=True))
    assert (len(view.table.flows), view.role) == (TUNNELS, ROLE)
    return sum(bool(flow.counters) for flow in view.table.flows), view.counters, view.unread


def test_counters_of_all_tunnels_are_whole():
    """Where there was time for all, their number is told, and nothing is missing."""
    assert count(ShortLine()) == (TUNNELS, TUNNELS, {})


def test_counters_that_take_too_long_say_so():
    """When time is up there are tunnels, a role, and counters of those that were asked; how many is said."""
    line = ShortLine(most=197)
    counted, said, unread = count(line)
    assert (counted, line.asked, unread) == (197, 197, {"counters": said})
    assert isinstance(said, Busy)
    assert "the counters of 197 of 2,000 tunnels were read: time was up" in str(said)


def test_counters_that_fail_say_so():
    """A host that is lost on the way ends it, one refusal does not, and either is told with its reason."""
    counted, said, _ = count(ShortLine(failures={7: Unreachable("reset by peer")}))
    assert (counted, said.kind, str(said)) == (
        7, "Unreachable", "the counters of 7 of 2,000 tunnels were read: reset by peer",
    )  # fmt: skip
    counted, said, _ = count(ShortLine(failures={7: BadReply("no list"), 9: BadReply("other words")}))
    assert (counted, said.kind) == (TUNNELS - 2, "BadReply")
    assert str(said) == "the counters of 1,998 of 2,000 tunnels were read: no list"


class Client:
    """Answers every call with an error."""

    def __init__(self, error):
        self.asked = []
        self._error = error

    def fetch(self, request, _seconds, _read):
        """Make one call."""
        self.asked.append(request)
        raise self._error


def test_a_right_that_is_missing_is_told_with_what_to_do():
    """To a single question it looks as a commit does; it is not called busy, for then nobody would give the right."""
    said = "Type [op] not authorized for user role"
    client = Client(Busy(f"{said}.", is_denied=True))
    view = make_look("fw", client, "", Wants(role=True))(SECONDS)
    assert isinstance(view.table, Unauthorized)
    assert (view.table.is_denied, str(view.table)) == (True, f"{said}; {LACKS_RIGHT}")


def test_a_host_that_is_busy_stays_busy():
    """Another reason for which it does not answer now is no matter of rights."""
    view = make_look("fw", Client(Busy("answers HTTP 503")), "", Wants())(SECONDS)
    assert isinstance(view.table, Busy)


def test_a_host_that_cannot_be_used_is_asked_once():
    """Whatever else would be asked of a dead host would fail alike, and take its time again."""
    client = Client(Unreachable("no route"))
    wants = Wants(role=True, gateways=True, ike_sas=True, ipsec_sas=True, counters=True)
    (view,) = look_at_all({"fw": make_look("fw", client, "", wants)}, SECONDS)
    assert isinstance(view.table, Unreachable)
    assert len(client.asked) == 1
