"""`uidsync init` and `uidsync secret`: from nothing to a configuration that works, on a terminal and in a script."""

import json
import re
import stat
import subprocess
import sys
import tomllib
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.command import call
from tests.functional.test_commands import converse
from tests.limits import PATIENCE

HEAD = "clientHistId,transDate,currentIpAddress,principal,macaddress\n"


@pytest.fixture
def events(tmp_path):
    """Write an export of one login."""
    file = tmp_path / "events.csv"
    file.write_text(f"{HEAD}1,{datetime.now(UTC).isoformat()},10.0.0.1,ada,\n")
    return file


def run(place, *words, stdin=""):
    """Call the command in a place, without a terminal; return its code and what it said."""
    with chdir(place):
        called = call("--config", place / "uidsync.toml", *words, stdin=stdin)
    return called.code, called.out + called.err


def run_afresh(place, *words):
    """Run the command as a script does, from nothing; return its code and what it said."""
    command = [sys.executable, "-m", "uidsync", "--config", place / "uidsync.toml", *map(str, words)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ended = subprocess.run(command, **streams, text=True, cwd=place, timeout=PATIENCE, check=False)
    assert "Traceback" not in ended.stdout
    return ended.returncode, ended.stdout


def read(place):
    """Read the configuration that was written."""
    return tomllib.loads((place / "uidsync.toml").read_text())


def ask(place, *words, answers):
    """Run the command on a terminal and answer its questions, each known by words in it."""
    arguments = ["--config", place / "uidsync.toml", *words]
    return converse(arguments, [(words.encode(), text.encode()) for words, text in answers])


def place_key(place, simulator):
    """Write a firewall's key to a file."""
    file = place / "key"
    file.write_text(simulator.line["api_key"] + "\n")
    return file


def test_a_script_sets_up_a_site_that_syncs(tmp_path, events, firewall):
    """What init writes needs nothing more: the next command delivers, and secrets are for the service alone."""
    key = place_key(tmp_path, firewall)
    words = ["--csv", events, "--firewall", f"fw=127.0.0.1:{firewall.port}", "--secret", f"fw-api-key={key}"]
    code, said = run_afresh(tmp_path, "init", "--domain", "CAMPUS", *words, "--accept")
    assert code == 0, said
    assert stat.S_IMODE((tmp_path / "credentials" / "fw-api-key").stat().st_mode) == 0o640
    assert firewall.line["api_key"] not in said
    code, said = run_afresh(tmp_path, "secret", "list")
    assert code == 0, said
    assert read(tmp_path)["sync"] == {"state_dir": str(tmp_path / "state")}  # that of the service stays untouched
    code, said = run_afresh(tmp_path, "sync")
    assert code == 0, said
    assert firewall.mappings() == {"10.0.0.1": "CAMPUS\\ada"}


def test_a_secret_that_nothing_needs_is_not_stored(tmp_path, events, firewall):
    """A misspelt name of a secret is told, and leaves no file behind that nobody reads."""
    key = place_key(tmp_path, firewall)
    secrets = ["--secret", f"fw-api-key={key}", "--secret", f"fw-api-kay={key}"]
    words = ["--csv", events, "--firewall", f"fw=127.0.0.1:{firewall.port}", *secrets, "--accept"]
    code, said = run(tmp_path, "init", *words)
    assert code == 0, said
    assert "fw-api-kay: not stored" in said
    assert [file.name for file in (tmp_path / "credentials").iterdir()] == ["fw-api-key"]


def test_no_certificate_is_trusted_by_itself(tmp_path, events, firewall):
    """Without --accept an unknown certificate is shown and not trusted, and no key goes to whoever has it."""
    key = place_key(tmp_path, firewall)
    words = ["--csv", events, "--firewall", f"fw=127.0.0.1:{firewall.port}", "--secret", f"fw-api-key={key}"]
    code, said = run(tmp_path, "init", *words)
    assert code == 1
    assert re.search(r"SHA-256 +([0-9A-F]{2}:){16}\n +([0-9A-F]{2}:){15}[0-9A-F]{2}\n", said), said
    assert "fingerprint_sha256" not in read(tmp_path)["target"][0]


def test_what_is_there_stays(tmp_path, events):
    """A configuration is replaced only if somebody says so; the one to fill in is nobody's yet."""
    file = tmp_path / "uidsync.toml"
    words = ["--csv", events, "--firewall", "fw=127.0.0.1:1"]
    file.write_text("# mine\n")
    code, said = run(tmp_path, "init", *words)
    assert (code, file.read_text()) == (1, "# mine\n")
    assert "--replace" in said
    run(tmp_path, "init", *words, "--replace")
    assert read(tmp_path)["target"][0]["name"] == "fw"
    code, default = run(tmp_path, "config")
    file.write_text(default)
    run(tmp_path, "init", *words)
    assert read(tmp_path)["target"][0]["name"] == "fw"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name the source"),
        (["--csv", "e.csv", "--firewall", "fw-1"], "NAME=HOST"),
        (["--csv", "e.csv", "--firewall", "fw 1=h"], "NAME=HOST"),
        (["--csv", "e.csv"], "at least one"),
        (["--csv", "e.csv", "--secret", "fw-api-key=nowhere", "--firewall", "fw=h"], "cannot be read"),
        (["--csv", "e.csv", "--secret", "fw-api-key=.", "--firewall", "fw=h"], "cannot be read: Is a directory"),
        (["--csv", "e.csv", "--secret", "fw-api-key", "--firewall", "fw=h"], "'fw-api-key' is not NAME=FILE"),
        (["--csv", "e.csv", "--secret", "../fw-api-key=e.csv", "--firewall", "fw=h"], "is not NAME=FILE"),
        (["--csv", "e.csv", "--domain", "A\\B", "--firewall", "fw=h"], "domain"),
    ],
)
def test_what_cannot_be_right_is_said(tmp_path, events, words, said):
    """Options that make no configuration end with a sentence, and nothing is written."""
    events.rename(tmp_path / "e.csv")
    code, told = run(tmp_path, "init", *words)
    assert code == 2
    assert said in re.sub(r"[\s│]+", " ", told)
    assert not (tmp_path / "uidsync.toml").exists()
    assert not (tmp_path / "credentials").exists()


