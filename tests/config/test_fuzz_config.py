"""Whatever a configuration holds, it is a configuration, or refused with lines that say what and where."""

import copy
from datetime import UTC, date, datetime, time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.command import call
from uidsync.config import models
from uidsync.config.models import Config
from uidsync.config.reader import ConfigError, make_config, read_config
from uidsync.config.values import Table

VALID = {
    "source": {"kind": "mysql", "host": "db", "port": 3306, "reauth_days": 7, "idle_after": "7d", "time_offset": "0s",
               "password_file": "/p", "database": "b", "user": "u", "ca_file": ""},
    "identity": {"domain": "CAMPUS", "lowercase": False, "ignore_users": ["svc-*"],
                 "rewrite": [{"match": "^host/.*$", "replace": ""}], "exclude_networks": ["10.0.0.0/8"]},
    "roles": {"user_tags": {"STAFF": "staff"}},
    "telemetry": {"textfile": "/m.prom", "ping_url": "https://hc.example.edu/uuid"},
    "sync": {"batch_size": 100, "full_every": "4h", "state_dir": "/s", "max_logout_percent": 25},
    "target": [
        {"name": "fw", "kind": "firewall", "host": "fw", "port": 443, "vsys": "vsys1", "networks": ["::/0"],
         "api_key_file": "/k", "mapping_timeout": "24h", "verify_tls": True},
        {"name": "uia", "kind": "agent", "host": "::1", "framing": "raw", "client_cert_file": "/c"},
    ],
}  # fmt: skip
PLAIN = (
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.dates() | st.times()
    | st.datetimes() | st.datetimes(timezones=st.just(UTC))
    | st.sampled_from(["mysql", "csv", "firewall", "agent", "0s", "-1h", "9" * 400 + "h",
                       "{x}", "[[a]", "(" * 400, "\0", "x" * 10_000])
)  # fmt: skip
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
MODELS = [each for each in vars(models).values() if isinstance(each, type) and issubclass(each, Table)]
KEYS = st.text(max_size=5) | st.sampled_from(sorted({key for model in MODELS for key in model.__struct_fields__}))


def read(document):
    """Make a configuration, or return the lines that refuse it: each is of a path and words."""
    try:
        return make_config(document, "uidsync.toml")
    except ConfigError as error:
        return error.problems


@st.composite
def spoilt(draw):
    """Draw the valid document with values replaced, removed and added, anywhere."""
    document = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 4))):
        place = document
        while True:
            steps = list(place) if isinstance(place, dict) else list(range(len(place)))
            step = draw(st.sampled_from(steps)) if steps else None
            if step is None or not isinstance(place[step], dict | list) or draw(st.booleans()):
                break
            place = place[step]
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace" if step is not None:
                place[step] = draw(VALUES)
            case "remove" if step is not None:
                del place[step]
            case _ if isinstance(place, dict):
                place[draw(KEYS)] = draw(VALUES)
            case _:
                place.append(draw(VALUES))
    return document


def test_the_document_that_is_spoilt_is_valid():
    """What the others spoil is a configuration."""
    assert isinstance(read(VALID), Config)


@given(spoilt())
@settings(max_examples=200)
@example({})
@example({"source": date(1979, 5, 27), "target": time(7)})
@example({"source": {"kind": datetime(1, 1, 1, tzinfo=UTC)}, "target": [[]]})
def test_any_document_is_a_configuration_or_refused(document):
    """Any value of any type in any place is taken, or refused at its place."""
    told = read(document)
    assert isinstance(told, Config) or (told and all(": " in problem for problem in told))


@given(st.dictionaries(KEYS, VALUES))
def test_any_table_is_a_configuration_or_refused(document):
    """So is a document that has nothing to do with ours."""
    assert not isinstance(read(document), Config)


def test_what_is_no_text_is_refused(tmp_path):
    """Bytes that are no TOML, a directory, a file that is not there: one line, with the file and what to do."""
    file = tmp_path / "uidsync.toml"
    for content in (
        b"\xff",
        b"\0",
        "[source]".encode("utf-16"),
        b"[" * 5000,
        b"a=" + b"[" * 5000,
        b"a = 1\na = 2",
        b"a=" + b"9" * 5000,
    ):
        file.write_bytes(content)
        ended = call("check", "--config", file)
        assert (ended.code, ended.err.count("config.refused")) == (2, 1), content
        assert str(file) in ended.err
    for path in (tmp_path, tmp_path / "nowhere", "x" * 5000):
        assert (ended := call("check", "--config", path)).code == 2
        assert "cannot be read" in ended.err


@given(st.binary())
def test_any_bytes_are_refused(tmp_path_factory, content):
    """Any bytes for a file are refused by its name: to hit upon a configuration takes more luck than that."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=str(file)):
        read_config(file)
