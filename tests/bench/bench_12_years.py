"""A full read of seven days of a table that holds years, beside the same seven days alone in a table."""

from tests.bench import rows
from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import medians, scaled

ADDRESSES, WINDOW, YEARS = scaled(30_000), scaled(500_000), scaled(9_500_000)


def test_years_before_the_window(ground, make_export, ratios):
    """Without an index on the dates, the years before the window cost at most half of what the window costs."""
    alone = make_export(WINDOW, ADDRESSES)
    years = make_export(0, ADDRESSES)
    with years.admin() as connection:
        rows.fill(connection, YEARS, ADDRESSES, ends=rows.VALIDITY, span=10 * 365 * 86_400)
        rows.fill(connection, WINDOW, ADDRESSES, first=YEARS + 1)
    with FastFirewall.start(0.0) as firewall:
        ground.use_firewalls(firewall)

        def read(state, export):
            ground.states = state
            ground.use_database(export)
            return ground.run("--dry-run")

        long, short = medians(lambda: read(1, years), lambda: read(2, alone))
    assert (long.report["source"]["rows"], short.report["source"]["rows"]) == (WINDOW, WINDOW)
    ratios.add(
        f"a full read of a table of {YEARS + WINDOW:,} rows / the window alone", long.seconds, short.seconds, most=1.5
    )
    ratios.add("the same: processor time", long.busy, short.busy)
    ratios.raise_if_missed()
