"""Peak memory with 250,000 addresses, of a million and of five million rows."""

import sys

from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import scaled

ADDRESSES, FEW, MANY = scaled(250_000), scaled(1_000_000), scaled(5_000_000)
MOST = 120 * 10**6


def test_memory_of_five_million_rows(ground, make_export, ratios):
    """250,000 addresses take 120 MB at most, and five times the rows take no more."""
    ground.sync = {"deadline": "30m"}
    peaks = {}
    with FastFirewall.start(0.0, 0.0) as firewall:
        ground.use_firewalls(firewall)
        for count in (FEW, MANY):
            ground.use_database(make_export(count, ADDRESSES))
            ground.forget()
            took = ground.run()
            assert took.report["source"]["rows"] == count
            peaks[count] = took.peak
            sys.stdout.write(f"\n{count} rows: {took.seconds:.1f} s, wanted {took.report['wanted']}")
        unchanged = ground.run()
    ratios.add(f"peak memory with {MANY:,} rows / the limit", peaks[MANY], MOST, "MB", most=1, before=1.68)
    ratios.add(f"the same / with {FEW:,} rows", peaks[MANY], peaks[FEW], "MB", most=1.1)
    ratios.add("peak memory with nothing new / the limit", unchanged.peak, MOST, "MB", most=1)
    ratios.raise_if_missed()
