"""Generates what the documentation says of the configuration and the commands: `make docs`.

One source for all: the models of the configuration and the help of the commands. From these come the shipped
uidsync.toml, the manual page uidsync.toml(5), and the parts of README.md and docs/ between
`<!-- generated: NAME -->` and `<!-- end -->`. With --check nothing is written: the exit code is 1 if a file is stale.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from inspect import get_annotations
from pathlib import Path
from typing import get_args

import durationpy
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo

from tests.functional.fault_matrix import make_summary
from uidsync import __version__
from uidsync.cli.app import GROUPS
from uidsync.cli.neighbours import Neighbours
from uidsync.config import models
from uidsync.config.describing import describe_keys, get_default
from uidsync.config.tables import list_fields
from uidsync.config.values import DAY, Table
from uidsync.integrations.events.columns import PROFILES

ROOT = Path(__file__).parents[1]
NEIGHBOURS = {name: model for name, model in Neighbours().items() if model}

# Each table of the file, and the models it may have. The first is shown as it is, the others as comments.
TABLES: dict[str, tuple[type[Table], ...]] = {
    "source": (models.MySQLConfig, models.CSVConfig),
    "identity": (models.IdentityConfig,),
    "roles": (models.RolesConfig,),
    "sync": (models.SyncConfig,),
    "telemetry": (models.TelemetryConfig,),
    **{name: (model,) for name, model in NEIGHBOURS.items()},
    "target": (models.FirewallConfig, models.AgentConfig),
}
# What both kinds have stands in tables of its own in docs/configuration.md.
SHARED = {"source": models.CSVConfig.__base__, "target": models.AgentConfig.__base__}
FIRST = ("name", "kind", "host", "hosts", "path")

# What uidsync.toml shows instead of a default: for required keys, and for those that have none.
EXAMPLES = {
    "source mysql": {
        "host": '"127.0.0.1"',
        "hosts": '["db1", "db2"]',
        "unix_socket": '"/run/mysqld/mysqld.sock"',
        "password_file": '"/etc/uidsync/credentials/source-password"',
        "idle_after": '"7d"',
    },
    "source csv": {"path": '"export.csv"', "idle_after": '"7d"'},
    "identity": {
        "domain": '"CAMPUS"',
        "ignore_users": '["svc-*", "*$"]',
        "rewrite": "[{ match = '^host/.*$', replace = \"\" }]",
    },
    "roles": {"user_tags": '{ "ROLE_FAC*" = "faculty" }', "address_tags": '{ "QUARANTINE*" = "quarantined" }'},
    "sync": {"state_dir": '"/var/lib/uidsync"'},
    "telemetry": {
        "textfile": '"/var/lib/prometheus/node-exporter/uidsync.prom"',
        "ping_url": '"https://hc-ping.com/your-uuid"',
    },
    "events": {
        "time_zone": '"Europe/Berlin"',
        "time_zones": '{ fw-east = "America/New_York" }',
        "textfile": '"/var/lib/prometheus/node-exporter/uidsync-events.prom"',
        "query": '{ mail = { log_type = "threat", filter = "(app eq smtp)" } }',
    },
    "relay": {
        "psk_file": '"/etc/uidsync/credentials/relay-psk"',
        "certificate_file": '"/etc/uidsync/relay.pem"',
        "key_file": '"/etc/uidsync/credentials/relay-tls-key"',
        "networks": '["192.0.2.0/24"]',
        "fqdn": '"myxdr.xdr.us.paloaltonetworks.com"',
        "api_key_id": '"7"',
        "api_key_file": '"/etc/uidsync/credentials/relay-api-key"',
        "proxy": '"http://proxy.example.edu:3128"',
        "empty_address": '"0.0.0.0"',
    },
    "tunnels": {"expected": '{ fw-east = ["HQ", "DC:net-a"] }'},
    "target firewall": {
        "name": '"fw-east"',
        "host": '"fw-east.example.edu"',
        "hosts": '["fw-east-a", "fw-east-b"]',
        "api_key_file": '"/etc/uidsync/credentials/fw-east-api-key"',
        "connections": "2",
    },
    "target agent": {
        "name": '"uia-1"',
        "host": '"uia-1.example.edu"',
        "ca_file": '"/etc/uidsync/uia-ca.pem"',
        "client_cert_file": '"/etc/uidsync/credentials/uia-1-client.pem"',
        "client_key_file": '"/etc/uidsync/credentials/uia-1-client-key"',
        "connections": "1",
    },
}
HEAD = """\
uidsync.toml: the configuration of uidsync.

