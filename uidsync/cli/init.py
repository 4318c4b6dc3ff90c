"""`uidsync init`: asks for what a site needs, tries each answer, and writes configuration and secrets in the end."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from msgspec import Struct

from uidsync.checks import Colour, Finding, red, yellow
from uidsync.checks.source import inspect_source
from uidsync.checks.target import HINTS, inspect_target
from uidsync.cli.app import DEFAULT_CONFIG, Options, command, usage
from uidsync.cli.keygen import ask_for_key
from uidsync.cli.secret import check_secret, find_file, raise_if_unwritable, store
from uidsync.cli.show import make_console
from uidsync.cli.wiring import Site
from uidsync.cli.words import spell_finding
from uidsync.config.credentials import CREDENTIALS, SecretFiles
from uidsync.config.describing import render
from uidsync.config.models import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.config.reader import ConfigError, make_config
from uidsync.config.values import Secret
from uidsync.panos.wire.errors import PanosError
from uidsync.panos.wire.tls import see_certificate
from uidsync.refusal import Refusal
from uidsync.report.advice import tell_kind
from uidsync.report.output import write_atomically
from uidsync.report.report import INCOMPLETE, OK

HEAD = "Written by `uidsync init`. `uidsync config` prints every key with its default and what it does."
TRY_FOR = 30.0  # seconds, for a certificate
HALF = len("00:" * 16)  # of a fingerprint: all of it is wider than 80 columns
NOT_TRUSTED = "its certificate is not trusted"
NAMED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)=(?P<host>\[[^\]]+\]|[^:]+)(:(?P<port>\d+))?")
HOST = re.compile(r"(?P<host>[^:]+|\[.*\]):(?P<port>\d+)")
ANOTHER = "Next {}, as NAME=HOST or NAME=HOST:PORT (empty: no more)"
KINDS = {"firewall": ANOTHER.format("firewall"), "agent": ANOTHER.format("User-ID agent")}
PLACEHOLDER = {"name": "placeholder", "kind": "firewall", "host": "127.0.0.1"}  # makes a configuration whole
Read = TypeVar("Read")
console = make_console(stderr=True)


class Given(Struct, frozen=True):
    """The answers that the command line gives."""

    host: Annotated[str, usage("--database HOST[:PORT]", "The database server.")] = ""
    user: Annotated[str, usage("--user NAME", "The database account [default: uidsync].")] = ""
    name: Annotated[str, usage("--schema NAME", "The database's name [default: backupDB].")] = ""
    csv: Annotated[str, usage("--csv FILE", "A CSV file instead of a database.")] = ""
    domain: Annotated[str, usage("--domain NAME", "The domain to put before names, such as CAMPUS.")] = ""
    firewall: Annotated[list[str] | None, usage("--firewall NAME=HOST[:PORT]", "A firewall; repeatable.")] = None
    agent: Annotated[list[str] | None, usage("--agent NAME=HOST[:PORT]", "A User-ID agent; repeatable.")] = None
    client_cert: Annotated[Path | None, usage("--client-cert FILE", "Our certificate for the agents.")] = None


@command
def init(
    options: Options,
    *,
    given: Given,
    secret: Annotated[
        list[str] | None, usage("--secret NAME=FILE", "Take this secret from a file; repeatable.")
    ] = None,
    accept: Annotated[bool, usage("--accept", "Trust the certificates seen now, without asking.")] = False,
    replace: Annotated[bool, usage("--replace", "Replace a configuration that is there, without asking.")] = False,
) -> int:
    """Ask for the database, the domain and every target, test each answer, and write the configuration.

    On a terminal it asks for whatever the options leave out. Without a terminal it asks nothing. Nothing is written
    before the last question is answered: Ctrl-C leaves everything as it was. Exits 1 if anything that was tried is red.

    Examples:

        uidsync init
        uidsync --config uidsync.toml init --replace
        uidsync init --database db.example.edu --firewall fw-1=fw-1.example.edu
    """
    file, is_asking = options.file, sys.stdin.isatty()
    raise_if_unwritable(file, str(file))
    is_ours = not file.exists() or file.read_bytes() == files("uidsync").joinpath("uidsync.toml").read_bytes()
    if not (is_ours or replace or (is_asking and typer.confirm(f"{file} exists. Replace it?", err=True))):
        console.print(f"{file} exists and is left as it is; --replace replaces it, --config FILE names another")
        return INCOMPLETE
    setup = _Setup(file, given, secret or (), is_asking=is_asking, accept=accept)
    try:
        setup.ask()
        setup.write()
    except (typer.Abort, KeyboardInterrupt):
        console.print("\nnothing was written")
        raise
    console.print("next:")
    if file.absolute() != DEFAULT_CONFIG:  # so that whatever a command advises works as it is printed
        console.print(f"  export UIDSYNC_CONFIG={shlex.quote(str(file.absolute()))}", soft_wrap=True)
    for each in setup.read().find_secrets():
        if each.needed and each.name not in setup.secrets:
            console.print(f"  {each.command}")
    console.print("  uidsync check\n  uidsync sync --dry-run")
    return INCOMPLETE if setup.is_red else OK


def _prompt(words: str, default: str = "", *, hidden: bool = False) -> str:
    """Ask whoever sits at the terminal; an empty answer is the default."""
    return str(typer.prompt(words, default=default, show_default=bool(default), hide_input=hidden, err=True))


class _Setup:
    """Gathers the document of a configuration and its secrets by name, tries them, and writes them in one go."""

    def __init__(self, file: Path, given: Given, secrets: Iterable[str], *, is_asking: bool, accept: bool) -> None:
        self._file = file
        self._given = given
        self._is_asking = is_asking
        self._accept = accept
        self._document: dict[str, Any] = {"source": {}, "identity": {}, "target": []}
        self.secrets = dict[str, str]()
        self.is_red = False
        for text in secrets:
            name, _, place = text.partition("=")
            if not place or "/" in name:
                raise Refusal(f"{text!r} is not NAME=FILE; for example source-password=password.txt", "--secret")
            try:
                self.secrets[name] = Path(place).read_text("utf-8")
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", "it is not text")
                raise Refusal(f"{text}: the file cannot be read: {why}", "--secret") from None

    def read(self, *more: dict[str, Any], **tables: Any) -> Config:  # noqa: ANN401 (as TOML has them)
        """Read the answers so far, with more targets and other tables, as a configuration. Raises ConfigError."""
        targets = {"target": [*self._document["target"], *more]}
        return make_config(self._document | targets | tables, str(self._file))

    def ask(self) -> None:
        """Take the answers from the command line, and ask for the others."""
        given = self._given
        self._ask_source()
        words = "Domain to put before names (empty: none)"
        if read := self._settle(words, lambda text: self.read(PLACEHOLDER, identity={"domain": text}), given.domain):
            self._document["identity"] = {"domain": read.identity.domain}
        named = {"firewall": given.firewall or (), "agent": given.agent or ()}
        for kind, targets in named.items():
            for text in targets:
                self._settle(KINDS[kind], partial(self._add_target, kind), text)
        while self._is_asking:
            for kind in (kind for kind, targets in named.items() if not targets):
                while self._settle(KINDS[kind], partial(self._add_target, kind)):
                    pass
            if self._document["target"] or all(named.values()):
                return
            console.print("  at least one firewall or agent is needed; Ctrl-C ends, and writes nothing")

    def _settle(self, words: str, read: Callable[[str], Read], given: str = "", *, hidden: bool = False) -> Read | None:
        """Return what is read from a given answer, or from one that is asked for until it can be read; or None.

        Raises what `read` raises where nobody can be asked.
        """
        while text := given or (_prompt(words, hidden=hidden) if self._is_asking else ""):
            try:
                return read(text)
            except (ConfigError, Refusal, OSError) as error:
                if not self._is_asking:
                    raise
                problems = error.problems if isinstance(error, ConfigError) else [str(error)]
                for problem in [f"{text}: {error.strerror}"] if isinstance(error, OSError) else problems:
                    console.print(f"  {problem}")
            given = ""
        return None

    def _ask_source(self) -> None:
        """Ask for the source until it answers, or is to stay as it is."""
        csv, name, user = self._given.csv, self._given.name, self._given.user
        server, is_again = csv or self._given.host, False
        if not (server or self._is_asking):
            raise Refusal("name the source: --database HOST or --csv FILE", "--database")

        def ask(words: str, given: str, default: str) -> str:
            return _prompt(words, given or default) if self._is_asking and (is_again or not given) else given or default

        while True:
            server = ask("Database server, as HOST or HOST:PORT, or the path of a CSV file", server, "127.0.0.1")
            if server == csv or "/" in server or server.endswith(".csv"):
                source: dict[str, Any] = {"kind": "csv", "path": "-" if server == "-" else str(Path(server).absolute())}
            else:
                name, user = ask("Name of the database", name, "backupDB"), ask("Account", user, "uidsync")
                place = HOST.fullmatch(server)
                host, port = (place["host"], {"port": int(place["port"])}) if place else (server, {})
                source = {"kind": "mysql", "host": host.strip("[]"), "database": name, "user": user} | port
                self._ask_secret(Secret("source-password", f"Password of {user}"))
            self._document["source"] = source
            if self._is_kept(is_good=self._try("source", PLACEHOLDER)):
                return
            is_again = True
            self.secrets.pop("source-password", None)

    def _add_target(self, kind: str, text: str) -> bool:
        """Look at a target's certificate, get what lets us in, and try it; leave it out if that is wished."""
        found = NAMED.fullmatch(text)
        if not found:
            words = f"{text!r} is not NAME=HOST or NAME=HOST:PORT; for example fw-east=fw-east.example.edu"
            raise Refusal(words, f"--{kind}")
        name, port = found["name"], {"port": int(found["port"])} if found["port"] else {}
        target: dict[str, Any] = {"name": name, "kind": kind, "host": found["host"].strip("[]")} | port
        if kind == "agent":
            words = f"File of our certificate for {name} (empty: none)"
            cert = self._given.client_cert or self._settle(words, _find_file)
            target |= {"client_cert_file": str(cert.absolute())} if cert else {}
        is_good = self._trust(target, self.read(target).target[-1])
        if is_good:  # nobody else gets a password or a key
            model = self.read(target).target[-1]
            if isinstance(model, FirewallConfig):
                self._ask_key(model)
            elif isinstance(model, AgentConfig) and model.client_cert_file:
                self._ask_secret(Secret(f"{name}-client-key", f"File of our private key for {name}", is_key=True))
            is_good = self._try(name, target)
        if self._is_kept(is_good=is_good):
            self._document["target"].append(target)
        else:
            for suffix in ("-api-key", "-client-key"):
                self.secrets.pop(name + suffix, None)
        return True

    def _trust(self, target: dict[str, Any], model: TargetConfig) -> bool:
        """Settle by which certificate a target is known; tell whether it is settled."""
        try:
            seen = see_certificate(model.host or "", model.port, TRY_FOR)
        except PanosError as error:
            _tell(model.name, red(tell_kind(error.kind, error.words), error.advice or HINTS.get(error.kind, "")))
            return False
        if not seen.problem:
            return True
        problem = seen.problem.removeprefix(f"{NOT_TRUSTED}: ")
        console.print(f"  {model.name} shows a certificate that this system does not trust ({problem}):")
        console.print(f"    subject      {seen.subject}\n    issuer       {seen.issuer}")
        console.print(f"    valid until  {seen.not_after:%Y-%m-%d}\n    SHA-256      {seen.fingerprint[:HALF]}")
        console.print(f"                 {seen.fingerprint[HALF:]}")
        if not (self._accept or self._is_asking):
            _tell(model.name, red(NOT_TRUSTED, "compare the fingerprint with its own, then --accept"))
        elif self._accept or typer.confirm("  Is that its certificate?", err=True):
            target["fingerprint_sha256"] = seen.fingerprint
            return True
        return False

    def _ask_key(self, target: FirewallConfig) -> None:
        """Get an API key from the firewall for an administrator's name and password, unless it is there."""
        maker = self._make_site(self.read(PLACEHOLDER), ".").make_targets(attempts=1)

        def get_key(user: str) -> str:
            password = _prompt("Password (not stored)", hidden=True)
            if not password:
                raise Refusal("a key needs the administrator's password")
            try:
                return ask_for_key(maker, target, user, password) + "\n"
            except PanosError as error:
                advice = error.advice or HINTS.get(error.kind, "")
                raise Refusal(spell_finding(target.name, tell_kind(error.kind, error.words), advice)) from None

        words = f"Administrator of {target.name}, to get an API key (empty: later)"
        self._keep(f"{target.name}-api-key", words, get_key)

    def _ask_secret(self, secret: Secret) -> None:
        """Ask for a secret, or for the file of a key, until it can be one or is left for later."""

        def read(text: str) -> str:
            return check_secret(secret, Path(text).read_text("utf-8", errors="replace") if secret.is_key else text)

        self._keep(secret.name, f"{secret.purpose} (empty: later)", read, hidden=not secret.is_key)

    def _keep(self, name: str, words: str, read: Callable[[str], str], *, hidden: bool = False) -> None:
        if name not in self.secrets and (text := self._settle(words, read, hidden=hidden)):
            self.secrets[name] = text

    def _try(self, about: str, target: dict[str, Any]) -> bool:
        """Try the source or a target with the secrets that are known, and tell what was found; return if none is red.

        Without its secret nothing can be tried: that is right for a person who gives it later, and red in a script.
        """
        config = self.read(target)
        names = {f"{about}{end}" for end in ("-password", "-api-key", "-client-key")} - self.secrets.keys()
        asked = (each for each in config.find_secrets() if each.needed and each.name in names)
        if missing := next((each for each in asked if not find_file(each).exists()), None):
            _tell(about, (yellow if self._is_asking else red)(f"not tried: {missing.name} is not stored yet"))
            return self._is_asking
        with tempfile.TemporaryDirectory(prefix="uidsync-init-") as place:
            for name, text in self.secrets.items():
                write_atomically(Path(place, name), text, 0o600)
            site = self._make_site(config, place)
            if target is PLACEHOLDER:
                found = inspect_source(config, site.make_source())
            else:
                found = inspect_target(config.target[-1], site.make_targets(attempts=1), config.roles)
            return "red" not in [_tell(about, finding) for finding in found]  # all of them, as they come

    def _make_site(self, config: Config, place: str) -> Site:
        """Make what tries a configuration with the secrets in a directory."""
        return Site(config, self._file, secrets=SecretFiles({"CREDENTIALS_DIRECTORY": place}, lambda _: None))

    def _is_kept(self, *, is_good: bool) -> bool:
        """Tell whether answers are kept: those that work, and those that nobody wants to give anew."""
        words = "  Do you want to give other answers?"
        if self._is_asking and not is_good and typer.confirm(words, default=True, err=True):
            return False
        self.is_red |= not is_good
        return True

    def write(self) -> None:
        """Write the secrets and then the configuration. Raises ConfigError."""
        document, there = self._document, self._file.absolute().parent
        place, state_dir = there / "credentials", there / "state"
        if self._file.absolute() == DEFAULT_CONFIG:
            place = CREDENTIALS
        else:  # a rehearsal leaves the service's ledger alone, and names the files of its secrets
            document["sync"] = {"state_dir": str(state_dir)}
            if document["source"]["kind"] == "mysql":
                document["source"]["password_file"] = str(place / "source-password")
            for target in document["target"]:
                if target["kind"] == "firewall":
                    target["api_key_file"] = str(place / f"{target['name']}-api-key")
                elif "client_cert_file" in target:
                    target["client_key_file"] = str(place / f"{target['name']}-client-key")
        for name in sorted(self.secrets.keys() - {each.name for each in self.read().find_secrets()}):
            del self.secrets[name]
            _tell(name, yellow("not stored, for the configuration needs no secret of this name"))
        if self._is_asking:
            typer.confirm(f"Write {self._file}, and the secrets to {place}?", default=True, abort=True, err=True)
        if any(self.read().find_secrets()):
            place.mkdir(mode=0o750, exist_ok=True)
        if "sync" in document:
            state_dir.mkdir(mode=0o750, exist_ok=True)
        for name, text in self.secrets.items():
            store(place / name, text, str(self._file))
        store(self._file, render(document, HEAD), str(self._file))
        console.print(f"wrote {self._file}")


def _find_file(text: str) -> Path:
    Path(text).open("rb").close()  # its content is judged later
    return Path(text)


def _tell(about: str, finding: Finding) -> Colour:
    console.print(f"  {finding.colour:7}{spell_finding(about, finding.message, finding.advice)}")
    return finding.colour
