"""How many names bring another domain or realm, and what is said of them."""

from datetime import UTC, datetime

import pytest

from uidsync.reading.strangers import ADVICE, Strangers
from uidsync.source.rows import Row, Rules, make_row_reader

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
OTHERS = "names with a domain or realm other than CAMPUS"
PRINCIPALS = (
    "ada",
    "CAMPUS\\ada",
    "LAB\\dean,Staff",
    "lab\\Dean",
    "dean@lab.example",
    "null@lab.example",
    "@lab",
    None,
)


def tell(rules, *principals, address="10.0.0.1"):
    """Read rows with these principals, and return what is said of them."""
    strangers = Strangers(rules, make_row_reader(rules, NOW))
    for number, principal in enumerate(principals):
        row = Row(number, NOW, address, principal, None)
        assert strangers.read(row) == make_row_reader(rules, NOW)(row)
    return strangers.tell()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules("CAMPUS"), ("yellow", OTHERS + ": 2; they are sent unchanged", ADVICE)),
        (
            Rules("CAMPUS", other_domains="replace"),
            ("green", OTHERS + ": 2; they are sent with CAMPUS instead", ""),
        ),
        (
            Rules("CAMPUS", other_domains="nobody"),
            ("green", OTHERS + ": 2; they are not mapped", ""),
        ),
        (Rules(), ("green", "names with a domain or realm: 3; they are sent unchanged", "")),
        (Rules(other_domains="replace"), ("green", "names with a domain or realm: 3; they are sent without it", "")),
        (
            Rules("CAMPUS", strip_realm=True),
            ("yellow", OTHERS + ": 1; they are sent unchanged", ADVICE),
        ),
    ],
)  # fmt: skip
def test_names_are_counted_once_in_any_case(rules, expected):
    """Each name counts once, however it is written; identities that hide their user do not, nor does our own domain."""
    assert tell(rules, *PRINCIPALS) == expected


def test_where_there_is_none_nothing_is_said():
    """Names without a domain, and rows that are no events, are not told of."""
    assert tell(Rules("CAMPUS"), "ada", "CAMPUS\\ben", "ada@campus") is None
    assert tell(Rules("CAMPUS"), "LAB\\dean", address="127.0.0.1") is None
