"""uidsync.toml: a configuration, or everything that is wrong with it at once."""

import copy
import re
import tomllib
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from uidsync.cli.neighbours import Neighbours
from uidsync.config.models import (
    AgentConfig,
    CSVConfig,
    FirewallConfig,
    MySQLConfig,
)
from uidsync.config.reader import ConfigError, make_config, read_config

MINIMAL = """
[source]
kind = "csv"
path = "export.csv"

[[target]]
name = "fw-east"
kind = "firewall"
host = "fw-east.example.edu"
"""
FULL = """
[source]
kind = "mysql"
hosts = ["db1", "2001:db8::1"]
port = 3307
unix_socket = ""
database = "nac"
user = "reader"
password_file = "/etc/uidsync/credentials/source-password"
ca_file = ""
reauth_days = 3
idle_after = "40h"
time_offset = "-4h30m"

[identity]
domain = "CAMPUS"
lowercase = true
strip_realm = true
ignore_users = ["svc-*", "*$"]
rewrite = [{ match = '^host/(.*)$', replace = '\\1' }]
include_networks = ["10.0.0.0/8", "2001:db8::/32"]
exclude_networks = ["10.9.0.0/16"]

[sync]
batch_size = 50
full_every = "2h"
max_logout_percent = 10
max_change_percent = 0
deadline = "90s"
stale_after = "1d"
standby_lock = true
state_dir = "/srv/uidsync"

[telemetry]
textfile = "/srv/metrics/uidsync.prom"
ping_url = "https://hc.example.edu/uuid"

[[target]]
name = "fw-east"
kind = "firewall"
host = "fw-east.example.edu"
port = 4443
vsys = "vsys2"
networks = ["10.1.0.0/16"]
serial = "0011"
api_key_file = "/key"
fingerprint_sha256 = "AB:cd"
verify_tls = true
mapping_timeout = "60h"
request_timeout = "2.5s"
connections = 5
sole_writer = false

[[target]]
name = "uia-1"
kind = "agent"
host = "192.0.2.1"
ca_file = "/ca.pem"
client_cert_file = "/cert.pem"
client_key_file = "/key.pem"
mapping_timeout = "45m"
framing = "put"
send_timeout = true
""".replace("AB:cd", ":".join(["AB", "cd"] * 16))


def document(text=MINIMAL, **changes):
    """Parse a configuration, with values changed by their paths; "__" stands for a dot, None takes a key out."""
    parsed = copy.deepcopy(tomllib.loads(text))
    for path, value in changes.items():
        *tables, key = path.split("__")
        table = parsed
        for name in tables:
            table = table["target"][int(name)] if name.isdecimal() else table.setdefault(name, {})
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
    return parsed


def problems_of(parsed):
    """Return all that is wrong with a configuration."""
    with pytest.raises(ConfigError) as raised:
        make_config(parsed, "uidsync.toml")
    assert str(raised.value) == "\n".join(f"uidsync.toml: {problem}" for problem in raised.value.problems)
    return list(raised.value.problems)


# ---- what is right -----------------------------------------------------------------------------------------------


def test_little_is_enough():
    """A source and a target make a configuration; the rest has defaults."""
    config = make_config(document(), "uidsync.toml")
    assert isinstance(config.source, CSVConfig)
    assert (config.source.validity, config.source.time_offset) == (timedelta(days=7), timedelta())
    assert (config.sync.batch_size, config.sync.deadline) == (100, timedelta(minutes=5))
    (target,) = config.target
    assert isinstance(target, FirewallConfig)
    assert (target.port, target.vsys, target.verify_tls) == (443, "vsys1", True)
    assert target.mapping_timeout == timedelta(hours=24)


def test_every_key_is_read():
    """Each key of the configuration comes to its value."""
    config = make_config(document(FULL), "uidsync.toml")
    assert config.source == MySQLConfig(
        kind="mysql",
        hosts=("db1", "2001:db8::1"),
        port=3307,
        database="nac",
        user="reader",
        password_file=Path("/etc/uidsync/credentials/source-password"),
        ca_file=None,
        reauth_days=3,
        idle_after=timedelta(hours=40),
        time_offset=timedelta(hours=-4, minutes=-30),
    )
    assert config.source.validity == timedelta(hours=40)
    assert config.identity.rewrite[0].match == "^host/(.*)$"
    assert config.identity.include_networks == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    assert (config.sync.stale_after, config.sync.state_dir) == (timedelta(days=1), Path("/srv/uidsync"))
    firewall, agent = config.target
    assert (firewall.request_timeout, firewall.connections) == (timedelta(seconds=2.5), 5)
    assert isinstance(agent, AgentConfig)
    assert (agent.port, agent.framing, agent.mapping_timeout) == (5006, "put", timedelta(minutes=45))


