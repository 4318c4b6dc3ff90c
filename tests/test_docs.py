"""The documentation says what is so: configuration, commands, exit codes, report, figures, files, links, the demo."""

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
import yaml
from msgspec import NODEFAULT

from docs.generate import TABLES, write_parts
from tests.command import call
from uidsync.cli import COMMANDS, load_commands
from uidsync.cli.app import SUMMARIES, app
from uidsync.cli.neighbours import Neighbours
from uidsync.config.describing import describe_keys, get_default
from uidsync.config.models import (
    CSVConfig,
)
from uidsync.config.reader import make_config, make_model
from uidsync.config.tables import list_fields
from uidsync.deliver.reconcile import FIRST_PAUSE, MOST_ASKED, TOLD
from uidsync.ledger.values import MINUTE
from uidsync.panos.userid.agent import FIRST_WAIT, LATER_WAIT
from uidsync.panos.userid.messages import LONGEST_NAME
from uidsync.panos.wire.retries import RetryPolicy
from uidsync.reading.census import AHEAD_PERCENT, NEWEST_ROWS
from uidsync.report import report

ROOT = Path(__file__).parents[1]
PAGES = {
    file.relative_to(ROOT).as_posix(): file.read_text("utf-8")
    for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
}
README, MONITORING = PAGES["README.md"], PAGES["docs/monitoring.md"]
LONGEST_README = 200  # lines: it is an entrance
# What is a link between pages, or to a picture; the text of one may be an anchor of another.
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]*)\)")

MODELS = tuple(model for kinds in TABLES.values() for model in kinds)