def test_a_person_is_asked_and_everything_is_tried(tmp_path, safeconnect, firewall, agent):
    """On a terminal every answer is tried at once: database, certificate, key; the end names the next command."""
    safeconnect.insert([(1, datetime.now(UTC).replace(tzinfo=None), "10.0.0.1", "ada", None)])
    code, said = ask(
        tmp_path,
        *("init", "--user", safeconnect.user),
        answers=[
            ("Database server", f"127.0.0.1:{safeconnect.port}"),
            ("Name of the database", safeconnect.database),
            (f"Password of {safeconnect.user}", safeconnect.password_file.read_text().strip()),
            ("Domain", "CAM\\PUS"),
            ("Domain", "CAMPUS"),
            ("Next firewall", "fw-east"),
            ("Next firewall", f"fw-east=127.0.0.1:{firewall.port}"),
            ("Is that its certificate?", "y"),
            ("Administrator of fw-east", "admin"),
            ("Password (not stored)", "admin"),
            ("Next firewall", ""),
            ("Next User-ID agent", f"uia=127.0.0.1:{agent.port}"),
            ("File of our certificate", "nowhere.pem"),
            ("File of our certificate", agent.line["client_cert_file"]),
            ("Is that its certificate?", "y"),
            ("File of our private key", "nowhere.pem"),
            ("File of our private key", agent.line["client_cert_file"]),
            ("File of our private key", agent.line["client_key_file"]),
            ("Next User-ID agent", ""),
            ("Write ", "y"),
        ],
    )
    assert (tmp_path / "credentials" / "fw-east-api-key").read_text() == firewall.line["api_key"] + "\n", said
    assert read(tmp_path)["identity"] == {"domain": "CAMPUS"}
    assert [target["name"] for target in read(tmp_path)["target"]] == ["fw-east", "uia"]
    assert f"export UIDSYNC_CONFIG={tmp_path}/uidsync.toml" in said
    assert "uidsync sync --dry-run" in said
    assert re.search(r"green +uia: accepted a message", said)
    assert safeconnect.password_file.read_text().strip() not in said
    code, said = run(tmp_path, "sync", "--dry-run")
    assert code == 0, said


def test_ctrl_c_leaves_nothing_behind(tmp_path, events, firewall):
    """Whoever breaks off before the last question finds everything as it was."""
    answers = [("Next firewall", f"fw=127.0.0.1:{firewall.port}"), ("Is that its certificate", "\x03")]
    code, said = ask(tmp_path, "init", "--csv", events, "--domain", "CAMPUS", answers=answers)
    assert code == 1
    assert "nothing was written" in said
    assert [file.name for file in tmp_path.iterdir()] == ["events.csv"]


def test_a_secret_that_comes_later_is_no_fault(tmp_path, events, firewall):
    """Whoever has no password yet is not told that something is red: the end names what is to be stored."""
    answers = [
        ("Next firewall", f"fw=127.0.0.1:{firewall.port}"),
        ("Is that its certificate", "y"),
        ("Administrator of fw", "admin"),
        ("Password (not stored)", ""),
        ("Administrator of fw", ""),
        ("Next firewall", ""),
        ("Next User-ID agent", ""),
        ("Write ", "y"),
    ]
    code, said = ask(tmp_path, "init", "--csv", events, "--domain", "CAMPUS", answers=answers)
    assert code == 0, said
    assert "red" not in re.findall(r"^ +(\w+)", said, re.MULTILINE)
    assert "uidsync keygen fw" in said


