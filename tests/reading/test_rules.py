"""The rules by which rows are read, as the ledger remembers them."""

from uidsync.config.reader import make_config
from uidsync.reading.reader import make_rules
from uidsync.source.csvfile import CSVSource

SOURCE = {"kind": "csv", "path": "export.csv"}
TARGET = {"name": "fw", "kind": "firewall", "host": "fw.example.edu"}


def read_roles(**roles):
    """Return the roles of a configuration as the ledger remembers them."""
    config = make_config({"source": SOURCE, "target": [TARGET], "roles": roles}, "uidsync.toml")
    return make_rules(config, CSVSource("export.csv")).roles


def test_roles_are_remembered_by_a_text_that_stays_the_same():
    """With any other spelling, every site would read and send all anew after an upgrade."""
    text = '{"user_tags":{"\u00c4*\\n\x7f":"staff"},"address_tags":{},"prefix":"nac-"}'
    assert read_roles(user_tags={"\u00c4*\n\x7f": "staff"}) == text
    assert read_roles(user_tags={"\u00c4*\n\x7f": "staff"}, timeout="2d") == text
    assert read_roles() == ""
