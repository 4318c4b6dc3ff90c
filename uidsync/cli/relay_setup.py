"""`uidsync relay setup`: writes the HTTP server profile of a firewall, after it has shown what would change."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
import typer

from uidsync.cli.app import Options
from uidsync.cli.rights import become_owner
from uidsync.cli.wiring import TargetMaker, choose_targets, make_deadline, make_secret_files
from uidsync.cli.words import make_printable
from uidsync.config.models import Config, FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.userid.pair import Pair
from uidsync.panos.wire.client import Client
from uidsync.panos.wire.errors import BadRequest, Busy, Unauthorized
from uidsync.panos.wire.retries import Patience, RetryPolicy
from uidsync.report.report import INCOMPLETE, OK

if TYPE_CHECKING:
    from uidsync.cli.relay import Given, Order

RIGHTS = "the key's role needs XML API > Operational Requests and Configuration, and Commit for --commit"
AFTERWARDS = (
    "what is left to do: a Log Forwarding profile (Objects > Log Forwarding) with this HTTP profile for {logs} logs of "
    "medium severity and above, in all security rules whose alerts matter"
)


def set_up(options: Options, given: Given, words: Sequence[str], order: Order) -> int:
    """Show how the profile differs from the firewall's, and write it if that is wanted. Raises PanosError."""
    from uidsync.integrations.relay import profile  # noqa: PLC0415

    if given.config is None or not given.config.target:
        raise ConfigError(given.file, ["setup needs a configuration with the firewall as a [[target]]"])
    if len(words) != 1:
        raise typer.BadParameter("setup is for one target", param_hint="WORD")
    if not profile.NAME.fullmatch(order.profile):
        raise typer.BadParameter("a name of up to 31 letters, digits and _.-", param_hint="--profile")
    (target,) = choose_targets(given.config, words, str(options.file))
    if not isinstance(target, FirewallConfig):
        raise ConfigError(given.file, [f"{target.name}: agents have no HTTP server profiles"])
    become_owner(given.state_dir, "nothing")
    client = _make_client(given.config, target)
    try:
        return _set_up(given, target, order, order.read_log_types(), client)
    except Busy as error:
        raise (error.advised(RIGHTS) if error.denied else error) from None
    except Unauthorized as error:
        raise error.advised(RIGHTS if error.is_denied else f"get a new key: uidsync keygen {target.name}") from None
    finally:
        client.close()


def _set_up(given: Given, target: FirewallConfig, order: Order, log_types: Sequence[str], client: Client | Pair) -> int:
    from uidsync.integrations.relay import profile  # noqa: PLC0415
    from uidsync.integrations.relay.setup import find_change, read_release  # noqa: PLC0415

    scheme = "https" if given.table.certificate_file else "http"
    try:
        address, port, is_tls = profile.read_url(order.url or f"{scheme}://{given.table.listen}/in")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None
    if order.certificate_profile and not is_tls:
        raise typer.BadParameter(
            "needs a URL with https://: without TLS there is no certificate", param_hint="--certificate-profile"
        )
    psk, release = given.read_psk(), read_release(client, target.name, target.serial)
    if order.certificate_profile and release < profile.FIRST_TLS_VERSION:
        raise BadRequest(
            f"{target.name} runs a PAN-OS before 9.0, whose HTTP server profiles have no certificate profile"
        )
    wish = profile.Wish(order.profile, address, port, is_tls, "/in", psk, order.certificate_profile, release)
    change = find_change(client, wish, log_types, target.serial, is_original=order.original)
    print(
        "\n".join(make_printable(line.expandtabs()) for line in change.lines)
        or f"{target.name} has this profile already"
    )
    if change.lines:
        if not _may_write(order, target.name):
            print(f"nothing was written to {target.name}; --yes writes it", file=sys.stderr)
            return INCOMPLETE
        client.call(change.request)
        print(f"written to the candidate configuration of {target.name}", file=sys.stderr)
    if order.commit:
        client.call(profile.aim(profile.make_commit(), target.serial))
        print(f"{target.name} commits", file=sys.stderr)
    elif change.lines:
        print("not committed; --commit does that, or commit on the firewall", file=sys.stderr)
    print(AFTERWARDS.format(logs=", ".join(log_types)), file=sys.stderr)
    return OK


def _may_write(order: Order, name: str) -> bool:
    if order.yes:
        return True
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    return is_terminal and typer.confirm(f"Write this to the candidate configuration of {name}?", err=True)


def _make_client(config: Config, target: FirewallConfig) -> Client | Pair:
    """Make what talks to the firewall, or to the active member of a pair."""
    log = structlog.get_logger()
    maker = TargetMaker(make_secret_files(log), log, make_deadline(config), attempts=1)
    members = maker.make_clients(target, maker.find_key(target))
    if target.host:
        return members[target.host]
    patience = Patience(RetryPolicy(1), log.bind(target=target.name))
    return Pair(members, request_timeout=target.request_timeout.total_seconds(), patience=patience)
