"""`uidsync relay setup`: writes the HTTP server profile of a firewall, after it has shown what would change."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
import typer
from lxml import etree

from uidsync.cli.app import Options
from uidsync.cli.relay_tools import make_separator
from uidsync.cli.rights import become_owner
from uidsync.cli.wiring import TargetMaker, choose_targets, make_deadline, make_secret_files
from uidsync.cli.words import make_printable
from uidsync.config.models import Config, FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.userid.pair import Pair
from uidsync.panos.wire.client import Client
from uidsync.panos.wire.errors import BadRequest, Busy, Unauthorized
from uidsync.panos.wire.retries import Patience, RetryPolicy
from uidsync.panos.wire.xmlapi import SYSTEM_INFO
from uidsync.report.report import INCOMPLETE, OK

if TYPE_CHECKING:
    from uidsync.cli.relay import Given, Order
    from uidsync.integrations.relay.profile import Wish

RIGHTS = "the key's role needs XML API > Configuration, and Commit for --commit"
AFTERWARDS = (
    "what is left to do: a Log Forwarding profile (Objects > Log Forwarding) with this HTTP profile for threat logs of "
    "medium severity and above, in all security rules whose alerts matter"
)


def set_up(options: Options, given: Given, words: Sequence[str], order: Order) -> int:
    """Show how the profile differs from the firewall's, and write it if that is wanted. Raises PanosError."""
    from uidsync.integrations.relay import profile  # noqa: PLC0415

    if given.config is None:
        raise ConfigError(
            given.file, ["setup needs a configuration with the firewall as a [[target]]: name it by --config"]
        )
    if len(words) != 1:
        raise typer.BadParameter("setup is for one target", param_hint="WORD")
    if not profile.NAME.fullmatch(order.profile):
        raise typer.BadParameter("a name of up to 31 letters, digits and _.-", param_hint="--profile")
    (target,) = choose_targets(given.config, words, str(options.file))
    if not isinstance(target, FirewallConfig):
        raise ConfigError(given.file, [f"{target.name}: agents have no HTTP server profiles"])
    become_owner(given.state_dir, "nothing")
    psk = given.read_psk()
    client = _make_client(given.config, target)
    try:
        release = _read_release(client, target)
        wish = _make_wish(order, given, psk, release)
        there = _read_there(client, wish, target.serial)
        wish = _fill_payload(wish, order, profile.find_known_separator(there))
        wanted = profile.make_profile(wish)
        lines = profile.show_difference(there, wanted, psk)
        print("\n".join(map(make_printable, lines)) or f"{target.name} has this profile already")
        if lines:
            if not _may_write(order, target.name):
                print(f"nothing was written to {target.name}; --yes writes it", file=sys.stderr)
                return INCOMPLETE
            client.call(profile.aim(profile.make_write(wish, wanted, is_there=there is not None), target.serial))
            print(f"written to the candidate configuration of {target.name}", file=sys.stderr)
        if order.commit:
            client.call(profile.aim(profile.make_commit(), target.serial))
            print(f"{target.name} commits", file=sys.stderr)
        elif lines:
            print("not committed; --commit does that, or commit on the firewall", file=sys.stderr)
    except (BadRequest, Busy, Unauthorized) as error:
        raise error.advised(RIGHTS) from None
    finally:
        client.close()
    print(AFTERWARDS, file=sys.stderr)
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


def _read_release(client: Client | Pair, target: FirewallConfig) -> tuple[int, int]:
    from uidsync.integrations.relay import profile  # noqa: PLC0415

    version = client.call(profile.aim(SYSTEM_INFO, target.serial)).findtext("result/system/sw-version") or ""
    release = profile.read_release(version)
    if release is None:
        raise BadRequest(f"{target.name} does not say which release of PAN-OS it is")
    if release < profile.FIRST_RELEASE:
        raise BadRequest(f"{target.name} runs PAN-OS {version}, and HTTP server profiles came with 8.0")
    return release


def _make_wish(order: Order, given: Given, psk: str, release: tuple[int, int]) -> Wish:
    from uidsync.cli.relay import split_listen  # noqa: PLC0415
    from uidsync.integrations.relay.profile import Wish  # noqa: PLC0415

    host, port = split_listen(given.table.listen)
    scheme = "https" if given.table.certificate_file else "http"
    shown = f"[{host}]" if ":" in host else host
    text = order.url or f"{scheme}://{shown}:{port}/in"
    try:
        parts = urlsplit(text)
        address, own_port = parts.hostname, parts.port
    except ValueError:
        address = own_port = None
    if (
        not address
        or parts.scheme not in {"http", "https"}
        or parts.path != "/in"
        or parts.query
        or "@" in parts.netloc
    ):
        raise typer.BadParameter("must look like https://relay.example.edu:8443/in", param_hint="--url")
    if address in {"0.0.0.0", "::"}:  # noqa: S104 (it is what firewalls cannot reach)
        raise typer.BadParameter("name the address at which firewalls reach this relay", param_hint="--url")
    is_tls = parts.scheme == "https"
    port = own_port or (443 if is_tls else 80)
    return Wish(order.profile, address, port, is_tls, parts.path, "", psk, order.certificate_profile, release)


def _read_there(client: Client | Pair, wish: Wish, serial: str) -> etree._Element | None:
    from uidsync.integrations.relay import profile  # noqa: PLC0415

    answer = client.call(profile.aim(profile.make_get(wish), serial))
    return profile.find_profile(answer)


def _fill_payload(wish: Wish, order: Order, separator: str) -> Wish:
    """Put the payload into the wish; a separator that is there already stays."""
    from uidsync.integrations.relay.profile import FIRST_THREAT_NAME  # noqa: PLC0415
    from uidsync.integrations.relay.template import BEFORE_10, make_original, make_safe  # noqa: PLC0415

    is_before_10 = wish.release < FIRST_THREAT_NAME
    if order.original:
        return replace(wish, payload=make_original(BEFORE_10 if is_before_10 else None))
    return replace(wish, payload=make_safe(separator or make_separator(), is_before_10=is_before_10))
