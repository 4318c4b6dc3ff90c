"""What a relay wrote of its health is shown on the status page, whatever the file holds."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from uidsync.integrations.exporter.relayhealth import FILE, read_relay
from uidsync.integrations.exporter.verdict import Mark
from uidsync.integrations.relay import health

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def write(place, *findings, age=timedelta()):
    """Write the health of a relay as it does."""
    found = health.sort([health.Finding(*finding) for finding in findings])
    health.write_health(place, found, {"queued": 3}, NOW - age)


def test_no_relay_is_no_news(tmp_path):
    """Where none ever ran, nothing is said."""
    assert list(read_relay(tmp_path, NOW)) == []


def test_what_is_wrong_is_told(tmp_path):
    """Findings that are yellow or red are told with what to do; those that are green are not."""
    write(
        tmp_path, ("tenant", "red", "HTTP 403", "mend the role"), ("queue", "green", "ok"), ("room", "yellow", "90 %")
    )
    told = [(verdict.mark, verdict.words, verdict.advice) for verdict in read_relay(tmp_path, NOW)]
    assert told == [(Mark.BAD, "relay: tenant: HTTP 403", "mend the role"), (Mark.WARN, "relay: room: 90 %", "")]


def test_a_relay_that_is_silent_is_told(tmp_path):
    """One that wrote nothing for minutes does not run, whatever it wrote then."""
    write(tmp_path, ("tenant", "green", "ok"), age=timedelta(minutes=10))
    (verdict,) = read_relay(tmp_path, NOW)
    assert verdict.mark is Mark.BAD
    assert verdict.words == "relay: does not run, or cannot write, since 11:50:00 UTC"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"written_at": 7}', '{"written_at": "soon", "findings": []}', "[" * 100_000, "\xff"],
    ids=lambda text: text[:20],
)
def test_a_file_that_is_none_is_told(tmp_path, text):
    """What cannot be read is not known."""
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    assert [verdict.mark for verdict in read_relay(tmp_path, NOW)] == [Mark.OPEN]


@pytest.mark.parametrize("findings", [7, [7], [{}], [{"colour": "red"}], [{"colour": ["red"]}], {"colour": "red"}])
def test_findings_of_another_shape_do_no_harm(tmp_path, findings):
    """What is not as expected is not there."""
    (tmp_path / FILE).write_text(json.dumps({"written_at": NOW.isoformat(), "findings": findings}))
    assert all(verdict.mark is Mark.BAD for verdict in read_relay(tmp_path, NOW))