@pytest.mark.parametrize(
    ("keys", "may_tell"),
    [
        ({}, False),
        ({"send_password_unverified": True}, True),
        ({"send_password_unverified": True, "ca_file": "/etc/ca.pem"}, False),
        ({"send_password_unverified": True, "unix_socket": "/run/mysqld.sock"}, False),
    ],
)
def test_the_password_is_told_to_anybody_only_when_asked(keys, may_tell):
    """The key alone allows it, and where the server is known there is nothing to allow."""
    source, _ = MySQLConfig.read({"kind": "mysql", "host": "db"} | keys)
    assert source.may_tell_anybody is may_tell


def test_a_configuration_does_not_change():
    """What was read stays as it was read."""
    config = make_config(document(), "uidsync.toml")
    with pytest.raises(AttributeError):
        config.sync.batch_size = 7


@pytest.mark.parametrize(("reauth_days", "idle_after", "hours"), [(7, "1h", 1), (1, "3d", 24), (2, None, 48)])
def test_an_event_is_believed_for_the_shorter_time(reauth_days, idle_after, hours):
    """Validity is the smaller of reauth_days and idle_after, which defaults to it."""
    parsed = document(source__reauth_days=reauth_days, source__idle_after=idle_after)
    assert make_config(parsed, "uidsync.toml").source.validity == timedelta(hours=hours)


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "mysql", "host": "db1"},
        {"kind": "mysql", "hosts": ["db1"]},
        {"kind": "mysql", "unix_socket": "/run/mysqld/mysqld.sock"},
        {"kind": "csv", "path": "-"},
    ],
)
def test_every_place_of_a_source_will_do(source):
    """A host, several, a socket, a file or standard input."""
    assert make_config(document() | {"source": source}, "uidsync.toml")


# ---- what is wrong -----------------------------------------------------------------------------------------------


def test_all_problems_come_at_once():
    """Whoever writes a configuration learns of everything that is wrong with it, each with its path."""
    parsed = document(
        source__kind="mysql",
        source__port=0,
        identity__rewrite=[{"match": "(", "replace": ""}, {"match": "a"}],
        sync__batch_size=1000,
        sync__deadlin="5m",
        telemtry={},
        **{"0__name": "fw east", "0__vsys": "1", "0__networks": ["10.0.0.1/8"]},
    )
    parsed["target"].append({"name": "uia-1", "kind": "agent"})
    problems = problems_of(parsed)
    assert sorted(problem.partition(": ")[0] for problem in problems) == [
        "identity.rewrite[0].match",
        "identity.rewrite[1].replace",
        "source.host",
        "source.path",
        "source.port",
        "sync.batch_size",
        "sync.deadlin",
        'target "uia-1"',
        "target[0].name",
        "target[0].networks[0]",
        "target[0].vsys",
        "telemtry",
    ]


