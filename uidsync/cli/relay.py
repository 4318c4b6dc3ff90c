"""`uidsync relay`."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.rights import become_owner
from uidsync.cli.wiring import find_state_dir, make_deadline, make_secret_files, make_source
from uidsync.config.credentials import SecretError, SecretFiles
from uidsync.config.models import STATE_DIR, Config
from uidsync.config.reader import ConfigError
from uidsync.report.output import set_up_logging
from uidsync.report.report import BUG, INCOMPLETE, LOCKED, OK, USAGE

if TYPE_CHECKING:
    from uidsync.integrations.relay.config import RelayConfig
    from uidsync.integrations.relay.service import Plan, TlsFiles
    from uidsync.integrations.relay.tenant import Tenant

Action = Literal["serve", "check", "status", "setup", "template", "dead"]
ENVIRONMENT = "environment"  # in the place of the file's name


@dataclass(frozen=True, slots=True)
class Given:
    """What a relay is told, by the configuration or by the original's environment variables."""

    file: str
    table: RelayConfig
    zone: tzinfo
    state_dir: Path
    secrets: SecretFiles
    config: Config | None = None

    @property
    def is_by_environment(self) -> bool:
        """Whether the original's variables are in force."""
        return self.config is None

    def read_psk(self) -> str:
        """Return what the Authorization header must be; empty if nothing is asked for. Raises ConfigError."""
        if self.is_by_environment:
            return os.environ.get("PSK", "")
        if self.table.psk_file is None:
            with suppress(SecretError):
                self.secrets.find(None, "relay-psk")
                return self.read_secret(None, "relay-psk")
            return ""
        return self.read_secret(self.table.psk_file, "relay-psk")

    def read_secret(self, file: Path | None, name: str) -> str:
        """Return a secret. Raises ConfigError."""
        try:
            return self.secrets.read(file, name)
        except SecretError as error:
            raise ConfigError(self.file, [f"relay: {error}"]) from None

    def find_tls(self) -> TlsFiles | None:
        """Return the files of the server's certificate, None without TLS. Raises ConfigError."""
        from uidsync.integrations.relay.service import TlsFiles  # noqa: PLC0415

        if self.table.certificate_file is None:
            if self.table.client_ca_file:
                raise ConfigError(self.file, ["relay.client_ca_file: needs certificate_file"])
            return None
        try:
            key = self.secrets.find(self.table.key_file, "relay-tls-key")
        except SecretError as error:
            raise ConfigError(self.file, [f"relay: {error}"]) from None
        return TlsFiles(self.table.certificate_file, key, self.table.client_ca_file)


@dataclass(frozen=True, slots=True)
class Order:
    """What `setup` and `template` are asked for."""

    original: Annotated[
        bool, typer.Option("--original", metavar="", help="`template`, `setup`: the payload of the original relay.")
    ] = False
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="`setup`: where firewalls reach this relay; ends in /in.")
    ] = ""
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="`setup`: the HTTP server profile to write.")
    ] = "uidsync-relay"
    certificate_profile: Annotated[
        str, typer.Option("--certificate-profile", metavar="NAME", help="`setup`: with the CA of this relay.")
    ] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="`setup`: write without asking.")] = False
    commit: Annotated[
        bool, typer.Option("--commit", metavar="", help="`setup`: commit all that is pending on the firewall.")
    ] = False


@command
def relay(
    options: Options,
    what: Annotated[Action, typer.Argument(help="`serve` relays until SIGTERM; the others are told below.")] = "serve",
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="For `setup` a target, for `dead` what to do, and numbers or `all`."),
    ] = None,
    *,
    order: Order,
    as_json: JSONOption = False,
) -> int:
    """Relay alerts that firewalls send by HTTP to Cortex XDR, without losing one.

    An alert is answered 200 once it is on disk, and waits there until the tenant has it. The table `[relay]` configures
    it, or the environment variables of the original relay do: API_KEY, API_KEY_ID, FQDN and nine more. `check` tries
    the directory, the certificate and the tenant, `status` tells how it is, `setup` writes the HTTP server profile of
    a firewall, `template` prints the payload for it, and `dead list`, `show`, `replay` and `drop` are for alerts that
    were given up.

    Examples:

        uidsync relay
        uidsync relay check
        uidsync relay setup fw-east --url https://relay.example.edu:8443/in
        uidsync relay dead list
        uidsync relay dead replay all
    """
    log = structlog.get_logger()
    try:
        import aiohttp  # noqa: F401, PLC0415 (an extra: other commands do without)
    except ImportError:
        log.error("relay.missing", hint="pip install 'uidsync[relay]'")
        return USAGE
    if words and what not in {"setup", "dead"}:
        raise typer.BadParameter(f"nothing follows {what}", param_hint="WORD")
    return _carry_out(options, what, words or [], order, as_json=as_json)


def _carry_out(options: Options, what: Action, words: list[str], order: Order, *, as_json: bool) -> int:
    log = structlog.get_logger()
    from uidsync.cli import relay_tools  # noqa: PLC0415
    from uidsync.cli.relay_setup import set_up  # noqa: PLC0415

    if what == "template":
        return relay_tools.print_template(is_original=order.original)
    if what == "setup":
        return set_up(options, read_given(options, log), words, order)
    given = read_given(options, log)
    if what == "dead":
        become_owner(given.state_dir, "write")
        return relay_tools.deal_with_dead(given, words or ["list"], log, as_json=as_json)
    if what in {"check", "status"}:
        become_owner(given.state_dir, "nothing")
        return {"check": relay_tools.check, "status": relay_tools.show_status}[what](given, log, as_json=as_json)
    if given.is_by_environment and os.environ.get("DEBUG") is not None and not options.quiet:
        set_up_logging(verbosity=max(options.verbose, 1))
    return _serve(given, structlog.get_logger())


