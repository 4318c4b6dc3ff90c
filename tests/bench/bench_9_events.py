"""Security events: 200,000 entries over 30,000 addresses that change hands, each attribution beside an oracle's."""

import json
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tests.bench.ground import scaled
from uidsync.simulator.process import Simulator

FEW, MANY = scaled(50_000), scaled(500_000)
ENTRIES, ADDRESSES, ROUNDS = scaled(200_000), scaled(30_000), 10
PER_SECOND = 4
LONGEST, MOST = 60.0, 120 * 10**6
MARGIN, VALIDITY = timedelta(minutes=10), timedelta(days=7)
COLUMNS = "time,received,src,dst,dst_user,dst_nac_mark,dst_nac_user,dst_nac_since,dst_nac_machine"


def make_rows(end):
    """Make rows of DHCP: each address goes to another user now and then; some log out, some come again."""
    number = 0
    for turn in range(ROUNDS):
        for place in range(ADDRESSES):
            number += 1
            at = end - timedelta(hours=17 * (ROUNDS - turn)) + timedelta(seconds=place * 37 % 60_000)
            user = "null" if (place + turn) % 29 == 0 else f"u{(place + turn * (place % 3)) % ADDRESSES}"
            address = f"10.{place >> 16 & 255}.{place >> 8 & 255}.{place & 255}"
            yield number, at.replace(tzinfo=None), address, f"{user},Staff", f"PC-{place}"


class Oracle:
    """Who had an address, by nothing but its rows in their order."""

    def __init__(self, rows):
        self._rows = {}
        for _, at, address, principal, machine in rows:
            user = principal.partition(",")[0]
            self._rows.setdefault(address, []).append((at.replace(tzinfo=UTC), user, machine))

    def tell(self, address, at):
        """Return the mark and the user at a moment."""
        rows = self._rows[address]
        times = [row[0] for row in rows]
        first, last = bisect_left(times, at - MARGIN), bisect_right(times, at + MARGIN)
        here = bisect_right(times, at) - 1
        around = {user for _, user, _ in rows[max(first - 1, 0) : last]}
        if here < 0 or times[here] + VALIDITY < at:
            return ("near a hand-over", None) if around else ("no record", None)
        user = rows[here][1]
        if len(around) > 1:
            return "near a hand-over", None
        return ("nobody", None) if user == "null" else ("", f"CAMPUS\\{user}")


@contextmanager
def flooded(ground, count, start):
    """Set up a firewall with so many entries of spyware from a moment on."""
    with Simulator.start("firewall") as firewall:
        firewall.do("log-flood", log_type="threat", count=count, start=start.timestamp(), per_second=PER_SECOND,
                    addresses=ADDRESSES)  # fmt: skip
        key = ground.place / "api-key"
        key.touch(0o600)
        key.write_text(firewall.api_key + "\n")
        ground.targets = [{"name": "fw", "kind": "firewall", "host": "127.0.0.1", "port": firewall.port,
                           "ca_file": str(firewall.ca_file), "api_key_file": str(key)}]  # fmt: skip
        ground.tables = {
            "events": {"time_zone": "UTC"},
            "identity": {"domain": "CAMPUS", "include_networks": ["10.0.0.0/8"]},
        }
        yield firewall


def test_memory_is_flat(ground, ratios):
    """500,000 entries take no more memory than 50,000."""
    ground.source = {"kind": "csv", "path": "/nowhere"}
    peaks = {}
    for count in (FEW, MANY):
        with flooded(ground, count, datetime.now(UTC) - timedelta(days=3)):
            took = ground.call("events", "spyware", "--last", "4d", "--no-who")
            assert json.loads(took.err.splitlines()[-1])["entries"] == count
            peaks[count] = took.peak
            sys.stdout.write(f"\n{count} entries: {took.seconds:.1f} s, processor {took.busy:.1f} s")
    ratios.add(f"peak memory, {MANY:,} events / with {FEW:,}", peaks[MANY], peaks[FEW], "MB", most=1.1)
    ratios.raise_if_missed()


def test_every_attribution_is_the_oracle_s(ground, make_export, ratios):
    """All entries are read, and each is told of whom the NAC's rows say, in a minute and in 120 MB."""
    end = datetime.now(UTC).replace(microsecond=0)
    rows = list(make_rows(end))
    export = make_export(0, 1)
    export.insert(rows, ("clientHistId", "transDate", "currentIpAddress", "principal", "winMachineName"))
    ground.use_database(export)
    with flooded(ground, ENTRIES, end - timedelta(hours=17, minutes=20)) as firewall:  # before addresses change hands
        took = ground.call("events", "spyware", "--columns", COLUMNS, "--format", "jsonl")
        rival = ground.run_rival("pan-python-log", api_key=firewall.api_key, port=firewall.port,
                                 filter="(subtype eq spyware)")  # fmt: skip
    oracle = Oracle(rows)
    marks, places = Counter(), set()
    for line in took.out.splitlines():
        row = json.loads(line)
        mark, user = oracle.tell(row["dst"], datetime.fromisoformat(row["time"]))
        assert (row["dst_nac_mark"], row["dst_nac_user"]) == (mark, user), row
        assert mark or row["dst_nac_machine"] == f"PC-{row['dst_nac_machine'].removeprefix('PC-')}"
        marks[mark] += 1
        places.add((row["received"], row["dst"]))
    sys.stdout.write(f"\n{dict(marks)}")
    assert (sum(marks.values()), int(rival.out)) == (ENTRIES, ENTRIES)
    assert marks.keys() == {"", "nobody", "near a hand-over"}
    ratios.add(f"seconds for {ENTRIES:,} events and {len(rows):,} rows / the limit", took.seconds, LONGEST, most=1)
    ratios.add("peak memory / the limit", took.peak, MOST, "MB", most=1)
    ratios.add("seconds / pan-python's loop, which asks no NAC", took.seconds, rival.seconds)
    ratios.add("processor time / pan-python's loop", took.busy, rival.busy)
    ratios.add("peak memory / pan-python's loop", took.peak, rival.peak, "MB")
    ratios.raise_if_missed()
