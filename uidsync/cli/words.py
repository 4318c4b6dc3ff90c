"""Sentences that say what went wrong, and what to do about it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uidsync.report.advice import NO_SECRET, advise_secret, name_command, needs_key, tell_error
from uidsync.report.report import BUG, OK, UNSAFE, SyncReport
from uidsync.spelling import make_printable

MOST_NAMED = 3  # targets in one command
SUBJECTS = ("target", "file", "directory")  # of a log event: what it is about
UNTOLD = {*SUBJECTS, "event", "level", "timestamp", "message", "problem", "hint", "run_id", "dry_run", "exc_info"}
IN_REPORT = {"target.finished", "batch.failed", "entry.rejected", "plan.refused", "sync.finished"}
NEWS = {"exporter.started", "withdrawal.none", "withdrawal.undone", "tunnels.unchanged"}  # no warnings, and yet answers


def spell_finding(about: str, words: str, advice: str) -> str:
    """Return what was found, and what to do about it."""
    return f"{about}: {words}{f'  -> {advice}' if advice else ''}"


# ---- for a terminal ----------------------------------------------------------------------------------------------

NEED_CONFIG = "check|explain|keygen|secret|status|sync|verify|who|withdraw"
ADVISED = re.compile(rf"(?<=\S )uidsync (?=(?:{NEED_CONFIG})\b)|(?<=`)uidsync (?=(?:{NEED_CONFIG})\b)")
TO_COPY = re.compile(rf"`[^`]*`|\buidsync (?:--config \S+ )?(?:{NEED_CONFIG})\b[^;,`]*")
INDENT = "  "
# A word or two before the text of a line: what goes on stands below the text.
LABEL = re.compile(r"(?: *\S+(?: \S+)? {2,})?")
LONGEST_LABEL = 24


def complete_commands(words: str, config: Path | None) -> str:
    """Return the words with the configuration that was named in each command that they advise."""
    return ADVISED.sub(lambda _: f"uidsync --config {shlex.quote(str(config))} ", words) if config else words


def lay_out(words: str, width: int) -> str:
    """Break long lines between words. What goes on is indented, and a command that may be copied stays whole."""
    return "\n".join(_break(line, width) for line in words.split("\n"))


def _break(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    kept = TO_COPY.sub(lambda found: found[0].replace(" ", "\xa0"), line)
    label = LABEL.match(line)
    begins = label.end() if label else 0
    indent = " " * begins if 0 < begins <= LONGEST_LABEL else line[: len(line) - len(line.lstrip())] + INDENT
    parts = textwrap.wrap(
        kept, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, expand_tabs=False
    )
    return "\n".join(parts).replace("\xa0", " ")


# ---- events and ends ---------------------------------------------------------------------------------------------


def tell_event(event: Mapping[str, Any], *, has_report: bool) -> str:
    """Return a log event as a sentence for a terminal; nothing of what `has_report` tells, or nobody asked for."""
    name, level = str(event["event"]), str(event.get("level"))
    if (has_report and name in IN_REPORT) or (level == "info" and name not in NEWS):
        return ""
    about = next((str(event[key]) for key in SUBJECTS if key in event), "")
    words = str(event.get("message") or event.get("problem") or "")
    if about and words and "error" in event:
        return make_printable(tell_error(about, str(event["error"]), words))
    if not words:
        facts = ", ".join(f"{key} {value}" for key, value in event.items() if key not in UNTOLD)
        words = re.sub("[._]", " ", name) + (f" ({facts})" if facts else "")
    missing = None if "uidsync secret set" in words or "uidsync keygen" in words else NO_SECRET.search(words)
    hint = event.get("hint") or (missing and advise_secret(missing[1]))
    parts = (
        f"{level}: " if level == "warning" else "",
        f"{about}: " if about else "",
        words,
        f"; {hint}" if hint else "",
    )
    return make_printable("".join(parts))


# What to run after a run that ended early, or not at all, by its exit code.
AFTER = {
    OK: None,
    UNSAFE: "Next: uidsync sync --dry-run; if the plan is right, uidsync sync --force",
    BUG: "Next: the same command with -vv, which shows where the bug is",
}
AFTER_PLAN = "Next: if the plan is right, uidsync sync --force"
AFTER_ROWS = "Next: uidsync check, which shows what is wrong with the table"


def advise_next(report: SyncReport) -> str | None:
    """Say what to run after a run that did not go well; nothing after one that did."""
    if report.exit_code == UNSAFE and report.error:
        after_part = AFTER_PLAN if report.dry_run else AFTER[UNSAFE]
        return after_part if report.is_refused_in_part else AFTER_ROWS  # the rows were, before there was a plan
    if report.error and (missing := NO_SECRET.search(report.error.message)):
        return f"Next: {name_command(missing[1])}"
    if report.exit_code in AFTER:
        return AFTER[report.exit_code]
    failed = [part for part in report.targets if part.error]
    for part in failed:
        if part.error and needs_key(part.error.kind, part.error.message):
            return f"Next: uidsync keygen {part.name}"
    if not failed and any(part.logins.rejected or part.tags.rejected for part in report.targets):
        return "Next: uidsync status, which lists the rejected logins"
    return " ".join(("Next: uidsync check", *(f"--target {part.name}" for part in failed[:MOST_NAMED])))