A line such as "#key = value" is optional. It shows the default, or an example if there is no default.
Unknown keys are errors. Durations look like "90s", "45m", "4h" or "7d". Secrets are files, never values in here.
The manual page uidsync.toml(5) has the same text.
"""


def name_table(table: str, model: type[Table]) -> str:
    """Return the name of a table, with its kind if it may have several."""
    kind = list_fields(model).get("kind")
    return f"{table} {get_args(kind.type)[0]}" if kind else table


def describe(model: type[Table]) -> dict[str, str]:
    """Return the description of every key of a table. Ends with what to do if one is missing."""
    texts = describe_keys(model)
    if silent := list_fields(model).keys() - texts.keys():
        raise SystemExit(
            f"{model.__module__}: describe {', '.join(sorted(silent))} of {model.__name__}, below each key"
        )
    return texts


def list_keys(model: type[Table], *, own: bool = False) -> list[str]:
    """Return the keys of a table in the order in which they are shown: its own before those of both kinds."""
    shared = {key for base in model.__mro__[1:] for key in get_annotations(base)}
    keys = sorted(
        list_fields(model), key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST) + (key in shared)
    )
    return [key for key in keys if not own or key not in shared]


def write_value(value: object) -> str:
    """Write a default as TOML."""
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return f'"{write_duration(value)}"'
        case tuple():
            return f"[{', '.join(map(write_value, value))}]"
        case None | str() | Path():
            return f'"{value or ""}"'
        case _:
            return str(value)


def write_duration(value: timedelta) -> str:
    """Write a duration as people do: in days from two days on."""
    if value >= 2 * DAY and not value % DAY:
        return f"{value // DAY}d"
    return durationpy.to_str(value) if value else "0s"


def has_default(field: FieldInfo) -> bool:
    """Tell whether a key has a default that is worth showing."""
    return get_default(field) not in (NODEFAULT, None, "", ())


def write_toml() -> str:
    """Write the shipped uidsync.toml."""
    lines = [f"# {line}".rstrip() for line in HEAD.splitlines()]
    for table, kinds in TABLES.items():
        for number, model in enumerate(kinds):
            lines += ["", *write_comment(model.__doc__ or "")]
            header = f"[[{table}]]" if table == "target" else f"[{table}]"
            if number == 0:
                lines.append(header)
            elif table == "target":
                lines.append(f"#{header}")
            lines += write_keys(name_table(table, model), model, is_comment=number > 0)
    return "\n".join(lines) + "\n"


def write_comment(text: str) -> list[str]:
    """Write a text as a comment."""
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def write_keys(table: str, model: type[Table], *, is_comment: bool) -> Iterator[str]:
    """Yield the keys of a table, each below its description."""
    shown = ("kind", "host", "name")
    texts, examples = describe(model), EXAMPLES.get(table, {})
    for key in list_keys(model):
        field = list_fields(model)[key]
        if table == "source csv" and key not in ("kind", "path"):
            continue  # those of both kinds stand above
        value = (
            f'"{table.rsplit(maxsplit=1)[-1]}"'
            if key == "kind"
            else examples.get(key) or write_value(get_default(field))
        )
        mark = "#" if is_comment or key not in shown else ""
        yield from ("", *write_comment(texts[key]), f"{mark}{key} = {value}")


def write_table(model: type[Table], *, own: bool) -> str:
    """Write the keys of a table as Markdown."""
    texts, lines = describe(model), ["| key | default | meaning |", "|---|---|---|"]
    for key in list_keys(model, own=own):
        field = list_fields(model)[key]
        default = "required" if field.required else f"`{write_value(get_default(field))}`" if has_default(field) else ""
        lines.append(f"| `{key}` | {default} | {texts[key]} |")
    return "\n".join(lines)


def write_manual() -> str:
    """Write the manual page uidsync.toml(5), in roff with the macros of man(7)."""
    lines = [rf'.TH UIDSYNC.TOML 5 "" "uidsync {__version__}" "File formats"', ".nh", ".ad l", ".SH NAME"]
    lines += [r"uidsync.toml \- the configuration of uidsync", ".SH DESCRIPTION"]
    lines += ["The file is", r"\fI/etc/uidsync/uidsync.toml\fR,", "unless \\fB$UIDSYNC_CONFIG\\fR or"]
    lines += [r"\fB\-\-config\fR", "names another. It is written in TOML."]
    lines += ["Unknown keys are errors. Durations look like 90s, 45m, 4h or 7d, in quotes.", ".PP"]
    lines += [r"\fBuidsync config\fR prints a configuration to fill in, \fBuidsync check\fR tries it."]
    for table, kinds in TABLES.items():
        lines.append(f".SH [{table.upper()}]" if table != "target" else ".SH [[TARGET]]")
        for model in kinds:
            name, texts = name_table(table, model), describe(model)
            lines += [rf".SS kind = \(dq{name.rsplit(maxsplit=1)[-1]}\(dq"] if len(kinds) > 1 else []
            lines.append(spell(model.__doc__ or ""))
            for key in list_keys(model):
                field = list_fields(model)[key]
                default = (
                    "required" if field.required else write_value(get_default(field)) if has_default(field) else ""
                )
                lines += [
                    ".TP",
                    rf"\fB{spell(key)}\fR" + (f" ({spell(default)})" if default else ""),
                    spell(texts[key]),
                ]
    lines += [".SH FILES", r"\fI/etc/uidsync/uidsync.toml\fR", ".br", r"\fI/etc/uidsync/credentials/\fR"]
    return "\n".join([*lines, ".SH SEE ALSO", r"\fBuidsync\fR(1)"]) + "\n"


def spell(text: str) -> str:
    r"""Return a text that roff shows as it is; what stands in backquotes is bold."""
    for character, written in (("\\", r"\e"), ("-", r"\-"), ("'", r"\(aq"), ("^", r"\(ha"), ("~", r"\(ti")):
        text = text.replace(character, written)
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", text)


def write_commands() -> str:
    """Write the commands by purpose, each in the words of `uidsync --help`."""
    lines = ["| to | command | what it does |", "|---|---|---|"]
    for purpose, commands in GROUPS.items():
        lines += [
            f"| {'' if number else purpose} | `uidsync {name}` | {words} |"
            for number, (name, words) in enumerate(commands.items())
        ]
    return "\n".join(lines)


def write_parts() -> dict[str, str]:
    """Write every part that a page may have between its marks."""
    parts = {"commands": write_commands(), "faults": "\n".join(make_summary()), "event columns": write_columns()}
    for table, kinds in TABLES.items():
        if base := SHARED.get(table):
            parts[f"keys {table}"] = write_table(base, own=False)
        for model in kinds:
            parts[f"keys {name_table(table, model)}"] = write_table(model, own=len(kinds) > 1)
    return parts


def write_columns() -> str:
    """Write which columns each set has."""
    rows = (f"| `{name}` | {', '.join(f'`{column}`' for column in names)} |" for name, names in PROFILES.items())
    return "\n".join(("| set | columns |", "|---|---|", *rows))


def write_all() -> Iterator[tuple[Path, str]]:
    """Yield every file that is generated, in whole or in part, and what it should hold."""
    yield ROOT / "uidsync/uidsync.toml", write_toml()
    yield ROOT / "docs/man/uidsync.toml.5", write_manual()
    parts = write_parts()
    mark = r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)"
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text("utf-8")
        yield page, re.sub(mark, lambda found: f"{found[1]}{parts[found[2]]}\n\n{found[3]}", text, flags=re.DOTALL)


def main() -> None:
    """Write what is stale, or say what is."""
    stale = [(file, text) for file, text in write_all() if not file.exists() or file.read_text("utf-8") != text]
    for file, text in stale:
        print(f"{'stale' if '--check' in sys.argv else 'writing'}: {file.relative_to(ROOT)}")
        if "--check" not in sys.argv:
            file.write_text(text, "utf-8")
    if stale and "--check" in sys.argv:
        raise SystemExit("run `make docs`")


if __name__ == "__main__":
    main()
