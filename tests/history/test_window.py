"""Who had many addresses, by one read: the same as when each is asked for alone."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from uidsync.history.rows import History
from uidsync.source.rows import Row, Rules

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
VALIDITY = timedelta(hours=8)
RULES = Rules(domain="CAMPUS", ignore_users=("svc-*",), exclude_networks=(ip_network("10.9.0.0/16"),))
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::7", "10.9.0.1")
NAMES = ("ada", "ADA", "grace", "null", "svc-scan", "", None)
ROWS = st.lists(
    st.builds(
        lambda hours, address, name, mac: (NOW - timedelta(minutes=10 * hours), address, name, mac),
        st.integers(0, 150),
        st.sampled_from((*ADDRESSES, "10.0.0.1 ", "::ffff:10.0.0.2", "nowhere")),
        st.sampled_from(NAMES),
        st.sampled_from((None, "02005e10000a", "02005e10000b")),
    ),
    max_size=30,
)


class Table:
    """The NAC's table in memory, and how often it was read."""

    now = NOW
    scans = ()

    def __init__(self, rows):
        self.rows = [Row(number, *row) for number, row in enumerate(rows, 1)]
        self.reads = 0

    def read_past(self, date):
        """Read the window."""
        self.reads += 1
        return (row for row in self.rows if row.date >= date)

    def read_addresses(self, ips):
        """Read every row, of these addresses and others."""
        del ips
        return iter(self.rows)

    def read_user(self, needle, since, until):
        """Read the rows that may name a user."""
        return (row for row in self.rows if since <= row.date <= until and needle in (row.principal or "").lower())

    @contextmanager
    def open(self):
        """Open it."""
        yield self


@given(ROWS, st.integers(0, 140), st.integers(0, 60))
def test_one_read_for_all_says_what_is_said_of_each(rows, back, length):
    """At every moment of a window, each address's answer is that of `who`; the table is read once."""
    table = Table(rows)
    since = NOW - timedelta(minutes=10 * back)
    until = min(since + timedelta(minutes=10 * length), NOW)
    ips = {ip_address(address) for address in ADDRESSES}
    timelines = dict(History(table, RULES, VALIDITY).read_timelines(ips, since, until))
    assert table.reads == 1
    assert timelines.pop(ip_address("10.9.0.1")) is None  # many people's
    history = History(table, RULES, VALIDITY)
    for ip in ips - {ip_address("10.9.0.1")}:
        for at in (since, since + (until - since) / 2, until):
            alone = history.ask_address(ip, at)
            answer = timelines[ip].tell(at) if ip in timelines else None
            tenure = answer.tenure if answer else None
            assert (tenure and tenure.event) == (alone.tenure and alone.tenure.event)
            if tenure and tenure.until <= until:
                assert tenure.until == alone.tenure.until


def test_a_person_s_addresses_are_all_found():
    """Every address that a user had in a window is found, by a name in any case and without its domain."""
    table = Table(
        [
            (NOW - timedelta(hours=3), "10.0.0.1", "ada,Staff", None),
            (NOW - timedelta(hours=2), "10.0.0.2", "LAB\\Ada", None),
            (NOW - timedelta(hours=2), "10.0.0.3", "adam", None),
            (NOW - timedelta(hours=20), "10.0.0.4", "ada", None),
        ]
    )
    ips, names = History(table, RULES, VALIDITY).find_addresses("ada", NOW - timedelta(hours=4), NOW)
    assert {str(ip) for ip in ips} == {"10.0.0.1", "10.0.0.2"}
    assert names == {"ada", "CAMPUS\\ada", "LAB\\Ada"}
