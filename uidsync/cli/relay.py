"""`uidsync relay`."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import timezone, tzinfo
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar
from zoneinfo import ZoneInfo

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.neighbours import advise_extra, lacks
from uidsync.cli.rights import become_owner
from uidsync.cli.wiring import find_state_dir, make_deadline, make_secret_files, make_source
from uidsync.config.credentials import SecretError, SecretFiles
from uidsync.config.models import STATE_DIR, Config
from uidsync.config.reader import ConfigError
from uidsync.report.output import set_up_logging
from uidsync.report.report import BUG, INCOMPLETE, LOCKED, OK, USAGE

if TYPE_CHECKING:
    from uidsync.integrations.relay.config import RelayConfig
    from uidsync.integrations.relay.names import Names
    from uidsync.integrations.relay.service import People, Plan
    from uidsync.integrations.relay.tenant import Tenant

Action = Literal["serve", "check", "status", "setup", "template", "dead"]
Secret = TypeVar("Secret")
ENVIRONMENT = "environment"  # in the place of the file's name


@dataclass(frozen=True, slots=True)
class Given:
    """What a relay is told, by the configuration or by the original's environment variables."""

    file: str
    table: RelayConfig
    zone: tzinfo
    state_dir: Path
    secrets: SecretFiles
    names: Names
    config: Config | None = None

    @property
    def is_by_environment(self) -> bool:
        """Whether the original's variables are in force."""
        return self.config is None

    def read_psk(self) -> str:
        """Return what the Authorization header must be; empty if nothing is asked for. Raises ConfigError."""
        if self.is_by_environment:
            return os.environ.get("PSK", "").strip()
        if self.table.psk_file is None:
            try:
                self.secrets.find(None, "relay-psk")
            except SecretError:
                return ""
        return self._get("relay-psk", lambda: self.secrets.read(self.table.psk_file, "relay-psk"))

    def find_key(self) -> Path | None:
        """Return the private key of the server's certificate, None without TLS. Raises ConfigError."""
        if self.table.certificate_file is None:
            return None
        return self._get("relay-tls-key", lambda: self.secrets.find(self.table.key_file, "relay-tls-key"))

    def find_command(self, name: str) -> str:
        """Return the command that stores a secret."""
        return next(secret.command for secret in self.table.find_secrets() if secret.name == name)

    def _get(self, name: str, get: Callable[[], Secret]) -> Secret:
        try:
            return get()
        except SecretError as error:
            raise ConfigError(self.file, [f"relay: {error}; {self.find_command(name)}"]) from None


@dataclass(frozen=True, slots=True)
class Order:
    """What `setup` and `template` are asked for."""

    original: Annotated[bool, typer.Option("--original", help="`template`, `setup`: the payload of xdrgateway.")] = (
        False
    )
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="`setup`: where firewalls reach this relay; ends in /in.")
    ] = ""
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="`setup`: the HTTP server profile to write.")
    ] = "uidsync-relay"
    certificate_profile: Annotated[
        str,
        typer.Option(
            "--certificate-profile", metavar="NAME", help="`setup`: a certificate profile with the CA of this relay."
        ),
    ] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="`setup`: write without asking.")] = False
    logs: Annotated[
        str, typer.Option("--logs", metavar="TYPES", help="`setup`, `template`: some of threat, url, data, wildfire.")
    ] = "threat"
    commit: Annotated[bool, typer.Option("--commit", help="`setup`: commit all that is pending on the firewall.")] = (
        False
    )

    def read_log_types(self) -> list[str]:
        """Return the types of logs. Raises BadParameter."""
        from uidsync.integrations.relay.profile import LOG_TYPES  # noqa: PLC0415

        named = list(dict.fromkeys(self.logs.replace(",", " ").split()))
        if not named or set(named) - set(LOG_TYPES):
            raise typer.BadParameter(f"{self.logs}: must be some of {', '.join(LOG_TYPES)}", param_hint="--logs")
        return named

    def raise_if_foreign(self, what: Action) -> None:
        """Raise BadParameter for an option that is given, and that this action does not have."""
        known = {"setup": {each.name for each in fields(self)}, "template": {"original", "logs"}}.get(what, set())
        for each in fields(self):
            if each.name not in known and getattr(self, each.name) != each.default:
                raise typer.BadParameter(f"`{what}` has no such option", param_hint=f"--{each.name.replace('_', '-')}")


