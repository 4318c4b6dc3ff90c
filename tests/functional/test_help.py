"""What helps at the command line: the help of every command, the manual page, colours."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import call
from tests.functional.test_commands import converse
from tests.manual import PAGE, draw, find_commands, find_options
from uidsync.cli.app import GROUPS
from uidsync.report import report

WHOLE, CALLS = find_commands()
NAMES = [context.command_path.removeprefix("uidsync ") for context in CALLS]
EXIT_CODES = {report.OK, report.INCOMPLETE, report.USAGE, report.SOURCE, report.UNSAFE, report.LOCKED}
EXIT_CODES |= {report.UNREADABLE, report.BUG}
HERE = Path(__file__).parents[2]
README = (HERE / "README.md").read_text("utf-8")
WIDEST = 76  # characters of an example that a terminal of 80 shows on one line
ESCAPE = "\x1b"


def find_examples(context):
    """Return the examples in a command's help, without what is said of them."""
    part = context.command.help.partition("Examples:\n\n")[2]
    return [line.strip() for line in part.splitlines() if line.strip()]


@pytest.mark.parametrize("context", CALLS, ids=NAMES)
def test_help_teaches_by_example(context):
    """Every command's help has examples of itself, on lines that fit, with options that it has."""
    examples = find_examples(context)
    assert examples
    options = set(re.findall(r"(?<![\w-])--?[\w-]+", str([record[0] for record in find_options(context).values()])))
    for example in examples:
        assert len(example) <= WIDEST
        words = shlex.split(re.split(r" {2,}| [|>]", example)[0])
        assert context.command.name in example
        assert {word for word in words if word.startswith("-")} <= options, example


@pytest.mark.parametrize("context", CALLS, ids=NAMES)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_shows_the_examples_as_they_are(context, option):
    """The help has every example whole, on a line of its own; `-h` is short for `--help`."""
    called = call(*context.command_path.split()[1:], option, environment={"COLUMNS": "80"})
    assert called.code == 0
    assert set(find_examples(context)) <= {line.strip() for line in called.out.splitlines()}


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_shows_no_types_and_fits(name):
    """What a value is stands in capitals or in words, never as a type of Python's, on lines of 80 columns."""
    called = call(*name.split(), "-h", environment={"COLUMNS": "80"})
    assert not re.search(r"<(bool|str|list|Path|int)", called.out)
    assert max(map(len, called.out.splitlines())) <= 80


def test_help_lists_the_commands_by_purpose():
    """The list of commands has every command once, in a group, with its sentence on one line."""
    called = call("-h", environment={"COLUMNS": "80"})
    for group, commands in GROUPS.items():
        panel = called.out.partition(f"\u2500 {group} \u2500")[2].partition("\u2570")[0]
        assert re.findall(r"^\u2502 (\w+)", panel, re.MULTILINE) == list(commands)
        assert all(f"{words} " in panel for words in commands.values())


def test_the_manual_is_up_to_date():
    """The page says what the commands say; `python -m tests.manual` renews it."""
    assert draw() == PAGE.read_text("utf-8")


def test_an_exit_code_means_one_thing():
    """The README and the manual say of each code the same, and so does the help of the one command that has its own."""
    section = README.partition("## Exit codes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*?) \|$", section, re.MULTILINE)
    page = PAGE.read_text("utf-8").replace("\\-", "-").partition(".SH EXIT STATUS")[2].partition(".SH")[0]
    told = dict(re.findall(r"^\.TP\n\\fB(\d+)\\fR\n(.*)$", page, re.MULTILINE))
    assert {int(code) for code in told} == EXIT_CODES
    assert {code: words.replace("`", "") for code, words in rows} == told
    assert told["6"].removeprefix("verify: ") in " ".join(CALLS[NAMES.index("verify")].command.help.split())


@pytest.mark.parametrize("tool", [["groff", "-man", "-Tutf8", "-ww"], ["mandoc", "-Tlint", "-Wwarning"], ["lexgrog"]])
@pytest.mark.parametrize("name", ["uidsync.1", "uidsync.toml.5"])
def test_the_manual_is_well_formed(tool, name):
    """Groff, mandoc and man's own parser have nothing to say against either page."""
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    ended = subprocess.run([*tool, HERE / "docs/man" / name], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    complaints = [line for line in ended.stdout.splitlines() if tool[0] == "mandoc" and "missing date" not in line]
    assert complaints == []


@pytest.mark.parametrize("arguments", [["--help"], ["check", "-v", "--config", "/missing.toml"]])
def test_nothing_is_coloured_for_those_who_say_so(arguments, monkeypatch):
    """A terminal is shown colours; with NO_COLOR it is shown plain text, and so is what is no terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for value, is_coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", value)
        assert (ESCAPE in converse(arguments, [], afresh=True)[1]) == is_coloured
    monkeypatch.delenv("NO_COLOR")
    piped = subprocess.run([sys.executable, "-m", "uidsync", *arguments], capture_output=True, text=True, check=False)
    assert ESCAPE not in piped.stdout + piped.stderr


def test_a_configuration_that_is_missing_is_named_with_what_to_do():
    """The message names the file, and the command that writes one."""
    called = call("check", "--config", "/missing.toml")
    assert called.code == 2
    assert '"/missing.toml"' in called.err
    assert "`uidsync init` writes one" in called.err
