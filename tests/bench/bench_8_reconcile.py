"""Reading back and comparing a table of 250,000 mappings: memory and time, beside a run with nothing new."""

import sqlite3
import sys
from contextlib import closing

from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import scaled

ADDRESSES, ROWS = scaled(250_000), scaled(500_000)
MOST = 150 * 10**6


def test_a_large_table_is_compared_in_bounded_memory(ground, make_export, ratios):
    """Comparing 250,000 mappings that are as they should be takes 150 MB at most, and sends nothing."""
    ground.sync = {"deadline": "30m"}
    with FastFirewall.start(0.0) as firewall:
        ground.use_firewalls(firewall)
        ground.use_database(make_export(ROWS, ADDRESSES))
        ground.run()
        unchanged = ground.run()
        with closing(sqlite3.connect(ground.place / f"state-{ground.states}" / "ledger.sqlite3")) as ledger, ledger:
            ledger.execute("UPDATE target SET reconciled_at = 0")
            ledger.execute("UPDATE holding SET sent_at = sent_at - 300000000")
        firewall.ask("reset")
        took = ground.run()
        (counts,) = firewall.ask()
    wanted = took.report["wanted"]
    sys.stdout.write(
        f"\n{wanted} mappings compared in {took.seconds:.1f} s ({took.busy:.1f} s of processor), "
        f"unchanged {unchanged.seconds:.1f} s ({unchanged.busy:.1f} s)"
    )
    assert (counts["calls"], took.report["targets"][0]["logins"]["due"]) == (0, 0)
    ratios.add(f"peak memory with {wanted:,} mappings compared / the limit", took.peak, MOST, "MB", most=1)
    ratios.add("the same / a run with nothing new", took.seconds, unchanged.seconds)
    ratios.raise_if_missed()