@command
def relay(
    options: Options,
    what: Annotated[
        Action,
        typer.Argument(
            metavar="serve|check|status|setup|template|dead",
            help="`serve` relays until SIGTERM. The others: see above.",
        ),
    ] = "serve",
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD", help="`setup`: a target. `dead`: what to do, and numbers or `all`."),
    ] = None,
    *,
    order: Order,
    as_json: JSONOption = False,
) -> int:
    """Relay alerts that firewalls send by HTTP to Cortex XDR, without losing one.

    The relay answers 200 once an alert is on disk, and keeps it there until the tenant has it. Configure it by the
    table `[relay]`, or by the environment variables of xdrgateway: API_KEY, API_KEY_ID, FQDN and nine more.

    `check` tries the port, the directory, the certificate and the tenant. `status` shows how the relay is. `setup`
    writes the HTTP server profile of a firewall, and `template` prints its payload. `dead list`, `show`, `replay` and
    `drop` are for alerts that were given up.

    Examples:

        uidsync relay
        uidsync relay check
        uidsync relay setup fw-east --url https://relay.example.edu:8443/in
        uidsync relay dead list
        uidsync relay dead replay all
    """
    log = structlog.get_logger()
    if lacks("relay"):
        log.error("relay.missing", message="the relay needs more packages", hint=advise_extra("relay"))
        return USAGE
    if words and what not in {"setup", "dead"}:
        raise typer.BadParameter(f"`{what}` takes no words", param_hint="WORD")
    if as_json and what not in {"check", "status", "dead"}:
        raise typer.BadParameter(f"`{what}` has no such option", param_hint="--json")
    order.raise_if_foreign(what)
    return _carry_out(options, what, words or [], order, as_json=as_json)


def _carry_out(options: Options, what: Action, words: list[str], order: Order, *, as_json: bool) -> int:
    log = structlog.get_logger()
    from uidsync.cli import relay_tools  # noqa: PLC0415

    if what == "template":
        return relay_tools.print_template(order.read_log_types(), is_original=order.original)
    given = read_given(options, log)
    if what == "setup":
        return relay_tools.set_up(options, given, words, order)
    if what == "dead":
        become_owner(given.state_dir, "write")
        return relay_tools.deal_with_dead(given, words or ["list"], log, as_json=as_json)
    if what == "check":
        return relay_tools.check(given, as_json=as_json)
    if what == "status":
        become_owner(given.state_dir, "nothing")
        return relay_tools.show_status(given, log, as_json=as_json)
    if given.is_by_environment and os.environ.get("DEBUG") is not None and not options.quiet:
        set_up_logging(verbosity=max(options.verbose, 1))
    return _serve(given, structlog.get_logger())


def read_given(options: Options, log: FilteringBoundLogger) -> Given:
    """Read the configuration, or the environment where it is the original's. Raises ConfigError."""
    from uidsync.integrations.relay import config as tables  # noqa: PLC0415
    from uidsync.integrations.relay.names import BY_ENVIRONMENT, BY_TABLE  # noqa: PLC0415

    secrets = make_secret_files(log)
    ca_name, ca_file = tables.find_ca_variable(os.environ)
    if options.config is None and tables.is_by_environment(os.environ):
        try:
            table, ahead = tables.read_environment(os.environ)
        except ValueError as error:
            problems = str(error).splitlines()
            if file := os.environ.get("UIDSYNC_CONFIG"):
                problems.append(f"these variables come before $UIDSYNC_CONFIG; --config {file} comes before them")
            raise ConfigError(ENVIRONMENT, problems) from None
        place = Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or STATE_DIR)
        return Given(ENVIRONMENT, table, timezone(ahead), place, secrets, replace(BY_ENVIRONMENT, ca_file=ca_name))
    if options.config is None and not os.environ.get("UIDSYNC_CONFIG") and not os.path.exists(options.file):  # noqa: PTH110 (it may be closed)
        ways = f"write it, with the table [relay], or set {', '.join(tables.NEEDED)} in the environment"
        raise ConfigError(str(options.file), [f"does not exist: {ways}"])
    config = options.read_config(is_whole=False)
    table, names = config.of(tables.RelayConfig), BY_TABLE
    if table.ca_file is None and ca_file:
        table, names = table.model_copy(update={"ca_file": Path(ca_file)}), replace(names, ca_file=ca_name)
    if table.who and config.source is None:
        raise ConfigError(str(options.file), ["relay.who: needs [source], the table of the NAC"])
    zone = ZoneInfo(table.time_zone)
    return Given(str(options.file), table, zone, find_state_dir(config), secrets, names, config)


