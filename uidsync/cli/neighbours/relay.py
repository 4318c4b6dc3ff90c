"""`uidsync relay`. A help imports no more than this."""

from __future__ import annotations

from typing import Annotated, Literal

import structlog

from uidsync.cli.app import JSONOption, Options, command, usage
from uidsync.cli.neighbours import advise_extra, lacks
from uidsync.integrations.relay.setup import Order, write_template
from uidsync.refusal import Refusal
from uidsync.report.report import OK, USAGE

Action = Literal["serve", "check", "status", "setup", "template", "dead"]


@command
def relay(
    options: Options,
    what: Annotated[
        Action, usage("serve|check|status|setup|template|dead", "`serve` relays until SIGTERM. The others: see above.")
    ] = "serve",
    words: Annotated[
        list[str] | None, usage("[WORD]...", "`setup`: a target. `dead`: what to do, and numbers or `all`.")
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
        raise Refusal(f"`{what}` takes no words", "WORD")
    if as_json and what not in {"check", "status", "dead"}:
        raise Refusal(f"`{what}` has no such option", "--json")
    order.raise_if_foreign(what)
    if what == "template":
        print(write_template(order), end="")
        return OK
    from uidsync.cli.neighbours.relaying import carry_out  # noqa: PLC0415 (with the packages that may be missing)

    return carry_out(options, what, words or [], order, as_json=as_json)
