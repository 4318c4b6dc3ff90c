"""When the next run starts, by the words of systemctl."""

from datetime import UTC, datetime

import pytest

from uidsync.cli.status import Timer, read_timer

NEXT = datetime(2026, 11, 29, 23, 22, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "timer"),
    [
        ("ActiveState=active\nNextElapseUSecRealtime=Sun 2026-11-29 23:22:04 UTC\n", Timer(is_on=True, next_run=NEXT)),
        ("NextElapseUSecRealtime=Sun 2026-11-29 23:22:04 UTC\nActiveState=active\n", Timer(is_on=True, next_run=NEXT)),
        ("NextElapseUSecRealtime=\nActiveState=active\n", Timer(is_on=True, next_run=None)),
        ("ActiveState=active\nNextElapseUSecRealtime=n/a\n", Timer(is_on=True, next_run=None)),
        ("ActiveState=inactive\nNextElapseUSecRealtime=\n", Timer(is_on=False, next_run=None)),
        ("ActiveState=failed\n", Timer(is_on=False, next_run=None)),
        ("", None),
        ("System has not been booted with systemd as init system\n", None),
    ],
)
def test_the_state_and_the_moment_are_read(text, timer):
    """The order of the lines is systemd's; where no state is named, nothing is known."""
    assert read_timer(text) == timer