def read_section(page, heading):
    """Return the text below a heading of a page, down to the next of its level or above."""
    level = heading.partition(" ")[0]
    body = page.partition(f"\n{heading}\n")[2]
    assert body, f"there is no {heading}"
    return re.split(rf"^#{{1,{len(level)}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]


def read_rows(text):
    """Return the rows of the tables in a text, without their heads."""
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def show(*words):
    """Call a command that ends well, and return what it prints."""
    called = call(*words)
    assert called.code == 0, called.err
    return called.out


def test_every_part_is_in_a_page():
    """Each table of the configuration, and whatever else is generated, stands in a page."""
    assert [
        name for name in write_parts() if not any(f"<!-- generated: {name} -->" in text for text in PAGES.values())
    ] == []


def test_what_is_generated_is_up_to_date():
    """The shipped uidsync.toml, its manual page and the tables of the documentation are what the models say now."""
    command = [sys.executable, "-m", "docs.generate", "--check"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_described(model):
    """Each key of the configuration has a description, which ends as a sentence does."""
    texts = describe_keys(model)
    assert texts.keys() == list_fields(model).keys()
    assert [key for key, text in texts.items() if not text.endswith(".")] == []


def test_the_schema_describes_every_key():
    """`uidsync config schema` prints JSON that knows every table, and what each key means."""
    schema = json.loads(show("config", "schema"))
    assert schema["properties"].keys() == list_fields(make_model(Neighbours())).keys()
    for model in MODELS:
        shown = schema["$defs"][model.__name__]["properties"]
        assert {key: value["description"] for key, value in shown.items()} == describe_keys(model)


@pytest.mark.parametrize(
    ("table", "key", "shown"),
    [
        ("MySQLConfig", "kind", {"enum": ["mysql"]}),
        ("MySQLConfig", "port", {"type": "integer", "minimum": 1, "maximum": 65535, "default": 3306}),
        ("MySQLConfig", "database", {"type": "string", "minLength": 1, "default": "backupDB"}),
        ("IdentityConfig", "domain", {"type": "string", "maxLength": 64, "pattern": r"^[^\\@,]*$", "default": ""}),
        ("IdentityConfig", "rewrite", {"type": "array", "items": {"$ref": "#/$defs/Rewrite"}, "default": []}),
        ("SyncConfig", "deadline", {"type": "string", "format": "duration", "default": "PT300S"}),
        ("FirewallConfig", "host", {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
        ("FirewallConfig", "fingerprint_sha256",
         {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "default": []}),
        ("RolesConfig", "user_tags",
         {"anyOf": [{"enum": ["all"]}, {"type": "object", "additionalProperties": {"type": "string"}}]}),
    ],
)  # fmt: skip
def test_the_schema_says_what_a_key_may_be(table, key, shown):
    """An editor learns of types, limits, choices, and what else may stand in the place of a value."""
    said = json.loads(show("config", "schema"))["$defs"][table]["properties"][key]
    assert {name: value for name, value in said.items() if name != "description"} == shown


def test_the_schema_knows_the_kinds_and_what_is_needed():
    """A source is one of two tables, targets are a list of them, and both are needed."""
    schema = json.loads(show("config", "schema"))
    kinds = [{"$ref": f"#/$defs/{name}"} for name in ("FirewallConfig", "AgentConfig")]
    assert schema["properties"]["target"]["items"] == {"anyOf": kinds}
    assert schema["required"] == ["source", "target"]
    assert schema["$defs"]["Rewrite"]["required"] == ["match", "replace"]
    assert schema["additionalProperties"] is schema["$defs"]["Rewrite"]["additionalProperties"] is False


def read_shown():
    """Return the tables of `uidsync config`, with every optional line made a real one: the kind, and its keys."""
    tables = re.split(r"^#?(?=\[)|^(?=#kind = \"csv\")", show("config"), flags=re.MULTILINE)[1:]
    texts = [re.sub(r"^#(?=[a-z_0-9]+ = )", "", table, flags=re.MULTILINE) for table in tables]
    return [(re.match(r"\[*(\w*)", text)[1], tomllib.loads(re.sub(r"^\[.*", "", text))) for text in texts]


def test_the_annotated_configuration_has_every_key():
    """`uidsync config` shows each key of each table and kind, and no other."""
    shown = {frozenset(table) for _, table in read_shown()}
    shared = frozenset(CSVConfig.__base__.__struct_fields__)
    whole = {table | shared if table == {"kind", "path"} else table for table in shown}
    assert whole == {frozenset(model.__struct_fields__) for model in MODELS}


@pytest.mark.parametrize("place", range(len(MODELS)), ids=lambda place: MODELS[place].__name__)
def test_every_line_of_the_annotated_configuration_is_valid(place):
    """Each optional line, made a real one, is valid, and is the default where there is one."""
    models = {frozenset(model.__struct_fields__): model for model in MODELS}
    models[frozenset({"kind", "path"})] = CSVConfig
    _, table = read_shown()[place]
    model = models[frozenset(table)]
    needed = {key: table[key] for key in ("kind", "name", "host", "path") if key in table}
    for key, value in table.items():
        base = {other: needed[other] for other in needed if not (key == "hosts" and other == "host")}
        read = getattr(model.read({**base, key: value})[0], key)
        default = get_default(list_fields(model)[key])
        if default not in (NODEFAULT, None, "", (), {}):
            assert (key, read) == (key, default)


def test_the_annotated_configuration_is_valid_as_it_is():
    """What `uidsync config` prints is a configuration, with nothing filled in."""
    config = make_config(tomllib.loads(show("config")), "uidsync config", Neighbours())
    assert config.source.validity == timedelta(days=7)


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if "```toml" in text])
def test_the_examples_are_configurations(page):
    """The README's piece of TOML is a configuration; those of other pages are, or are parts put into that one."""
    (whole,) = find_toml(README)
    for text in find_toml(PAGES[page]):
        make_config(whole | text, page, Neighbours())


def find_toml(page):
    """Return what the pieces of TOML in a page say."""
    pieces = re.findall(r"^( *)```toml\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    return [tomllib.loads(textwrap.dedent(text)) for _, text in pieces]


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if "```yaml" in text])
def test_the_yaml_is_yaml(page):
    """Every piece of YAML can be read."""
    for text in re.findall(r"^```yaml\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE):
        assert yaml.safe_load(text)


def test_every_command_is_told():
    """The README has every command, in the order and the words of the list that --help shows."""
    told = {row[1].strip("`").partition(" ")[2]: row[2] for row in read_rows(read_section(README, "## Commands"))}
    assert list(told.items()) == [(name, words) for name, (_, words) in SUMMARIES.items()]


def test_options_that_are_named_exist():
    """Every option that the documentation gives a command is one that it has."""
    load_commands(COMMANDS)
    for name, command in typer.main.get_command(app).commands.items():
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        used = {
            o
            for line in re.findall(rf"\b{name} (--?\w[^`\n]*)", "\n".join(PAGES.values()))
            for o in re.findall(r"(?<!\S)--?[a-z-]+", line)
        }
        assert used <= known, name


def test_every_field_of_the_report_is_told():
    """The table of the report's fields has each field that a report has, and no other."""
    part = report.TargetReport("fw", "firewall")
    real = set(flatten(report.SyncReport("id", datetime.now(UTC), targets=[part]).to_json()))
    section = read_section(MONITORING, "## The report")
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
    """Every event that the documentation says to watch for is one that the code logs."""
    code = "".join(file.read_text("utf-8") for file in (ROOT / "uidsync").rglob("*.py"))
    named = re.findall(r"`([a-z]+\.[a-z_]+)`", read_section(MONITORING, "## The log"))
    assert "sync.finished" in named
    assert [event for event in named if f'"{event}"' not in code] == []


def find_anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def find_broken(page, text):
    """Find the links of a page that lead nowhere: to a file that is not there, or to a heading that no page has."""
    for _, link in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists() or (anchor and anchor not in find_anchors(file.read_text("utf-8"))):
            yield link


@pytest.mark.parametrize("page", PAGES)
def test_no_link_is_broken(page):
    """Every link inside the project leads to a file that is there, and to a heading that it has."""
    assert list(find_broken(page, PAGES[page])) == []


@pytest.mark.parametrize(
    "link", ["[a](docs/nothing.md)", "[a](docs/faults.md#nothing)", "![a](docs/images/no.png)", "[a](#no)"]
)
def test_a_broken_link_is_found(link):
    """The check sees a missing page, a missing heading and a missing picture."""
    assert list(find_broken("README.md", f"# A page\n\n{link}\n")) != []


def test_every_page_can_be_reached():
    """The README leads to every page of docs/, itself or by way of a page that it leads to."""
    seen, left = set(), ["README.md"]
    while left:
        page = left.pop()
        seen.add(page)
        for _, link in LINK.findall(PAGES[page]):
            file = (ROOT / page).parent / link.partition("#")[0]
            name = file.resolve().relative_to(ROOT).as_posix() if file.suffix == ".md" and "://" not in link else page
            left += [name] if name not in seen else []
    assert PAGES.keys() - seen == set()


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    """Every file of the project that a page names is there, and a link that has a path for its text leads there."""
    places = [path for place in (ROOT, ROOT / "uidsync") for path in place.iterdir() if path.is_dir()]
    folders = "|".join(path.name for path in places if path.name[0] not in "._")
    bare = re.findall(rf"`((?:{folders})/(?!\S*NAME)[\w./-]+)`", PAGES[page])
    assert [path for path in bare if not (ROOT / path).exists() and not (ROOT / "uidsync" / path).exists()] == []
    named = [(text, link) for text, link in LINK.findall(PAGES[page]) if re.match(rf"(?:{folders})/", text)]
    assert [text for text, link in named if ((ROOT / page).parent / link).resolve() != (ROOT / text).resolve()] == []


def test_the_readme_is_an_entrance():
    """The README is short, and says early that nobody has tried this on a real firewall."""
    assert len(README.splitlines()) <= LONGEST_README
    assert "never run against a real firewall" in README[: len(README) // 2]


@pytest.mark.parametrize(
    "words",
    [
        f"{FIRST_WAIT} s after a run's first message, {LATER_WAIT} s after later ones",
        f"for up to {RetryPolicy().seconds:.0f} s per target",
        f"over {AHEAD_PERCENT} % of the newest {NEWEST_ROWS:,} rows",
        f"name over {LONGEST_NAME} characters",
        f"asks each firewall for {TOLD} to {MOST_ASKED} mappings",
        f"at most every {['no', 'one', 'two', 'three', 'four', 'five'][FIRST_PAUSE // MINUTE]} minutes",
    ],
)
def test_figures_are_those_of_the_code(words):
    """A figure that the documentation gives is the one that the code works by."""
    assert words in " ".join("\n".join(PAGES.values()).split())


def test_the_index_brings_and_costs_what_was_measured():
    """The figures for the index are those of the file that makes it."""
    (told,) = re.findall(r"^In a table of 4 million.*?\n\n", PAGES["docs/install.md"], re.DOTALL | re.MULTILINE)
    measured = (ROOT / "sql/index.sql").read_text("utf-8")
    figures = re.findall(r"\d[\d.]* (?:s|MB|million|thousand)\b", told)
    assert len(figures) == len(set(figures)) > 4
    assert [figure for figure in figures if figure not in measured] == []


def test_the_demo_shows_what_the_readme_shows():
    """The demo runs by itself, past a dead target, and says what to do next.

    Its output holds the README's excerpt, line by line, but for seconds and the port of the dead target.
    """
    quoted = re.search(r"^```\n(uidsync sync\n.*?)^```", README, re.DOTALL | re.MULTILINE).group(1)
    command = [sys.executable, "-m", "uidsync", "demo"]
    environment = os.environ | {"COLUMNS": "80"}
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=True
    )
    assert level(quoted) in level(ended.stdout)
    for words in ("219 logins due", "fw-east holds 219 mappings", "uidsync init"):
        assert words in " ".join(ended.stdout.split())
    assert "Traceback" not in ended.stderr


def level(text):
    """Return a text with what differs from run to run made alike, and without blanks at the ends of lines."""
    text = re.sub(r" +$", "", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", text), flags=re.MULTILINE)
    return re.sub(r"\d+\.\d\d$", "0.00", text, flags=re.MULTILINE)