FW_EAST = 'target "fw-east": '
WRONG = [
    # what is missing
    ({"source": None}, "source: missing"),
    ({"target": None}, "target: missing"),
    ({"target": []}, "target: none; at least one [[target]] is needed"),
    ({"source__kind": None}, "source: kind is missing"),
    ({"source__path": None}, "source.path: missing"),
    ({"0__kind": None}, 'target "fw-east": kind is missing'),
    ({"0__name": None}, "target[0].name: missing"),
    ({"0__host": None}, 'target "fw-east": host: missing'),
    ({"identity__rewrite": [{"match": "a"}]}, "identity.rewrite[0].replace: missing"),
    # what is of another kind
    ({"source": "csv"}, "source: must be a table"),
    ({"sync": 5}, "sync: must be a table"),
    ({"target": {"name": "fw"}}, "target: write [[target]] with two brackets, once for each target"),
    ({"target": ["fw"]}, "target[0]: must be a table"),
    ({"source__kind": "oracle"}, "source: kind 'oracle' is none of 'mysql', 'csv'"),
    ({"0__kind": "router"}, 'target "fw-east": kind \'router\' is none of'),
    ({"0__port": "443"}, 'target "fw-east": port: must be a whole number'),
    ({"0__port": 443.0}, 'target "fw-east": port: must be a whole number'),
    ({"0__port": True}, 'target "fw-east": port: must be a whole number'),
    ({"0__verify_tls": "false"}, 'target "fw-east": verify_tls: must be true or false'),
    ({"0__verify_tls": 0}, 'target "fw-east": verify_tls: must be true or false'),
    ({"0__host": 5}, 'target "fw-east": host: must be text in quotes'),
    ({"0__ca_file": 5}, 'target "fw-east": ca_file: must be a path in quotes'),
    ({"identity__ignore_users": "svc-*"}, "identity.ignore_users: must be a list"),
    ({"identity__ignore_users": [5]}, "identity.ignore_users[0]: must be text in quotes"),
    # what is out of bounds
    ({"0__port": 0}, 'target "fw-east": port: must be at least 1'),
    ({"0__port": 65536}, 'target "fw-east": port: must be at most 65535'),
    ({"0__connections": 6}, 'target "fw-east": connections: must be at most 5'),
    ({"sync__batch_size": 101}, "sync.batch_size: must be at most 100"),
    ({"sync__batch_size": 0}, "sync.batch_size: must be at least 1"),
    ({"sync__max_logout_percent": 101}, "sync.max_logout_percent: must be at most 100"),
    ({"sync__max_logout_percent": -1}, "sync.max_logout_percent: must be at least 0"),
    ({"source__reauth_days": 0}, "source.reauth_days: must be at least 1"),
    ({"0__mapping_timeout": "1m"}, 'target "fw-east": mapping_timeout: must be between 2m and 60h'),
    ({"0__mapping_timeout": "0s"}, 'target "fw-east": mapping_timeout: must be between 2m and 60h'),
    ({"0__mapping_timeout": "61h"}, 'target "fw-east": mapping_timeout: must be between 2m and 60h'),
    ({"0__request_timeout": "-1s"}, 'target "fw-east": request_timeout: must be between'),
    ({"source__path": ""}, "source.path: must not be empty"),
    # what is no duration, address, expression, ...
    *(
        ({"sync__deadline": value}, f"sync.deadline: {value!r} is not a duration")
        for value in ("90", "", "5 minutes", "1e9h", "inf", 5, True, 2.5, ["5m"], "9" * 50 + "h")
    ),
    ({"0__host": ""}, 'target "fw-east": host:'),
    *(({"0__host": host}, FW_EAST + "host:") for host in ("fw:443", "https://fw", "fw/api", "-fw", "f w", "x" * 254)),
    *(({"0__networks": [net]}, FW_EAST + "networks[0]:") for net in ("10.0.0.1/8", "10.0.0.0/33", "x", "", 5, True)),
    *(
        ({"identity__rewrite": [{"match": match, "replace": ""}]}, "identity.rewrite[0].match: not a regular exp")
        for match in ("(", "a{99999999999999999999}")
    ),
    ({"identity__rewrite": [{"match": "a", "replace": "\\1"}]}, "identity.rewrite[0]: replace does not fit match"),
    ({"identity__domain": "CAMPUS\\"}, "identity.domain: holds a character that is not allowed"),
    ({"identity__domain": "x" * 65}, "identity.domain:"),
    ({"0__name": "fw east"}, "target[0].name: holds a character that is not allowed"),
    ({"0__name": "../x"}, "target[0].name: holds a character"),
    ({"0__name": "x" * 65}, "target[0].name:"),
    ({"0__name": "fw\n"}, "target[0].name: holds a character"),
    ({"0__vsys": "vsys"}, 'target "fw-east": vsys: holds a character'),
    ({"0__serial": "00 11"}, 'target "fw-east": serial: holds a character'),
    ({"0__fingerprint_sha256": "ab:cd"}, 'target "fw-east": fingerprint_sha256[0]: not a SHA-256 fingerprint'),
    ({"source__time_zone": "Mars/Olympus"}, "source.time_zone: 'Mars/Olympus' is not a time zone"),
    ({"source__time_zone": "berlin"}, "source.time_zone: 'berlin' is not a time zone; did you mean Europe/Berlin?"),
    ({"source__time_zone": "CEST"}, "source.time_zone: 'CEST' is not a time zone such as UTC or America/New_York"),
    *(({"source__time_zone": value}, "source.time_zone:") for value in ("../../etc/passwd", "Europe", "", "a\0b", 5)),
    ({"identity__other_domains": "drop"}, "identity.other_domains: must be 'keep', 'replace' or 'nobody'"),
    ({"identity__other_domains": True}, "identity.other_domains: "),
    ({"source": {"kind": "mysql", "host": "db", "time_zone": "Mars"}}, "source.time_zone: 'Mars' is not a time zone"),
    ({"0__framing": "raw"}, 'target "fw-east": framing: unknown key'),
    # what excludes another
    ({"0__ca_file": "/ca", "0__fingerprint_sha256": "ab" * 32}, 'target "fw-east": fingerprint_sha256: cannot be set'),
    ({"source": {"kind": "mysql"}}, "source.host: missing"),
    ({"source": {"kind": "mysql", "host": "a", "hosts": ["b"]}}, "source.hosts: cannot be set together with host"),
    ({"0__hosts": ["a", "b"]}, 'target "fw-east": hosts: cannot be set together with host'),
    *(
        ({"0__host": "", "0__hosts": hosts}, 'target "fw-east": hosts: must name the two members of an HA pair')
        for hosts in (["a"], ["a", "b", "c"], ["a", "a"])
    ),
    # what is no text
    *(
        ({path: "a\0b"}, f"{path.replace('0__', FW_EAST).replace('__', '.')}: holds a character")
        for path in ("source__path", "identity__domain", "sync__state_dir", "0__ca_file", "0__api_key_file")
    ),
    # what nobody would look at
    ({"telemetry__textfile": "/srv/uidsync.txt"}, "telemetry.textfile: must end in .prom"),
    ({"sync__standby_lock": True}, 'sync.standby_lock: needs a source of kind = "mysql"'),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), WRONG, ids=lambda value: str(value)[:50])
