"""What the shells complete, asked of the real shells, where they are."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.limits import PATIENCE

COMMAND = [sys.executable, "-m", "uidsync"]
CONFIG = """
[source]
kind = "csv"
path = "events.csv"

[[target]]
name = "fw-east"   # the secret is elsewhere
kind = "firewall"
api_key_file = "/etc/uidsync/credentials/fw-east-api-key"

[[target]]
kind = 'agent'
name = 'uia-1'

[other]
name = "nobody"
"""


@pytest.fixture(scope="module")
def write_completion():
    """Return what writes a shell's completion, each written once."""
    written = {}

    def write(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        if shell not in written:
            ended = subprocess.run(
                COMMAND, env=os.environ | {"_UIDSYNC_COMPLETE": f"source_{shell}"}, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            written[shell] = ended.stdout
        return written[shell]

    return write


@pytest.fixture(params=["bash", "zsh", "fish"])
def complete(request, tmp_path, write_completion):
    """Return what asks a shell for the words that may come next; nothing but those is ever shown."""
    script = tmp_path / "_uidsync"
    script.write_text(write_completion(request.param))
    (tmp_path / "uidsync.toml").write_text(CONFIG)
    (tmp_path / "uidsync").write_text(f"#!/bin/sh\nexec {shlex.join(COMMAND)}\n")
    (tmp_path / "uidsync").chmod(0o755)
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "TERM": "dumb",
        "UIDSYNC_CONFIG": str(tmp_path / "uidsync.toml"),
    }
    ask = {"bash": ask_bash, "zsh": ask_zsh, "fish": ask_fish}[request.param]
    return lambda line, **more: ask(script, line, environment | more)


def ask_bash(script, line, environment):
    """Return what bash would offer."""
    *words, _ = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in line.split(" "))
    ask = f". {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _uidsync_completion uidsync"
    return run(["bash", "--norc", "-c", f'{ask}; printf "%s\\n" "${{COMPREPLY[@]}}"'], environment)


def ask_fish(script, line, environment):
    """Return what fish would offer, without what it says of each."""
    offered = run(["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"], environment)
    return {word.partition("\t")[0] for word in offered}


def run(command, environment):
    """Return the lines that a shell prints; it complains of nothing."""
    ended = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ended.stderr == ""
    return set(ended.stdout.split("\n")) - {""}


# Zsh completes on a terminal alone: one inside zsh, where what completion would add is noted instead.
CAPTURE = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; autoload -Uz compinit; compinit -u -D; . $SCRIPT"
zpty -w shell 'compadd() { if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return $?; fi
    local -a noted; builtin compadd -A noted "$@"; print -r -- offered:${^noted}; }'
zpty -w shell "bindkey '^I' complete-word; all() { zle -I; print offered-all; }; zle -N all; bindkey '^X' all"
zpty -w shell 'print we-are'-ready
while zpty -r shell shown; do [[ $shown == *we-are-ready* ]] && break; done
zpty -n -w shell "$LINE"$'\t\x18'
while zpty -r shell shown; do print -r -- $shown; [[ $shown == *offered-all* ]] && break; done
zpty -d shell
"""


def ask_zsh(script, line, environment):
    """Return what zsh would offer."""
    shown = run(["zsh", "-f", "-c", CAPTURE], environment | {"SCRIPT": str(script), "LINE": line})
    return {word for text in shown for word in re.findall(r"offered:(\S+)", text)}


def test_commands_are_offered(complete):
    """The first word is a command, and every one is there."""
    assert {"sync", "check", "who", "config", "withdraw"} <= complete("uidsync ")
    assert complete("uidsync sy") - {"sync"} == set()


def test_options_are_offered(complete):
    """Each command has its own options, and the common ones."""
    offered = complete("uidsync sync --")
    assert {"--dry-run", "--target", "--config", "--json"} <= offered
    assert "--repair" not in offered
    assert "--repair" in complete("uidsync verify --")


def test_choices_are_offered(complete):
    """A word that is one of a few is offered as those."""
    assert {"firewall", "agent"} <= complete("uidsync simulate ")


@pytest.mark.parametrize("line", ["uidsync sync --target ", "uidsync keygen "])
def test_targets_are_offered_by_name(complete, tmp_path, line):
    """Names of targets come from the configuration, also one named on the line; nothing else of it does."""
    names = {"fw-east", "uia-1"}
    assert complete(line) & {"nobody", *names} == names
    (tmp_path / "other.toml").write_text('[[target]]\nname = "fw-other"\n')
    assert complete(f"{line.replace('uidsync', f'uidsync --config {tmp_path}/other.toml')}") & {*names, "fw-other"} == {
        "fw-other"
    }


def test_an_odd_configuration_is_kept_quiet(complete, tmp_path):
    """A configuration that is missing, a pipe or no text gives no names, no complaint and no wait."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 9)
    for name in ("missing", "pipe", "noise"):
        offered = complete("uidsync sync --target ", UIDSYNC_CONFIG=str(tmp_path / name))
        assert offered & {"fw-east", "uia-1", name} == set()
