"""The rows that others are judged by: they hold every oddity, so that the oracle and uidsync are held to each."""

from collections import Counter
from datetime import UTC, datetime

from tests.clienthist_rows import make_rows
from tests.oracle import Settings, judge

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
CAMPUS = Settings(
    domain="CAMPUS",
    lowercase=True,
    strip_realm=True,
    ignore_users=("svc-*", "*$"),
    rewrite=((r"^host/.*$", ""),),
    exclude_networks=("10.0.1.128/25",),
)


def test_the_rows_hold_every_oddity_and_can_be_had_again():
    """The same seed gives the same rows; ten thousand hold each reason for a skip and for nobody."""
    rows = list(make_rows(10_000, 1_500, NOW, seed=3))
    assert rows == list(make_rows(10_000, 1_500, NOW, seed=3))
    assert rows != list(make_rows(10_000, 1_500, NOW, seed=4))
    verdict = judge(rows, NOW, CAMPUS)
    assert set(verdict.skipped) == {"date", "ahead", "address", "cut", "network", "blank"}
    assert set(verdict.nobody.values()) == {"null", "empty", "control", "length", "ignored", "blank"}
    assert verdict.took_nothing
    highest = {row[2]: row[0] for row in sorted(rows)}
    assert any(holder.event_id < highest[ip] for ip, holder in verdict.holders.items()), "late writers"
    assert verdict.skipped["ahead"] < verdict.rows / 10
    assert len(rows) > verdict.rows  # some lie before the window
    per_second = Counter((row[1], row[2]) for row in rows)
    assert max(per_second.values()) > 1
