"""What is logged and to whom, and that a report on disk is always a whole one."""

import json
import os
import pty
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from uidsync.report.output import LAST_RUN, write_atomically, write_report
from uidsync.report.report import SyncReport

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PROGRAM = """
import sys, structlog
from threading import Thread
from uidsync.report.output import name_run, set_up_logging
set_up_logging(verbosity=int(sys.argv[1]))
run_id = name_run() if sys.argv[2:] else ""
log = structlog.get_logger().bind(target="fw")
log.debug("batch.delivered", entries=["192.0.2.1 ada"])
log.info("source.read", rows=7)
log.warning("batch.failed", message="two\\nlines \\x1b[2J \\ud800 ö")
try:
    1 / 0
except ZeroDivisionError as bug:
    log.error("target.broken", exc_info=bug)
if run_id:
    thread = Thread(target=structlog.get_logger().info, args=("thread.ended",))
    thread.start()
    thread.join()
"""


def log(verbosity, *words, **options):
    """Log in a process of its own, in a run if there is another word, and return what it wrote to standard error."""
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    command = [sys.executable, "-c", PROGRAM, str(verbosity), *words]
    ended = subprocess.run(command, check=True, capture_output=True, env=environment | options)
    assert ended.stdout == b""
    return ended.stderr.decode()


def log_on_a_terminal(verbosity, *words, **options):
    """Log to a terminal and return what it shows."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    shown = b""
    try:
        command = [sys.executable, "-c", PROGRAM, str(verbosity), *words]
        with subprocess.Popen(command, stderr=theirs, env=environment | {"TERM": "xterm"} | options):
            os.close(theirs)
            while True:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # the last one to hold the terminal has gone
                    return shown.decode()
    finally:
        os.close(ours)


# ---- logs --------------------------------------------------------------------------------------------------------


def test_in_a_pipe_each_event_is_a_line_of_json():
    """Under systemd and in a pipe every event is one JSON line with name, level, time in UTC and its facts."""
    lines = [json.loads(line) for line in log(0).splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("source.read", "info"),
        ("batch.failed", "warning"),
        ("target.broken", "error"),
    ]
    assert (lines[0]["rows"], lines[0]["target"]) == (7, "fw")
    for line in lines:
        assert abs(datetime.fromisoformat(line["timestamp"]) - datetime.now(UTC)).total_seconds() < 60


@pytest.mark.parametrize(
    ("verbosity", "events"),
    [
        (-1, ["batch.failed", "target.broken"]),
        (0, ["source.read", "batch.failed", "target.broken"]),
        (1, ["batch.delivered", "source.read", "batch.failed", "target.broken"]),
        (2, ["batch.delivered", "source.read", "batch.failed", "target.broken"]),
    ],
)
def test_verbosity_says_what_is_told(verbosity, events):
    """Warnings alone, what happens, every entry: each step tells more. Traces of bugs come last."""
    said = log(verbosity)
    assert [json.loads(line)["event"] for line in said.splitlines()] == events
    assert ("192.0.2.1 ada" in said) == (verbosity > 0)
    assert ("Traceback" in said) == (verbosity > 1)


def test_odd_characters_do_not_break_a_line():
    """Whatever a message holds, it is one line, and any terminal or journal can show it."""
    said = log(0, PYTHONIOENCODING="ascii:strict", LC_ALL="C")
    assert len(said.splitlines()) == 3
    assert said.isascii()
    assert "\x1b" not in said


def test_a_terminal_gets_lines_for_people():
    """On a terminal lines are coloured and show the local time of day, without JSON and traces."""
    shown = log_on_a_terminal(0)
    assert "source.read" in shown
    assert "\x1b[" in shown
    assert '{"' not in shown
    assert "Traceback" not in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[" not in log_on_a_terminal(0, NO_COLOR="1")


def test_every_line_of_a_run_has_its_id():
    """In a run each line of JSON has one id more than before, from whichever thread; on a terminal none has."""
    lines = [json.loads(line) for line in log(0, "run").splitlines()]
    assert [line["event"] for line in lines][-1] == "thread.ended"
    (run_id,) = {line.pop("run_id") for line in lines}
    assert len(run_id) == 36
    assert [line.keys() for line in lines[:-1]] == [json.loads(line).keys() for line in log(0).splitlines()]
    assert log(0, "run").count(run_id) == 0  # each run has its own
    shown = log_on_a_terminal(0, "run")
    assert "thread.ended" in shown
    assert "run_id" not in shown


# ---- the report on disk ------------------------------------------------------------------------------------------


def test_a_report_is_written_whole(tmp_path):
    """The report is JSON that its group can read and others cannot, and nothing else is left in its directory."""
    for number in ("1", "2"):
        write_report(SyncReport(number, NOW), tmp_path)
        assert json.loads((tmp_path / LAST_RUN).read_text())["run_id"] == number
    assert [file.name for file in tmp_path.iterdir()] == ["last-run.json"]
    assert stat.S_IMODE((tmp_path / LAST_RUN).stat().st_mode) == 0o640


def test_a_reader_sees_the_old_or_the_new(tmp_path):
    """Whoever reads while a report is replaced finds a whole one."""
    file, over = tmp_path / "file", threading.Event()
    texts = {letter * 200_000 for letter in "ab"}
    write_atomically(file, "a" * 200_000, 0o640)

    def replace():
        while not over.is_set():
            for text in texts:
                write_atomically(file, text, 0o640)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(200):
            assert file.read_text() in texts
    finally:
        over.set()
        writer.join()


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    """When writing fails, the old report stays and no piece of the new one."""
    file = tmp_path / "file"
    write_atomically(file, "old", 0o640)
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "x" * 100_000 + "\ud800", 0o640)
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_pipe_is_not_replaced(tmp_path):
    """What has a reader at its other end keeps its name, also through a link."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for place in (pipe, link):
        with pytest.raises(OSError, match="a device, a pipe or a socket"):
            write_atomically(place, "new", 0o640)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize("directory", ["/nowhere", "/dev/null"])
