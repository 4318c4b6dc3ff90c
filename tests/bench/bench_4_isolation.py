"""Ten targets, of which one is a black hole and one takes 500 ms: what that costs the other eight."""

import socket
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import medians

GOOD = 8
ADDRESSES = 6000  # 60 messages a target: above a second, and not scaled, for a ratio of shorter times is noise


@contextmanager
def black_hole():
    """Yield a port whose connections are neither taken nor refused: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            line = stack.enter_context(socket.socket())
            line.settimeout(0)
            with suppress(BlockingIOError):
                line.connect(listener.getsockname())
        yield listener.getsockname()[1]


def test_eight_targets_beside_two_bad_ones(ground, ratios):
    """Eight targets finish as if a black hole and a slow one were not there."""
    ground.use_users([f"jdoe{place:07}" for place in range(ADDRESSES)], datetime.now(UTC).isoformat())
    ground.sync = {"deadline": "12s"}
    with FastFirewall.start(*[0.02] * GOOD, 0.5) as firewall, black_hole() as nowhere:
        ground.use_firewalls(firewall)
        *good, slow = ground.targets
        dead = slow | {"name": "fw-dead", "port": nowhere}

        def run(targets, codes=(0,)):
            ground.forget()
            ground.targets = targets
            return ground.run(codes=codes)

        def slowest(took):
            return max(took.targets[target["name"]]["seconds"] for target in good if target["name"] in took.targets)

        runs = (lambda: run(good), lambda: run([dead, slow, *good], codes=(1,)), lambda: run(good[:1]))
        among_themselves, beside_bad, alone = medians(*runs, by=slowest)
    assert all(beside_bad.targets[target["name"]]["status"] == "complete" for target in good)
    assert beside_bad.targets["fw-dead"]["error"]["kind"] == "Unreachable"
    ratios.add(
        "the slowest of 8 / the same 8 without the two bad ones",
        slowest(beside_bad),
        slowest(among_themselves),
        most=1.1,
    )
    # How eight share one process, whoever else is there.
    ratios.add("the slowest of 8 / a single target", slowest(beside_bad), slowest(alone))
    ratios.raise_if_missed()