def test_every_kind_of_wrong_value_is_told_by_its_path(changes, expected):
    """What is wrong comes as one line: the path, and in plain words what it should be."""
    problems = problems_of(document(**changes))
    assert [problem for problem in problems if problem.startswith(expected)], problems
    assert len(problems) == len(set(problems))
    assert not any("\n" in problem for problem in problems)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"0__vsis": "vsys1"}, 'target "fw-east": vsis: unknown key; did you mean vsys?'),
        ({"0__api_key": "x"}, 'target "fw-east": api_key: unknown key; did you mean api_key_file?'),
        ({"sync__dead_line": "5m"}, "sync.dead_line: unknown key; did you mean deadline?"),
        ({"telemtry": {}}, "telemtry: unknown key; did you mean telemetry?"),
        ({"targets": []}, "targets: unknown key; did you mean target?"),
        ({"source__csv": 1}, "source.csv: unknown key"),
        ({"0__firewall": 1}, 'target "fw-east": firewall: unknown key'),
        ({"sync__zzz": 1}, "sync.zzz: unknown key"),
        ({"0__client_cert_fil": 1}, 'target "fw-east": client_cert_fil: unknown key'),
        (
            {"identity__rewrite": [{"match": "a", "replace": "", "mach": ""}]},
            "identity.rewrite[0].mach: unknown key; did you mean match?",
        ),
    ],
)
def test_an_unknown_key_is_an_error_that_helps(changes, expected):
    """A key that nobody knows is told with the one that was probably meant."""
    assert expected in problems_of(document(**changes))


def test_a_password_in_the_file_is_an_error():
    """Secrets are files, never values, and what was written there is not repeated."""
    problems = problems_of(document(FULL, source__password="hunter2", **{"0__api_key": "LUFRPT1"}))  # noqa: S106
    assert [problem.partition(":")[0] for problem in problems] == ["source.password", 'target "fw-east"']
    assert not any("hunter2" in problem or "LUFRPT1" in problem for problem in problems)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hc/0d338dcc", "hc/0d338dcc", "https:///0d338dcc", "https://me:0d338dcc@hc/", "https://hc:99999/0d338dcc",
        "https://hc/0d338dcc#x", "https://hc/0d338dcc x", "https://hc/0d338dcc\n", "https://[hc/0d338dcc", "file:///0d338dcc",
        "https://hç/0d338dcc", "https://hc:0/0d338dcc",
    ],
)  # fmt: skip
def test_a_ping_url_that_is_none_is_not_repeated(url):
    """What is no URL of http or https, or holds a password, is refused in words that do not repeat the secret in it."""
    (problem,) = problems_of(document(telemetry__ping_url=url))
    assert problem.startswith("telemetry.ping_url: must ")
    assert "0d338dcc" not in problem