def test_a_place_that_is_none_is_told(directory):
    """A directory that is not there, or is none, is an OSError."""
    with pytest.raises(OSError):  # noqa: PT011 (as the platform has it)
        write_report(SyncReport("id", NOW), Path(directory))


@pytest.mark.parametrize("there", ["nothing", "a file", "a link"])
def test_a_file_has_its_group_before_its_name(tmp_path, there):
    """Who sees a file by its name sees it with its mode and its group; what a link leads to is not touched."""
    group = next(iter(set(os.getgroups()) - {os.getegid()}), 4711 if os.geteuid() == 0 else os.getegid())
    theirs, key = tmp_path / "theirs", tmp_path / "key"
    theirs.write_text("theirs")
    theirs.chmod(0o600)
    before = theirs.stat()
    if there == "a file":
        key.write_text("old")
    elif there == "a link":
        key.symlink_to(theirs)
    with watched(key) as seen:
        write_atomically(key, "new", 0o640, group)
    assert (key.is_symlink(), key.read_text()) == (False, "new")
    assert seen <= {(stat.S_IMODE(0o640), group)}
    assert (key.stat().st_gid, stat.S_IMODE(key.stat().st_mode)) == (group, 0o640)
    now = theirs.stat()
    assert (theirs.read_text(), now.st_mode, now.st_gid, now.st_ctime_ns) == (
        "theirs", before.st_mode, before.st_gid, before.st_ctime_ns,
    )  # fmt: skip


@contextmanager
def watched(file):
    """Collect mode and group of a file whenever it is replaced while the block runs."""
    old, seen, is_over = file.lstat().st_ino if os.path.lexists(file) else None, set(), Event()

    def look():
        while not is_over.is_set():
            with suppress(FileNotFoundError):
                now = file.stat(follow_symlinks=False)
                if now.st_ino != old:
                    seen.add((stat.S_IMODE(now.st_mode), now.st_gid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may give files to any group")
def test_a_group_that_one_is_not_in_costs_nothing(tmp_path):
    """An account that may not give the file away keeps it."""
    write_atomically(tmp_path / "key", "new", 0o640, 4711)
    assert (tmp_path / "key").stat().st_gid == tmp_path.stat().st_gid
