"""Gathers the answers of `uidsync init`, tries each, and writes them in one go."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from uidsync.checks.finding import Finding, red, yellow
from uidsync.checks.source import inspect_source
from uidsync.checks.target import HINTS, inspect_target
from uidsync.cli.app import DEFAULT_CONFIG
from uidsync.cli.keygen import ask_for_key
from uidsync.cli.secret import MODE, check_secret, find_file, find_group, store
from uidsync.cli.show import make_console
from uidsync.cli.wiring import Site
from uidsync.cli.words import spell_finding
from uidsync.config.credentials import CREDENTIALS, SecretFiles
from uidsync.config.describing import render
from uidsync.config.models import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.config.reader import ConfigError, make_config
from uidsync.config.secrets import find_secrets
from uidsync.config.values import Secret
from uidsync.panos.wire.errors import PanosError
from uidsync.panos.wire.tls import see_certificate
from uidsync.refusal import Refusal
from uidsync.report.advice import tell_kind
from uidsync.report.output import write_atomically

HEAD = "Written by `uidsync init`. `uidsync config` prints every key with its default and what it does."
TRY_FOR = 30.0  # seconds, for a certificate
DIRECTORY_MODE = 0o750
HALF = len("00:" * 16)  # of a fingerprint: all of it is wider than 80 columns
NOT_TRUSTED = "its certificate is not trusted"
console = make_console(stderr=True)


def prompt(words: str, default: str = "", *, hidden: bool = False) -> str:
    """Ask whoever sits at the terminal; an empty answer is the default."""
    answer: str = typer.prompt(words, default=default, show_default=bool(default), hide_input=hidden, err=True)
    return answer


class Setup:
    """Gathers the document of a configuration and its secrets by name, tries them, and writes them in one go."""

    def __init__(self, file: Path, *, is_asking: bool, accept: bool) -> None:
        self._file = file
        self._is_asking = is_asking
        self._accept = accept
        self._source: dict[str, Any] = {}
        self._identity: dict[str, Any] = {}
        self.targets: list[dict[str, Any]] = []
        self.secrets: dict[str, str] = {}
        self.is_red = False

    def document(self, *more: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration, with more targets."""
        return {"source": self._source, "identity": self._identity, "target": [*self.targets, *more]}

    def read(self, *more: dict[str, Any]) -> Config:
        """Read the answers so far as a configuration. Raises ConfigError."""
        return make_config(self.document(*more), str(self._file))

    def take_secrets(self, given: Iterable[str]) -> None:
        """Read the secrets that files hold."""
        for text in given:
            name, _, file = text.partition("=")
            try:
                self.secrets[name] = Path(file).read_text("utf-8")
            except (OSError, ValueError) as error:
                raise Refusal(f"{text}: the file cannot be read: {error}", "--secret") from None

    def ask_source(self, csv: str, host: str, name: str, user: str) -> None:
        """Ask for the source until it answers, or is to stay as it is."""
        if not (csv or host or self._is_asking):
            raise Refusal("name the source: --database HOST or --csv FILE", "--database")
        is_again = False

        def ask(words: str, given: str, default: str) -> str:
            return prompt(words, given or default) if self._is_asking and (is_again or not given) else given or default

        while True:
            server = ask("Database server, as HOST or HOST:PORT, or the path of a CSV file", csv or host, "127.0.0.1")
            if server == csv or "/" in server or server.endswith(".csv"):
                self._source = {"kind": "csv", "path": "-" if server == "-" else str(Path(server).absolute())}
            else:
                host, csv = server, ""
                name, user = ask("Name of the database", name, "backupDB"), ask("Account", user, "uidsync")
                place, _, port = host.rpartition(":") if re.fullmatch(r"[^:]+:\d+|\[.*\]:\d+", host) else (host, "", "")
                self._source = {"kind": "mysql", "host": place.strip("[]"), "database": name, "user": user}
                self._source |= {"port": int(port)} if port else {}
                self._ask_secret(Secret("source-password", f"Password of {user}"))
            if self._is_kept(is_good=self._try("source", _PLACEHOLDER)):
                return
            is_again = True
            self.secrets.pop("source-password", None)

    def ask_domain(self, domain: str) -> None:
        """Ask for the domain of names."""
        while True:
            if self._is_asking and not domain:
                domain = prompt("Domain to put before names (empty: none)")
            self._identity = {"domain": domain} if domain else {}
            if self._is_accepted(_PLACEHOLDER):
                return
            domain = ""

    def _is_accepted(self, target: dict[str, Any]) -> bool:
        """Tell whether the answers so far make a configuration. Raises ConfigError where nobody can be asked again."""
        try:
            self.read(target)
        except ConfigError as error:
            if not self._is_asking:
                raise
            for problem in error.problems:
                console.print(f"  {problem}")
            return False
        return True

    def add_target(self, kind: str, name: str, host: str, port: int | None, client_cert: Path | None) -> None:
        """Look at a target's certificate, get what lets us in, and try it; leave it out if that is wished."""
        target: dict[str, Any] = {"name": name, "kind": kind, "host": host} | ({"port": port} if port else {})
        if kind == "agent" and (client_cert or (client_cert := self._ask_client_cert(name))):
            target["client_cert_file"] = str(client_cert.absolute())
        if not self._is_accepted(target):
            return
        is_good = self._trust(target, self.read(target).target[-1])
        if is_good:  # nobody else gets a password or a key
            model = self.read(target).target[-1]
            if isinstance(model, FirewallConfig):
                self._get_key(model)
            elif isinstance(model, AgentConfig) and model.client_cert_file:
                self._ask_secret(Secret(f"{name}-client-key", f"File of our private key for {name}", is_key=True))
            is_good = self._try(name, target)
        if self._is_kept(is_good=is_good):
            self.targets.append(target)
        else:
            for suffix in ("-api-key", "-client-key"):
                self.secrets.pop(name + suffix, None)

    def _trust(self, target: dict[str, Any], model: TargetConfig) -> bool:
        """Settle by which certificate a target is known; tell whether it is settled."""
        try:
            seen = see_certificate(model.host or "", model.port, TRY_FOR)
        except PanosError as error:
            _tell_failure(model.name, error)
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
            return False
        if self._accept or typer.confirm("  Is that its certificate?", err=True):
            target["fingerprint_sha256"] = seen.fingerprint
            return True
        return False

    def _get_key(self, target: FirewallConfig) -> None:
        """Get an API key: from the secrets, or from the firewall for an administrator's name and password."""
        name = f"{target.name}-api-key"
        while self._is_asking and name not in self.secrets:
            user = prompt(f"Administrator of {target.name}, to get an API key (empty: later)")
            if not user:
                return
            password = prompt("Password (not stored)", hidden=True)
            if not password:
                continue
            site = self._make_site(self.read(target.model_dump(mode="python", exclude_defaults=True)), ".")
            try:
                self.secrets[name] = ask_for_key(site.make_targets(attempts=1), target, user, password) + "\n"
            except PanosError as error:
                _tell_failure(target.name, error)

    def _ask_client_cert(self, name: str) -> Path | None:
        """Ask for the file of our certificate until it is one that can be read; its content is judged later."""
        words = f"File of our certificate for {name} (empty: none)"
        while self._is_asking and (text := prompt(words)):
            if os.access(text, os.R_OK):
                return Path(text)
            console.print(f"  {text} is not there, or cannot be read")
        return None

    def _ask_secret(self, secret: Secret) -> None:
        """Ask for a secret, or for the file of a key, until it can be one or is left for later."""
        words = f"{secret.purpose} (empty: later)"
        while self._is_asking and secret.name not in self.secrets:
            text = prompt(words, hidden=not secret.is_key)
            if not text:
                return
            try:
                text = Path(text).read_text("utf-8", errors="replace") if secret.is_key else text
                self.secrets[secret.name] = check_secret(secret, text)
            except OSError as error:
                console.print(f"  {text}: {error.strerror}")
            except Refusal as error:
                console.print(f"  {error}")

    def _try(self, about: str, target: dict[str, Any]) -> bool:
        """Try the source or a target with the secrets that are known, and tell what was found; return if none is red.

        Without its secret nothing can be tried: that is right for a person who gives it later, and red in a script.
        """
        config = self.read(target)
        if missing := self._find_missing(config, about):
            words = f"not tried: {missing.name} is not stored yet"
            _tell(about, yellow(words) if self._is_asking else red(words))
            return self._is_asking
        is_red = False
        with tempfile.TemporaryDirectory(prefix="uidsync-init-") as place:
            for name, text in self.secrets.items():
                write_atomically(Path(place, name), text, 0o600)
            site = self._make_site(config, place)
            if target is _PLACEHOLDER:
                found = inspect_source(config, site.make_source())
            else:
                found = inspect_target(config.target[-1], site.make_targets(attempts=1), config.roles)
            for finding in found:
                _tell(about, finding)
                is_red = is_red or finding.colour == "red"
        return not is_red

    def _make_site(self, config: Config, place: str) -> Site:
        """Make what tries a configuration with the secrets in a directory."""
        return Site(config, self._file, secrets=SecretFiles({"CREDENTIALS_DIRECTORY": place}, lambda _: None))

    def _find_missing(self, config: Config, about: str) -> Secret | None:
        """Return the secret of the source or of a target that is neither among the answers nor stored."""
        names = {f"{about}{end}" for end in ("-password", "-api-key", "-client-key")} - self.secrets.keys()
        asked = (each for each in find_secrets(config) if each.needed and each.name in names)
        return next((each for each in asked if not find_file(each).exists()), None)

    def _is_kept(self, *, is_good: bool) -> bool:
        """Tell whether answers are kept: those that work, and those that nobody wants to give anew."""
        if is_good:
            return True
        if self._is_asking and typer.confirm("  Do you want to give other answers?", default=True, err=True):
            return False
        self.is_red = True
        return True

    def write(self) -> None:
        """Write the secrets and then the configuration. Raises ConfigError."""
        self.read()
        is_system = self._file.absolute() == DEFAULT_CONFIG
        place = CREDENTIALS if is_system else self._file.absolute().parent / "credentials"
        state_dir = self._file.absolute().parent / "state"  # a rehearsal leaves the service's ledger alone
        document = self.document()
        if not is_system:
            _name_files(document, place)
            document["sync"] = {"state_dir": str(state_dir)}
        if self._is_asking:
            typer.confirm(f"Write {self._file}, and the secrets to {place}?", default=True, abort=True, err=True)
        if any(find_secrets(self.read())):
            place.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        if not is_system:
            state_dir.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        for name, text in self.secrets.items():
            store(place / name, text, str(self._file))
        write_atomically(self._file, render(document, HEAD), MODE, find_group())
        console.print(f"wrote {self._file}")


_PLACEHOLDER = {"name": "placeholder", "kind": "firewall", "host": "127.0.0.1"}


def _tell(about: str, finding: Finding) -> None:
    console.print(f"  {finding.colour:7}{spell_finding(about, finding.message, finding.advice)}")


def _tell_failure(name: str, error: PanosError) -> None:
    _tell(name, red(tell_kind(error.kind, error.words), error.advice or HINTS.get(error.kind, "")))


def _name_files(document: Mapping[str, Any], place: Path) -> None:
    """Name the files of secrets that do not lie where they are looked for by themselves."""
    source = document["source"]
    if source["kind"] == "mysql":
        source["password_file"] = str(place / "source-password")
    for target in document["target"]:
        if target["kind"] == "firewall":
            target["api_key_file"] = str(place / f"{target['name']}-api-key")
        elif "client_cert_file" in target:
            target["client_key_file"] = str(place / f"{target['name']}-client-key")
