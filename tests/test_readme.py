"""README.md says what is so: the configuration, the commands, the exit codes, the report, the files and the demo."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import durationpy
import pytest
import typer
from pydantic_core import PydanticUndefined

from uidsync.cli import COMMANDS, load_commands
from uidsync.cli.app import app
from uidsync.cli.neighbours import find_neighbours
from uidsync.config.models import (
    STATE_DIR,
    AgentConfig,
    CSVConfig,
    FirewallConfig,
    IdentityConfig,
    MySQLConfig,
    SyncConfig,
    TelemetryConfig,
)
from uidsync.config.reader import make_config, make_model
from uidsync.deliver.reconcile import FIRST_PAUSE, MOST_ASKED, TOLD
from uidsync.integrations.exporter.config import ExporterConfig
from uidsync.integrations.relay.config import RelayConfig
from uidsync.integrations.tunnels.config import TunnelsConfig
from uidsync.ledger.values import MINUTE
from uidsync.panos.userid.agent import FIRST_WAIT, LATER_WAIT
from uidsync.panos.userid.messages import LONGEST_NAME
from uidsync.panos.wire.retries import RetryPolicy
from uidsync.reading.census import AHEAD_PERCENT, NEWEST_ROWS
from uidsync.report import report

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")

# Which tables of the README, by the words above them, tell the keys of which model.
TABLES = {
    MySQLConfig: ("[source]", "[source] mysql"),
    CSVConfig: ("[source]", "[source] csv"),
    IdentityConfig: ("[identity]",),
    SyncConfig: ("[sync]",),
    TelemetryConfig: ("[telemetry]",),
    TunnelsConfig: ("[tunnels]",),
    ExporterConfig: ("[exporter]",),
    RelayConfig: ("[relay]",),
    FirewallConfig: ("[[target]]", "[[target]] firewall"),
    AgentConfig: ("[[target]]", "[[target]] agent"),
}
# What `uidsync config` shows by an example, for the default is "none" or a place that is looked in anyway.
EXAMPLES = {
    "domain", "ignore_users", "rewrite", "idle_after", "password_file", "api_key_file", "client_cert_file",
    "client_key_file", "state_dir", "ca_file", "textfile", "ping_url", "psk_file", "key_file", "fqdn", "api_key_id",
}  # fmt: skip


def read_section(heading):
    """Return the text below a heading, down to the next of its level or above."""
    level = heading.partition(" ")[0]
    body = README.partition(f"\n{heading}\n")[2]
    assert body, f"README has no {heading}"
    return re.split(rf"^#{{1,{len(level)}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]


def read_rows(text):
    """Return the rows of the tables in a text, without their heads."""
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def read_keys():
    """Return the default of every key as the README has it, by the table that it is in."""
    keys = {}
    for name in ("[source]", "[identity]", "[sync]", "[telemetry]", "[tunnels]", "[exporter]", "[relay]", "[[target]]"):
        parts = re.split(r'^`kind = "(\w+)"`', read_section(f"### `{name}`"), flags=re.MULTILINE)
        for kind, text in zip(["", *parts[1::2]], parts[::2], strict=True):
            keys[f"{name} {kind}".strip()] = {row[0].strip("`"): row[1] for row in read_rows(text)}
    return keys


def read_shown(*, csv=False):
    """Return `uidsync config` as parsed, with every optional line made a real one."""
    text = run("config")
    if csv:  # the last lines of [source] are the other kind
        head, _, rest = text.partition('#kind = "csv"')
        text = "[source]\n" + '#kind = "csv"' + rest
        assert head
    else:
        text = re.sub(r'^#kind = "csv"\n(?:#.*\n)*', "", text, flags=re.MULTILINE)
    return tomllib.loads(re.sub(r"^#(?=[a-z_0-9]+ = |\[\[|  \{|\])", "", text, flags=re.MULTILINE))


def run(*arguments, **environment):
    """Run the real command and return what it prints."""
    command = [sys.executable, "-m", "uidsync", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=True)
    return ended.stdout


def is_told(default, cell):
    """Tell whether a cell of the README gives this default: as TOML, or in words where there is nothing to give."""
    if default in (PydanticUndefined, None, "", ()):
        return re.fullmatch(r"`[^`]*`", cell) is None
    value = tomllib.loads(f"x = {cell.strip('`')}")["x"]
    return cell.startswith("`") and (durationpy.from_str(value) if isinstance(default, timedelta) else value) == default


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
def test_every_key_is_told_with_its_default(model):
    """The README has each key of the configuration, no other, and the default that it really has."""
    keys = read_keys()
    told = {key: cell for table in TABLES[model] for key, cell in keys[table].items()}
    assert told.keys() == model.model_fields.keys()
    assert [key for key, field in model.model_fields.items() if not is_told(field.default, told[key])] == []


def test_no_other_key_is_told():
    """Every table of keys belongs to a model."""
    assert read_keys().keys() == {table for tables in TABLES.values() for table in tables}


def test_the_annotated_configuration_has_every_key():
    """`uidsync config` shows each key, and no key is unknown."""
    text = run("config")
    shown = set(re.findall(r"^#?([a-z_0-9]+) = |# or (\w+) = ", text, re.MULTILINE))
    shown = {key or other for key, other in shown}
    known = {key for model in TABLES for key in model.model_fields}
    assert shown == known


@pytest.mark.parametrize("csv", [False, True], ids=["mysql", "csv"])
def test_the_annotated_configuration_tells_the_defaults(csv):
    """With every optional line made a real one, `uidsync config` is valid and changes no default."""
    document = read_shown(csv=csv)
    config = make_config(document, "uidsync config", find_neighbours())
    assert config.source.validity == timedelta(days=7)
    assert config.sync.state_dir == STATE_DIR
    for place, table in walk(document):
        model = find_model(place, table)
        for key in table.keys() - EXAMPLES:
            default = model.model_fields[key].default
            if default is not PydanticUndefined and key != "host":
                value = durationpy.from_str(table[key]) if isinstance(default, timedelta) else table[key]
                assert (key, value or None) == (key, default or None)


def test_the_annotated_configuration_is_valid_as_it_is():
    """What `uidsync config` prints is a configuration, with nothing filled in."""
    make_config(tomllib.loads(run("config")), "uidsync config", find_neighbours())


def walk(document):
    """Return the tables of a parsed configuration, each with its place."""
    for place, value in document.items():
        for table in value if isinstance(value, list) else [value]:
            yield place, table


def find_model(place, table):
    """Return the model of a table."""
    kinds = {"mysql": MySQLConfig, "csv": CSVConfig, "firewall": FirewallConfig, "agent": AgentConfig}
    return kinds[table["kind"]] if "kind" in table else make_model(find_neighbours()).model_fields[place].annotation


def test_the_examples_are_configurations():
    """The README's first piece of TOML is a configuration; each later one is, put into the first."""
    whole, *parts = [
        tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    ]
    make_config(whole, "README.md", find_neighbours())
    assert parts
    for part in parts:
        make_config(whole | part, "README.md", find_neighbours())


