"""What stands in a column of another type than the vendor's is what it means, or costs its row."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from uidsync.panos.userid.messages import is_carriable
from uidsync.source.rows import Row, choose_row_maker, read_id, read_text

VENDORS = {
    "clienthistid": "bigint(20) unsigned",
    "currentipaddress": "char(15)",
    "principal": "text",
    "macaddress": "varchar(25)",
}
NOON = datetime(2026, 3, 10, 12)  # noqa: DTZ001 (as the table has it)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), ("7", 7), (b"7", 7), (Decimal(7), 7), (7.0, 7), (7.5, None), (Decimal("7.5"), None), (float("nan"), None),
     (float("inf"), None), ("x", None), (b"\xff", None), ("7.0", None), (None, None), (NOON, None)],
)  # fmt: skip
def test_an_id_is_a_whole_number(value, expected):
    """Whatever a whole number is stored as, it is one; what is none is none."""
    assert read_id(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("ada", "ada"), (b"ada", "ada"), ("ä".encode(), "ä"), (7, "7"), (timedelta(hours=1), "1:00:00")],
)
def test_whatever_stands_there_is_text(value, expected):
    """Bytes are UTF-8, and anything else is as it prints."""
    assert read_text(value) == expected


def test_bytes_that_are_no_utf_8_are_no_name():
    """They become what no message can carry."""
    assert not is_carriable(read_text(b"J\xfcrgen"))


@pytest.mark.parametrize("column", [None, *VENDORS])
def test_only_columns_of_other_types_are_looked_at(column):
    """Rows of the vendor's table are taken as they are; one column of another type has each row looked at."""
    make = choose_row_maker(VENDORS | ({column: "blob"} if column else {}))
    values = (1, NOON, "10.0.0.1", "ada", None)
    assert make(*values) == Row(*values)
    assert (make is Row) == (column is None)


def test_a_table_without_devices_is_the_vendor_s():
    """The column of devices may be missing."""
    assert choose_row_maker({name: kind for name, kind in VENDORS.items() if name != "macaddress"}) is Row