def make_tenant(given: Given) -> Tenant:
    """Make the tenant. Raises ConfigError."""
    from uidsync.integrations.relay.config import make_base  # noqa: PLC0415
    from uidsync.integrations.relay.tenant import Key, KeyUnreadable, Route, Tenant, utc_now  # noqa: PLC0415

    table, names = given.table, given.names
    missing = [f"relay.{name}: missing" for name in ("fqdn", "api_key_id") if not getattr(table, name)]
    if missing:
        raise ConfigError(given.file, missing)

    def read_key() -> Key:
        if given.is_by_environment:
            return Key(table.api_key_id, os.environ.get("API_KEY", "").strip(), table.key_kind)
        try:
            return Key(table.api_key_id, given.secrets.read(table.api_key_file, "relay-api-key"), table.key_kind)
        except SecretError as error:
            raise KeyUnreadable(str(error), given.find_command("relay-api-key")) from None

    names = names if table.proxy else replace(names, proxy="HTTPS_PROXY")
    return Tenant(make_base(table.fqdn), read_key, utc_now, Route(table.ca_file, table.proxy, names))


def make_plan(given: Given, people: People = (None, None)) -> Plan:
    """Make the plan of what was given. Raises ConfigError."""
    from uidsync.integrations.relay import service  # noqa: PLC0415

    return service.make_plan(given.table, given.zone, given.state_dir, given.read_psk(), given.find_key(), people)


def _find_people(given: Given, log: FilteringBoundLogger) -> People:
    config = given.config
    if config is None or not given.table.who:
        return None, None
    from uidsync.cli.asking import read_people  # noqa: PLC0415
    from uidsync.integrations.relay.lookup import People  # noqa: PLC0415

    read = partial(read_people, config, lambda: make_source(config, given.secrets, make_deadline(config)))
    people = People(read, log)
    return people.find, people.came


def _serve(given: Given, log: FilteringBoundLogger) -> int:
    from uidsync.integrations.relay.lock import QueueError, QueueLocked  # noqa: PLC0415
    from uidsync.integrations.relay.service import PortTaken, run, tell_as_original  # noqa: PLC0415
    from uidsync.integrations.relay.tls import CannotStart  # noqa: PLC0415

    become_owner(given.state_dir, "write")
    tenant, plan, names = make_tenant(given), make_plan(given, _find_people(given, log)), given.names
    if not ip_address(plan.host).is_loopback and plan.tls is None:
        log.warning(
            "relay.exposed", hint=f"without TLS anybody on the network path can read alerts and PSK; {names.tls}"
        )
    if not plan.terms.psk and not given.table.client_ca_file:
        log.warning("relay.open", hint=f"anybody who can reach it may send alerts; {names.psk}")
    with suppress(OSError):
        given.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    gc.enable()  # it may run for years
    is_verbose = os.environ.get("DEBUG") is not None
    tell = partial(tell_as_original, is_verbose=is_verbose) if given.is_by_environment else lambda _: None
    try:
        return OK if run(plan, tenant, log, tell) else BUG
    except CannotStart as error:
        raise ConfigError(given.file, [f"relay: {error}; check {error.keys}"]) from None
    except QueueLocked as error:
        log.error("relay.locked", message=str(error))
        return LOCKED
    except PortTaken as error:
        if not error.is_relay:
            raise ConfigError(given.file, [f"{names.listen}: {error}"]) from None
        log.error("relay.locked", message=str(error), hint=f"set {names.listen} to another port")
        return LOCKED
    except QueueError as error:
        log.error("queue.failed", message=str(error))
        return INCOMPLETE
    except OSError as error:
        raise ConfigError(given.file, [f"{names.listen}: {given.table.listen}: {error.strerror or error}"]) from None
