"""What helps at the command line: the help of every command, the manual page, colours."""

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import call
from uidsync.cli import load_commands
from uidsync.cli.grammar import read_commands
from uidsync.cli.manual import EXIT_CODES, write_manual

load_commands(())
WHOLE, *OTHERS = COMMANDS = tuple(read_commands())
GROUPS = {command.words[:-1] for command in OTHERS}
CALLS = [command for command in OTHERS if command.words not in GROUPS]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
WIDEST = 76  # characters of an example that a terminal of 80 shows on one line
ESCAPE = "\x1b"


def find_examples(command):
    """Return the examples in a command's help, without what is said of them."""
    part = command.help.partition("Examples:\n\n")[2]
    return [line.strip() for line in part.splitlines() if line.strip()]


def named(command):
    """Name a test for its command."""
    return "-".join(command.words)


@pytest.mark.parametrize("command", CALLS, ids=named)
def test_help_teaches_by_example(command):
    """Every command's help has examples of itself, on lines that fit, with options that it has."""
    examples = find_examples(command)
    assert examples
    options = {option for options in (command.options, WHOLE.options) for each in options for option in each.names}
    for example in examples:
        assert len(example) <= WIDEST
        words = shlex.split(re.split(r" {2,}| [|>]", example)[0])
        assert " ".join(command.words) in " ".join(words)
        assert {word for word in words if word.startswith("-")} <= options, example


@pytest.mark.parametrize("command", CALLS, ids=named)
def test_help_shows_the_examples_as_they_are(command):
    """What `--help` prints has every example whole, on a line of its own."""
    called = call(*command.words, "--help", environment={"COLUMNS": "80"})
    assert called.code == 0
    assert set(find_examples(command)) <= {line.strip() for line in called.out.splitlines()}


def test_the_manual_tells_everything():
    """The page has every command, option and example, and every exit code that the README has."""
    page = "\n".join(write_manual(COMMANDS)).replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")
    for command in CALLS:
        assert f".SS uidsync {' '.join(command.words)}\n" in page
        assert [line for line in find_examples(command) if line not in page] == []
        assert [name for option in command.options for name in option.names if rf"\fB{name}\fR" not in page] == []
    assert sorted(EXIT_CODES) == [0, 1, 2, 3, 4, 5, 6, 70]


def test_an_exit_code_means_one_thing():
    """The README and the manual say of each code the same, and so does the help of the one command that has its own."""
    rows = dict(
        re.findall(r"^\| (\d+) \| (.*?) \|$", README.partition("## Exit codes")[2], re.MULTILINE)[: len(EXIT_CODES)]
    )
    assert {int(code): words.replace("`", "") for code, words in rows.items()} == EXIT_CODES
    (verify,) = [command for command in CALLS if command.words == ("verify",)]
    assert EXIT_CODES[6].removeprefix("verify: ") in " ".join(verify.help.split())


@pytest.mark.parametrize("tool", [["groff", "-man", "-Tutf8", "-ww"], ["mandoc", "-Tlint", "-Wwarning"], ["lexgrog"]])
@pytest.mark.parametrize("name", ["uidsync.1", "uidsync.toml.5"])
def test_the_manual_is_well_formed(tool, name, tmp_path):
    """Groff, mandoc and man's own parser have nothing to say against either page."""
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    page = tmp_path / name
    if name == "uidsync.1":
        command = [sys.executable, "-m", "uidsync.cli.manual"]
        page.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    else:
        shutil.copy(ROOT / "docs/man" / name, page)
    ended = subprocess.run([*tool, page], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    complaints = [line for line in ended.stdout.splitlines() if tool[0] == "mandoc" and "missing date" not in line]
    assert complaints == []


def show(arguments, **environment):
    """Return what a command shows on a terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(environment)
        os.execv(sys.executable, [sys.executable, "-m", "uidsync", *arguments])  # noqa: S606 (that is the point)
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as conversation:
        while True:
            try:
                shown += conversation.read(4096)
            except OSError:  # the terminal is gone with the command
                break
    os.waitpid(child, 0)
    return shown.decode()


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--config", "/missing.toml"]])
def test_nothing_is_coloured_for_those_who_say_so(arguments):
    """A terminal is shown colours; with NO_COLOR it is shown plain text, and so is what is no terminal."""
    assert ESCAPE in show(arguments, TERM="xterm-256color", NO_COLOR="")
    assert ESCAPE not in show(arguments, TERM="xterm-256color", NO_COLOR="1")
    piped = subprocess.run(
        [sys.executable, "-m", "uidsync", *arguments], capture_output=True, text=True, check=False,
        env=os.environ | {"TERM": "xterm-256color"},
    )  # fmt: skip
    assert ESCAPE not in piped.stdout + piped.stderr


def test_a_configuration_that_is_missing_is_named_with_what_to_do():
    """The message names the file, and the command that prints one."""
    called = call("check", "--config", "/missing.toml")
    assert called.code == 2
    assert '"/missing.toml"' in called.err
    assert "`uidsync config` prints one" in called.err