def test_the_commands_are_told_in_their_own_words():
    """The README has every command, with the first line of its own help."""
    load_commands(COMMANDS)
    quoted = dict(re.findall(r"^uidsync (\w+) +([A-Z].*)$", read_section("## Running"), re.MULTILINE))
    commands = typer.main.get_command(app).commands
    assert quoted == {name: command.help.partition("\n")[0] for name, command in commands.items()}


def test_options_that_are_named_exist():
    """Every option that the README gives a command is one that it has."""
    for name, command in typer.main.get_command(app).commands.items():
        known = {option for parameter in command.params for option in parameter.opts}
        used = {
            o
            for line in re.findall(rf"\b{name} (--?\w[^`\n]*)", README)
            for o in re.findall(r"(?<!\S)--?[a-z-]+", line)
        }
        assert used <= known, name


def test_the_exit_codes_are_those_of_the_report():
    """The table of exit codes has each that uidsync ends with, and no other."""
    codes = {
        report.OK, report.INCOMPLETE, report.USAGE, report.SOURCE, report.UNSAFE, report.LOCKED, report.UNREADABLE,
        report.BUG,
    }  # fmt: skip
    assert {int(row[0]) for row in read_rows(read_section("### Exit codes"))} == codes


def test_every_field_of_the_report_is_told():
    """The table of the report's fields has each field that a report has, and no other."""
    part = report.TargetReport("fw", "firewall")
    real = set(flatten(report.SyncReport("id", datetime.now(UTC), targets=[part]).to_json()))
    section = read_section("## Health")
    told = {field for row in read_rows(section) for field in re.findall(r"`([\w.]+)(?:\[\])?`", row[0])}
    tally = {field for row in read_rows(section) if "`logins`" in row[0] for field in re.findall(r"`(\w+)`", row[1])}
    kinds = {kind for row in read_rows(section) if "`held_back`" in row[0] for kind in re.findall(r"`(\w+)`", row[1])}
    assert told | tally | kinds == real


