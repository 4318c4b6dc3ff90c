"""What more targets cost, and what `networks` on a target cost, in the first run and in a run with nothing new."""

import sys

from tests.bench.bench_2_unchanged import STANDS_ON
from tests.bench.conftest import draw
from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import launch, medians, scaled

ADDRESSES, ROWS = scaled(250_000), scaled(500_000)
FEW, MANY, MOST = 2, 16, 32
APART = ["10.0.0.0/16"]  # two thirds of the addresses


def run_first(ground, firewall, count):
    """Make the first run with so many of the targets; return what it took for each entry that it sent."""
    ground.use_firewalls(firewall)
    ground.targets = ground.targets[:count]
    ground.forget()
    firewall.ask("reset")
    took = ground.run()
    sent = sum(counts["entries"] for counts in firewall.ask())
    assert sent == took.report["wanted"] * count
    return took, took.busy / sent


def test_sixteen_targets_beside_two(ground, make_export, ratios):
    """Sixteen targets take 200 MB, and no more for an entry than two targets do."""
    ground.sync = {"deadline": "30m"}
    ground.use_database(make_export(ROWS, ADDRESSES))
    with FastFirewall.start(*[0.0] * MANY) as firewall:
        few, each_of_few = run_first(ground, firewall, FEW)
        many, each_of_many = run_first(ground, firewall, MANY)

        def imports():
            return launch(ground.place, sys.executable, "-c", f"import {', '.join(STANDS_ON)}")

        unchanged, floor = medians(ground.run, imports)
    sys.stdout.write(
        f"\n{FEW} targets: {few.seconds:.1f} s, {MANY}: {many.seconds:.1f} s, {many.busy:.1f} s of it busy"
    )
    ratios.add(f"{MANY} targets, first run: peak memory / the limit", many.peak, 200e6, "MB", most=1, before=3.44)
    ratios.add(f"the same: processor time an entry / with {FEW}", each_of_many, each_of_few, "µs", most=1.1)
    ratios.add("the same: processor time an entry / the limit", each_of_many, 20e-6, "µs", most=1, before=2.9)
    ratios.add(f"{MANY} targets, nothing new / the imports", unchanged.seconds, floor.seconds, most=6, before=55)
    ratios.raise_if_missed()


def test_thirty_two_targets_with_nothing_new(ground, campus, ratios):
    """With nothing new, 32 targets take at most three times as long as two."""
    ground.use_database(campus)
    with FastFirewall.start(*[0.0] * MOST) as firewall:
        ground.use_firewalls(firewall)
        targets = ground.targets

        def with_targets(count):
            ground.states, ground.targets = count, targets[:count]
            return ground.run()

        with_targets(FEW), with_targets(MOST)
        few, many = medians(lambda: with_targets(FEW), lambda: with_targets(MOST))
    assert {target["batches"] for target in many.report["targets"]} == {0}
    ratios.add(f"{MOST} targets, nothing new / {FEW} targets", many.seconds, few.seconds, most=3)
    ratios.add("the same: processor time", many.busy, few.busy)
    ratios.raise_if_missed()


def test_networks_with_nothing_new(ground, make_export, ratios):
    """With nothing new, a target's networks cost nothing."""
    ground.use_database(make_export(ROWS, scaled(100_000)))
    with FastFirewall.start(0.0, 0.0) as firewall:
        ground.use_firewalls(firewall)
        plain = ground.targets
        apart = [target | {"networks": APART} for target in plain]

        def with_targets(state, targets):
            ground.states, ground.targets = state, targets
            return ground.run()

        with_targets(1, plain), with_targets(2, apart)
        without, limited = medians(lambda: with_targets(1, plain), lambda: with_targets(2, apart))
    assert {target["batches"] for target in limited.report["targets"]} == {0}
    ratios.add(
        "networks and 100,000 addresses, nothing new / without", limited.seconds, without.seconds, most=1.1, before=6.5
    )
    ratios.add("the same: processor time", limited.busy, without.busy)
    ratios.raise_if_missed()


def test_how_it_grows(ground, make_export, pictures):
    """Draw how time and memory grow with the rows, the addresses and the targets."""
    ground.sync = {"deadline": "30m"}
    columns = {"first run": "s", "its processor time": "s", "its memory": "MB", "processor time, nothing new": "s"}
    rows, addresses = scaled(250_000), scaled(10_000)
    with FastFirewall.start(*[0.0] * MANY) as firewall:

        def look(rows, addresses, targets):
            ground.use_database(make_export(rows, addresses))
            first, _ = run_first(ground, firewall, targets)
            values = first.seconds, first.busy, first.peak, ground.run().busy
            return dict(zip(columns, values, strict=True))

        for title, part, ways in (
            (f"rows, of {addresses:,} addresses", 0, [(rows * n // 2, addresses, 2) for n in (1, 2, 4)]),
            (f"addresses, of {rows:,} rows", 1, [(rows, addresses * n, 2) for n in (1, 3, 9)]),
            (f"targets, each of {addresses:,} addresses", 2, [(rows, addresses, n) for n in (1, 4, 16)]),
        ):
            series = {f"{way[part]:,}": look(*way) for way in ways}
            pictures.append(draw(f"{title}: {'; '.join(columns)}", series, columns))