def test_no_password_is_asked_for_where_nobody_answers(tmp_path, events, firewall):
    """A wrong port is told with what to do before anybody types a password, and other answers may be given."""
    answers = [
        ("Next firewall", ""),
        ("Next User-ID agent", ""),  # without any target nothing can be written: it asks again
        ("Next firewall", "fw=127.0.0.1:1"),
        ("other answers?", "y"),
        ("Next firewall", f"fw=127.0.0.1:{firewall.port}"),
        ("Is that its certificate", "y"),
        ("Administrator of fw", "admin"),
        ("Password (not stored)", "admin"),
        ("Next firewall", ""),
        ("Next User-ID agent", ""),
        ("Write ", "y"),
    ]
    code, said = ask(tmp_path, "init", "--csv", events, "--domain", "CAMPUS", answers=answers)
    assert code == 0, said
    assert re.search(r"red fw: cannot be reached: .*are host and port right", " ".join(said.split()))
    assert "at least one firewall or agent is needed" in said


# ---- secrets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, agent):
    """Write a configuration that needs one secret of each kind."""
    (tmp_path / "credentials").mkdir()
    names = {"fw-api-key": "api_key_file", "uia-client-key": "client_key_file"}
    files = {key: tmp_path / "credentials" / name for name, key in names.items()}
    (tmp_path / "uidsync.toml").write_text(
        f'[source]\nkind = "mysql"\nhost = "db"\npassword_file = "{tmp_path}/credentials/source-password"\n'
        f'[[target]]\nname = "fw"\nkind = "firewall"\nhost = "fw"\napi_key_file = "{files["api_key_file"]}"\n'
        '[[target]]\nname = "uia"\nkind = "agent"\nhost = "uia"\n'
        f'client_cert_file = "{agent.line["client_cert_file"]}"\nclient_key_file = "{files["client_key_file"]}"\n'
    )
    return tmp_path


def list_secrets(place):
    """List the secrets, by name."""
    code, out = run(place, "secret", "list", "--json")
    return code, {each["name"]: each for each in json.loads(out.partition('\n{"')[0])["secrets"]}


def test_secrets_are_listed_and_never_shown(place, agent):
    """A list names each secret, its readers, or the command that stores it; a secret's own text is nowhere."""
    code, listed = list_secrets(place)
    assert code == 1
    assert listed["source-password"]["command"] == "uidsync secret set source-password"
    assert listed["fw-api-key"]["command"] == "uidsync keygen fw"
    key = Path(agent.line["client_key_file"]).read_text("utf-8")
    for name, text in {"source-password": "hunter2", "fw-api-key": "LUFRPT1=\n", "uia-client-key": key}.items():
        code, said = run(place, "secret", "set", name, stdin=text)
        assert code == 0, said
        assert text.strip() not in said
    code, listed = list_secrets(place)
    assert (code, {each["problem"] for each in listed.values()}) == (0, {""})
    assert (place / "credentials" / "source-password").read_text() == "hunter2\n"
    (place / "credentials" / "source-password").chmod(0o644)
    assert "EVERYBODY" in list_secrets(place)[1]["source-password"]["readers"]
    assert "hunter2" not in run(place, "secret", "list")[1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("source-password", "", "one line of text"),
        ("source-password", "two\nlines", "one line of text"),
        ("source-password", "x" * 70_000, "one line of text"),
        ("uia-client-key", "no key", "not a private key"),
        ("other", "x", "needs no secret other"),
        ("", "x", "name the secret"),
    ],
)
def test_what_is_no_secret_is_not_stored(place, name, text, said):
    """A text that cannot be the secret is refused with a sentence, and the file stays as it is."""
    code, told = run(place, "secret", "set", name, stdin=text)
    assert code == 2
    assert said in re.sub(r"[\s│]+", " ", told)
    assert list((place / "credentials").iterdir()) == []


def test_a_secret_is_asked_for_without_echo(place):
    """On a terminal the secret is typed blind."""
    code, said = ask(place, "secret", "set", "source-password", answers=[("Password of uidsync", "hunter2")])
    assert (code, "hunter2" in said) == (0, False)
    assert (place / "credentials" / "source-password").read_text() == "hunter2\n"


def test_a_neighbours_secrets_are_among_them(place):
    """A relay that is set up needs its secrets; whoever is read by SSH may log in by one of two."""
    file = place / "uidsync.toml"
    more = '[relay]\nfqdn = "api-site.xdr.example"\napi_key_id = "7"\n[tunnels]\nssh = ["fw"]\n'
    file.write_text(file.read_text() + more)
    _, listed = list_secrets(place)
    assert listed["relay-api-key"]["command"] == "uidsync secret set relay-api-key"
    problems = {name: listed[name]["problem"] for name in ("relay-api-key", "relay-psk", "fw-ssh-key")}
    assert problems == {"relay-api-key": "missing", "relay-psk": "not set", "fw-ssh-key": "not set"}