def flatten(value, prefix=""):
    """Return the names of a report's fields: those of the source with its name before them, as the README does."""
    for key, inner in value.items():
        if isinstance(inner, Mapping) and key == "source":
            yield from flatten(inner, "source.")
        else:
            yield prefix + key
            for item in inner if isinstance(inner, list) else [inner]:
                yield from flatten(item) if isinstance(item, Mapping) and item else ()


def test_log_events_that_are_named_exist():
    """Every event that the README says to watch for is one that the code logs."""
    code = "".join(file.read_text("utf-8") for file in (ROOT / "uidsync").rglob("*.py"))
    prose = re.sub(r"^\|.*", "", read_section("## Health"), flags=re.MULTILINE)
    named = re.findall(r"`([a-z]+\.[a-z_]+)`", prose)
    assert "sync.finished" in named
    assert [event for event in named if f'"{event}"' not in code] == []


def test_files_that_are_named_exist():
    """Every file of the project that the README names or links to is there, and each name is its link."""
    links = re.findall(r"\[([^\]]*)\]\(([^)]*)\)", README)
    own = [(name, path) for name, path in links if "://" not in path]
    assert [path for _, path in own if not (ROOT / path).exists()] == []
    assert [name for name, path in own if "/" in name and name != path] == []
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    bare = re.findall(rf"`((?:{folders})/[\w./-]+)`", README)
    assert [path for path in bare if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "words",
    [
        f"{FIRST_WAIT} s after a run's first message, {LATER_WAIT} s after later ones",
        f"for up to {RetryPolicy().seconds:.0f} s a target",
        f"over {AHEAD_PERCENT} % of the newest {NEWEST_ROWS:,} rows",
        f"a name over {LONGEST_NAME} characters",
        f"asks each firewall for {TOLD} to {MOST_ASKED} mappings",
        f"{FIRST_PAUSE // MINUTE} minutes",
    ],
)
def test_figures_are_those_of_the_code(words):
    """A figure that the README gives is the one that the code works by."""
    assert words in " ".join(README.split())


def test_the_index_brings_and_costs_what_was_measured():
    """The README's figures for the index are those of the file that makes it."""
    (told,) = [line for line in re.split(r"^ *[*\d]", README, flags=re.MULTILINE) if "[sql/index.sql]" in line]
    measured = (ROOT / "sql/index.sql").read_text("utf-8")
    figures = re.findall(r"\d[\d.]* (?:s|MB|million|thousand)\b", told)
    assert len(figures) == len(set(figures)) > 4
    assert [figure for figure in figures if figure not in measured] == []


def test_the_demo_shows_what_the_readme_shows():
    """The demo's output holds the README's excerpt, line by line, but for seconds and the port of the dead target."""
    quoted = re.search(r"^```\n(uidsync sync\n.*?)^```", README, re.DOTALL | re.MULTILINE).group(1)
    assert level(quoted) in level(run("demo", COLUMNS="80"))


def level(text):
    """Return a text with what differs from run to run made alike, and without blanks at the ends of lines."""
    text = re.sub(r" +$", "", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", text), flags=re.MULTILINE)
    return re.sub(r"\d+\.\d\d$", "0.00", text, flags=re.MULTILINE)


def test_the_schema_is_one():
    """`uidsync config schema` prints JSON that knows every table."""
    assert json.loads(run("config", "schema"))["properties"].keys() == make_model(find_neighbours()).model_fields.keys()