def read_given(options: Options, log: FilteringBoundLogger) -> Given:
    """Read the configuration, or the environment where it is the original's. Raises ConfigError."""
    from uidsync.integrations.relay.config import RelayConfig, is_by_environment, read_environment  # noqa: PLC0415

    secrets = make_secret_files(log)
    if options.config is None and is_by_environment(os.environ):
        try:
            table, ahead = read_environment(os.environ)
        except ValueError as error:
            raise ConfigError(ENVIRONMENT, str(error).splitlines()) from None
        place = Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or STATE_DIR)
        return Given(ENVIRONMENT, table, timezone(ahead) if abs(ahead) < timedelta(days=1) else UTC, place, secrets)
    config = options.read_config()
    table = config.of(RelayConfig)
    return Given(str(options.file), table, ZoneInfo(table.time_zone), find_state_dir(config), secrets, config)


def make_tenant(given: Given) -> Tenant:
    """Make the tenant. Raises ConfigError."""
    from uidsync.integrations.relay.tenant import Key, KeyUnreadable, Tenant, make_base, utc_now  # noqa: PLC0415

    table = given.table
    missing = [f"relay.{name}: missing" for name in ("fqdn", "api_key_id") if not getattr(table, name)]
    if missing:
        raise ConfigError(given.file, missing)
    try:
        base = make_base(table.fqdn)
    except ValueError as error:
        raise ConfigError(given.file, [f"relay.fqdn: {error}"]) from None

    def read_key() -> Key:
        if given.is_by_environment:
            return Key(table.api_key_id, os.environ.get("API_KEY", ""), table.key_kind)
        try:
            return Key(table.api_key_id, given.secrets.read(table.api_key_file, "relay-api-key"), table.key_kind)
        except SecretError as error:
            raise KeyUnreadable(str(error)) from None

    return Tenant(base, read_key, utc_now, ca_file=table.ca_file, proxy=table.proxy)


def split_listen(listen: str) -> tuple[str, int]:
    """Return the host and the port of an address to listen on."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _make_plan(given: Given, log: FilteringBoundLogger) -> Plan:
    from uidsync.integrations.relay.mapping import Rules  # noqa: PLC0415
    from uidsync.integrations.relay.queue import Limits  # noqa: PLC0415
    from uidsync.integrations.relay.quota import Quota  # noqa: PLC0415
    from uidsync.integrations.relay.receiver import Terms  # noqa: PLC0415
    from uidsync.integrations.relay.sender import Settings  # noqa: PLC0415
    from uidsync.integrations.relay.service import Plan  # noqa: PLC0415

    table = given.table
    find_person = came = None
    if table.who and (config := given.config):
        from uidsync.cli.relay_people import People  # noqa: PLC0415

        people = People(config, lambda: make_source(config, given.secrets, make_deadline(config)), log)
        find_person, came = people.find, people.came
    host, port = split_listen(table.listen)
    rules = Rules(given.zone, table.alert_name, table.empty_address)
    return Plan(
        given.state_dir,
        host,
        port,
        Terms(rules, given.read_psk(), came=came),
        Settings(
            Quota(table.quota_size, table.quota_time.total_seconds()),
            table.update_size,
            table.poll_every.total_seconds(),
            table.max_age,
            table.storm,
            rules,
            find_person,
        ),
        Limits(table.buffer_size),
        given.find_tls(),
        table.networks,
    )


def _serve(given: Given, log: FilteringBoundLogger) -> int:
    from uidsync.integrations.relay.queue import QueueError, QueueLocked  # noqa: PLC0415
    from uidsync.integrations.relay.service import CannotStart, run  # noqa: PLC0415

    become_owner(given.state_dir, "write")
    tenant, plan = make_tenant(given), _make_plan(given, log)
    if not ip_address(plan.host).is_loopback and plan.tls is None:
        log.warning("relay.exposed", hint="without TLS anybody on the way reads alerts and PSK; set certificate_file")
    if not plan.terms.psk and not given.table.client_ca_file:
        log.warning("relay.open", hint="anybody who reaches it may send alerts; set a PSK")
    with suppress(OSError):
        given.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    gc.enable()  # it may run for years
    try:
        return OK if run(plan, tenant, log, _choose_tell(given)) else BUG
    except CannotStart as error:
        raise ConfigError(given.file, [f"relay: {error}"]) from None
    except QueueLocked as error:
        log.error("relay.locked", message=str(error))
        return LOCKED
    except QueueError as error:
        log.error("queue.failed", message=str(error))
        return INCOMPLETE
    except OSError as error:
        raise ConfigError(given.file, [f"relay.listen: {given.table.listen}: {error.strerror or error}"]) from None


def _choose_tell(given: Given) -> Callable[[str], None]:
    """Return what says the original's lines where its variables are in force: all but the first with DEBUG alone."""
    is_verbose = os.environ.get("DEBUG") is not None

    def tell(text: str) -> None:
        if is_verbose or re.match("starting", text):
            print(f"{datetime.now():%Y/%m/%d %H:%M:%S} {text}", file=sys.stderr, flush=True)  # noqa: DTZ005 (as Go's log)

    return tell if given.is_by_environment else lambda _: None
