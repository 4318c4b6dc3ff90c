"""A host of several addresses, some of them dead: the one that answers is found, whatever the others do."""

import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.panos.wire.dial import connect, interleave, meet

LONG = 3600.0  # seconds: a test that waited for a dead address would never end
NOWHERE = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.7", 1))  # nobody listens there


@contextmanager
def silent(host="127.0.0.1"):
    """Give an address where no packet is answered: its listener's queue is full."""
    with ExitStack() as stack:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(family))
            waiting.settimeout(0)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield (family, socket.SOCK_STREAM, 0, "", listener.getsockname())


@contextmanager
def living(host="127.0.0.1"):
    """Give an address where somebody listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        yield (family, socket.SOCK_STREAM, 0, "", listener.getsockname())


def dial(*infos, seconds=LONG):
    """Connect to a host of these addresses, and return the one that it came to."""
    with connect("fw.example.edu", 443, seconds, find=lambda *_, **__: infos) as line:
        assert line.gettimeout() == seconds
        return line.getpeername()


@pytest.mark.parametrize("dead", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2", "127.0.0.3"), ("::1",)])
def test_a_silent_address_does_not_take_the_time_of_the_others(dead):
    """Addresses that answer nothing, of either family, are passed over though there was an hour to wait for them."""
    with ExitStack() as stack:
        infos = [stack.enter_context(silent(host)) for host in dead]
        alive = stack.enter_context(living("127.0.0.9"))
        assert dial(*infos, alive) == alive[4]


def test_a_short_time_is_shared():
    """When there is less time than addresses want, the last one still gets a share of it."""
    with ExitStack() as stack:
        infos = [stack.enter_context(silent(f"127.0.0.{n}")) for n in range(1, 9)]
        alive = stack.enter_context(living("127.0.0.9"))
        assert dial(*infos, alive, seconds=2.0) == alive[4]


def test_an_address_that_refuses_is_followed_by_the_next():
    """An address that refuses, one that cannot be reached and a family that is not there cost nothing."""
    unreachable = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("255.255.255.255", 9))
    unknown = (socket.AF_APPLETALK, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 9))
    with living() as alive:
        assert dial(NOWHERE, unreachable, unknown, alive) == alive[4]


def test_an_address_that_answers_late_is_taken_when_the_others_fail():
    """An address is not given up when the next one is tried: whichever answers first is taken."""
    with silent() as info, socket.create_server(("127.0.0.1", 0)) as alive:
        late = (*info[:4], alive.getsockname())
        assert dial(info, late, NOWHERE) == alive.getsockname()


def test_when_nobody_answers_it_is_told():
    """The last failure is told; where addresses were silent, that time ran out; and a name without address as such."""
    with pytest.raises(ConnectionRefusedError):
        dial(NOWHERE, NOWHERE)
    with silent() as info, pytest.raises(TimeoutError):
        dial(info, NOWHERE, seconds=0.2)
    with pytest.raises(OSError, match="has no address"):
        dial()
    with pytest.raises(socket.gaierror):
        connect("nowhere.invalid", 443, 5)


def test_no_connection_is_left_over():
    """Connections that lost the race are closed."""
    with silent() as dead, living("127.0.0.9") as alive:
        dial(dead, alive)  # else pytest fails it for a ResourceWarning


def test_an_address_that_lets_us_connect_and_is_silent_has_a_share_only():
    """Of addresses that take a connection and say nothing, each costs a share of the time, and the next one is met."""
    shares = []

    def greet(line, share):
        shares.append(share)
        line.settimeout(0.05)
        heard = line.recv(5)
        line.close()
        return heard

    with living("127.0.0.1") as one, living("127.0.0.2") as other, socket.create_server(("127.0.0.9", 0)) as server:
        alive = (*one[:4], server.getsockname())

        def serve():
            line, _ = server.accept()
            with line:
                line.sendall(b"hello")
                line.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        infos = [one, other, alive]
        assert meet("fw", 443, 9, greet, find=lambda *_, **__: infos) == b"hello"
        server.close()
        thread.join()
    assert len(shares) == 3
    assert shares[0] <= 3
    assert shares[1] <= 9 / 2
    assert shares[2] <= 9


def test_when_all_are_silent_it_is_told():
    """The last silence is told as it came."""

    class Quiet(Exception):
        """What somebody calls silence."""

    def greet(_line, _share):
        raise Quiet

    with living() as one, living() as other, pytest.raises(Quiet):
        meet("fw", 443, 9, greet, silence=Quiet, find=lambda *_, **__: [one, other])


@given(st.lists(st.sampled_from([socket.AF_INET, socket.AF_INET6])))
def test_families_take_turns(families):
    """No address is lost, each family keeps its order, and both take turns as long as both have addresses."""
    infos = [(family, socket.SOCK_STREAM, 0, "", number) for number, family in enumerate(families)]
    mixed = list(interleave(infos))
    assert sorted(mixed, key=lambda info: info[4]) == infos
    for family in set(families):
        of_family = [info for info in mixed if info[0] == family]
        assert of_family == sorted(of_family, key=lambda info: info[4])
    shorter = 2 * min(families.count(socket.AF_INET), families.count(socket.AF_INET6))
    assert all(one[0] != other[0] for one, other in pairwise(mixed[:shorter]))