@pytest.mark.parametrize("url", ["", "https://hc-ping.com/uuid", "http://[2001:db8::1]:8000/ping/uuid?rid=1"])
def test_a_ping_url_is_taken_as_it_is(url):
    """A URL stays what it is, and none is none."""
    assert make_config(document(telemetry__ping_url=url), "uidsync.toml").telemetry.ping_url == url


def test_names_are_the_targets_own():
    """Two targets of one name are told, each by its place."""
    parsed = document()
    parsed["target"] *= 2
    assert problems_of(parsed) == [
        "target[0].name: 'fw-east' names more than one target",
        "target[1].name: 'fw-east' names more than one target",
    ]


# ---- files -------------------------------------------------------------------------------------------------------


def test_a_file_is_read(tmp_path):
    """A file is read as it stands."""
    file = tmp_path / "uidsync.toml"
    file.write_text(FULL)
    assert read_config(file) == make_config(tomllib.loads(FULL), "uidsync.toml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[source\n", "not TOML: .*line 1"),
        (b"a = 1\na = 2\n", "not TOML: .*overwrite"),
        (b"[sync]\n[sync]\n", "not TOML: .*twice"),
        (b'a = "\xff"\n', "not UTF-8, from byte 6 on: save the file as UTF-8"),
        ("a = 1".encode("utf-16"), "not UTF-8, from byte 1 on"),
        (b"a = " + b"9" * 5000, "not TOML: a number of more than 64 bits .at line 1"),
        (b"[[target]]\nname = 0x1_0000_0000_0000_0000", "not TOML: a number of more than 64 bits .at line 2"),
        (b"a = [0b1" + b"0" * 64 + b"]", "not TOML: a number of more than 64 bits"),
        (b"a = " + b"[" * 10_000, "not TOML: brackets within brackets"),
        (b"\n" + b"a." * 500_000 + b"a = 1", "not TOML: a key of more than 32 parts .at line 2"),
        (b"[" + b"a." * 500_000 + b"a]", "not TOML: a key of more than 32 parts"),
        (b"[[a" + b" . 'b'" * 170_000 + b"]]", "not TOML: a key of more than 32 parts"),
        (b'x = {"a"' + b'."\\""' * 200_000 + b" = 1}", "not TOML: a key of more than 32 parts"),
        (b'x = """\n""" # "\n' + b"a." * 500_000 + b"a = 1", "not TOML: a key of more than 32 parts .at line 3"),
        (b"a.b.c.d = 1\n" * 80_000, "not TOML: .*overwrite"),
        (b'"\\' * 500_000, "not TOML"),
        (b"'" * 1_000_000, "not TOML"),
        (b"", "source: missing"),
        (None, "cannot be read: No such file"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_that_is_none_is_told(tmp_path, content, words):
    """What is no TOML, a key given twice among it, is told with its place; so is a file that is not there."""
    file = tmp_path / "uidsync.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as raised:
        read_config(file)
    assert raised.value.file == str(file)


def test_dots_that_are_no_key_s_are_left_alone(tmp_path):
    """Texts, networks and comments may hold as many dots as they like."""
    file = tmp_path / "uidsync.toml"
    networks = ", ".join(f"'192.0.2.{n}'" for n in range(99))
    dots, quotes = "." * 99, "'" * 3
    file.write_text(
        f'# {dots}\n[identity] # "{dots}\nexclude_networks = [{networks}]\n'
        f'rewrite = [{{match = {quotes}\n{dots}{quotes}, replace = "\\"{dots}"}}]\n[source]\nkind = \'csv\' # {dots}\n'
        f"path = '{dots}'\n[[target]]\nname = 'fw'\nkind = 'firewall'\nhost = 'fw.example.edu'\n"
    )
    config = read_config(file)
    assert (config.source.path, len(config.identity.exclude_networks)) == (dots, 99)
    assert (config.identity.rewrite[0].match, config.identity.rewrite[0].replace) == (dots, f'"{dots}')


def test_a_hundred_problems_are_told_and_the_rest_counted(tmp_path):
    """Of a file with a problem in every line, so many are told as somebody would read."""
    file = tmp_path / "uidsync.toml"
    file.write_text("\n".join(f"k{number} = 1" for number in range(500)))
    with pytest.raises(ConfigError) as raised:
        read_config(file)
    assert len(raised.value.problems) == 101
    assert raised.value.problems[-1] == "and 402 more"


@pytest.mark.parametrize("path", ["/", "x" * 5000, "a\0b"])
def test_a_path_that_is_none_is_told(path):
    """Whatever is given for a file, an error of ours comes."""
    with pytest.raises(ConfigError):
        read_config(Path(path))


@pytest.mark.parametrize(
    ("wrong", "right", "hint"),
    [
        ("[[target]]", "[target]", r"^target: write \[\[target\]\] with two brackets"),
        ("[[target]]", '[target]\nname = "a"\n[target]', r"not TOML: .*; write \[\[target\]\] with two brackets"),
        ('"fw-east"', "fw-east", r'not TOML: .*; text needs quotes: name = "..."$'),
        ('host = "fw-east.example.edu"', "host = 192.0.2.1", r'not TOML: .*; text needs quotes: host = "..."$'),
        ('"fw-east"', '"fw-east', r"not TOML: .*; a text ends with the quote that it begins with"),
        ('name = "fw-east"', 'name = "a"\nname = "fw-east"', r"not TOML: .*; this table has that key already"),
        ("[[target]]", "[source]\n[[target]]", r"not TOML: .*; that table is there already"),
        ('"export.csv"', r'"C:\export.csv"', r"not TOML: .*; a backslash .* '...' in single quotes$"),
        (
            '"fw-east.example.edu"',
            r'"fw\new.example.edu"',
            r'^target "fw-east": host: (?s:.*); a backslash .* in single quotes$',
        ),
    ],
)
def test_the_likely_mistakes_get_a_hint(tmp_path, wrong, right, hint):
    """The mistakes that are made most in TOML are told with what to write instead."""
    file = tmp_path / "uidsync.toml"
    file.write_text(MINIMAL.replace(wrong, right))
    with pytest.raises(ConfigError) as caught:
        read_config(file)
    assert [problem for problem in caught.value.problems if re.search(hint, problem)], caught.value.problems


def test_all_roles_keep_their_names():
    """The word "all" stands for every role under its own name; without the table no role is used."""
    assert make_config(document(roles__user_tags="all"), "").roles.user_tags == {"*": ""}
    assert make_config(document(), "").roles.is_used is False


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("user_tags", {"A": "it's"}, "roles.user_tags.A: a tag must not contain a quote"),
        ("address_tags", {"A": "a,b"}, "roles.address_tags.A: a tag must not contain a quote"),
        ("user_tags", {"A": "two  blanks"}, "roles.user_tags.A: a tag must not contain a quote"),
        ("prefix", "", "roles.prefix: must be 1 to 24 characters: letters without accents, digits, . _ and -"),
        ("prefix", "my tags", "roles.prefix: must be 1 to 24 characters"),
        ("prefix", "aN", 'roles.prefix: \'aN\' could make a tag "and", "or" or "not"'),
        ("prefix", "n" * 25, "roles.prefix: must be 1 to 24 characters"),
        ("timeout", "1m", "roles.timeout: must be between 2m and 30d"),
        ("user_tags", "some", 'roles.user_tags: must be "all", or a table'),
        ("user_tags", ["ROLE_*"], 'roles.user_tags: must be "all", or a table'),
        ("user_tags", {"A": "x" * 101}, "roles.user_tags.A: must have at most 100 characters"),
        ("user_tags", {"": "x"}, "roles.user_tags: '' matches no role"),
        ("address_tags", {"A,B": "x"}, "roles.address_tags: 'A,B' matches no role"),
        ("user_tags", {"*": "nac-x"}, "roles: the tag 'nac-x' would begin with the prefix twice: write \"x\""),
        ("user_tag", {}, "roles.user_tag: unknown key; did you mean user_tags?"),
    ],
)
def test_roles_that_no_firewall_takes_are_refused(key, value, problem):
    """A tag that PAN-OS would not take, or a prefix that owns everything, is named with its place."""
    (found,) = problems_of(document(roles={key: value}))
    assert found.startswith(problem)


def test_what_need_not_be_whole_may_lack_its_source():
    """A file for secrets or for the relay alone may lack source and targets, whichever tables it has."""
    for given in ({}, {"identity": {"domain": "CAMPUS"}}, {"relay": {"fqdn": "tenant.example.com"}}):
        config = make_config(given, "", Neighbours(), is_whole=False)
        assert (config.source, config.target) == (None, ())
    with pytest.raises(ConfigError, match="path: missing"):
        make_config({"source": {"kind": "csv"}}, "", Neighbours(), is_whole=False)
