"""Whatever stands on the command line, the command ends with a code that it has, and without a trace."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import call
from uidsync.report import report

CODES = {report.OK, report.INCOMPLETE, report.USAGE, report.SOURCE, report.UNSAFE, report.LOCKED, report.UNREADABLE}
COMMANDS = ("sync", "check", "verify", "explain", "who", "withdraw", "status", "keygen", "config", "events")
OPTIONS = (
    "--dry-run", "--full", "--force", "--target", "--json", "--repair", "--log", "--at", "--all", "--help", "--version",
    "--config", "-v", "-vv", "-q", "--", "-", "-x", "--no", "--target=", "--config=/dev/null", "--log=x",
    "--by", "--format", "--columns", "--columns=", "--since", "--last=7d", "--query", "--device=x", "--nat", "--user",
    "--forget", "--agreement", "--proof", "--count=sessions", "--spreadsheet", "--no-who", "--log-type",
)  # fmt: skip
WORDS = (
    "10.0.0.1",
    "::1",
    "fe80::1%eth0",
    "ada",
    "CAMPUS\\ada",
    "fw",
    "uia",
    "yesterday",
    "2026-02-30 14:05",
    "schema",
    "spyware",
    "user",
    "report",
    "jsonl",
    "last",
    "(app eq ssh",
)

words = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(WORDS),
    st.sampled_from(COMMANDS),
    st.text(max_size=12).filter(lambda text: "\0" not in text),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Write a configuration whose every part is dead: nothing it names answers, and all of it fails at once."""
    place = tmp_path_factory.mktemp("site")
    file = place / "uidsync.toml"
    (place / "events.csv").write_text("clientHistId,transDate,currentIpAddress,principal\n1,2026-11-17,10.0.0.1,ada\n")
    target = 'host = "127.0.0.1"\nport = 9\nca_file = "/nowhere"\n'
    file.write_text(
        f'[source]\nkind = "csv"\npath = {json.dumps(str(place / "events.csv"))}\n'
        f'[sync]\ndeadline = "10s"\nstate_dir = {json.dumps(str(place / "state"))}\n'
        f'[[target]]\nname = "fw"\nkind = "firewall"\n{target}[[target]]\nname = "uia"\nkind = "agent"\n{target}'
    )
    return file


@settings(max_examples=60)
@given(st.sampled_from(COMMANDS), st.lists(words, max_size=4))
def test_any_words_end_in_a_known_way(site, command, rest):
    """Options in any number and order, with values that are none, before or after their command."""
    called = call("--config", site, command, *rest)
    assert called.code in CODES
    assert called.out or called.err or called.code == report.OK or "-q" in rest


@pytest.mark.parametrize(
    "words",
    ["sync --target=", "withdraw --all --target fw --target=", "who --at=", "sync --config=", "--config= sync"],
)
def test_an_option_without_a_value_is_refused(site, words):
    """An empty value, as of a script's unset variable, does not stand for all; the option is named."""
    called = call(*words.split(), environment={"UIDSYNC_CONFIG": str(site)})
    option = next(word for word in words.split() if word.endswith("="))
    assert (called.code, called.out) == (report.USAGE, "")
    assert f"{option[:-1]}: it is empty" in called.err


@settings(max_examples=30)
@given(st.lists(words, max_size=3))
def test_any_words_before_a_command_end_in_a_known_way(site, rest):
    """What is no command is told, with what there is."""
    assert call(*rest, environment={"UIDSYNC_CONFIG": str(site)}).code in CODES


@pytest.mark.parametrize(
    "environment",
    [
        {"UIDSYNC_CONFIG": "/nowhere"},
        {"UIDSYNC_CONFIG": ""},
        {"STATE_DIRECTORY": "/proc/x:/y"},
        {"RUNTIME_DIRECTORY": "/dev/null"},
        {"CREDENTIALS_DIRECTORY": "relative"},
        {"COLUMNS": "0", "LINES": "x"},
        {"COLUMNS": "-5"},
        {"TERM": "\udcff", "NO_COLOR": "1"},
        {"TMPDIR": "/nowhere", "HOME": "/nowhere"},
        {"TZ": "Mars/Olympus"},
        {"LANG": "xx_YY.UTF-99", "LC_ALL": "C"},
    ],
)
def test_an_odd_environment_is_no_trouble(site, environment):
    """Variables that name nothing, or nonsense, cost at most a clear refusal."""
    for command in ("sync", "status", "who", "explain"):
        rest = ["10.0.0.1"] if command in {"who", "explain"} else []
        assert call(command, *rest, environment={"UIDSYNC_CONFIG": str(site)} | environment).code in CODES
