"""`uidsync exporter`."""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uidsync import __version__
from uidsync.cli.app import Options, command
from uidsync.cli.extras import advise_extra, lacks
from uidsync.cli.looking import make_looks, make_rules
from uidsync.cli.site import Site
from uidsync.cli.wiring import TargetMaker
from uidsync.config.credentials import may_read
from uidsync.config.models import FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.deadline import Deadline
from uidsync.panos.tunnels.conditions import View
from uidsync.panos.tunnels.look import Wants, look_at_all
from uidsync.panos.tunnels.refusals import Refusals
from uidsync.report.metrics import write_metrics
from uidsync.report.output import LAST_RUN, write_atomically
from uidsync.report.report import INCOMPLETE, OK, USAGE

if TYPE_CHECKING:
    from uidsync.integrations.exporter.config import ExporterConfig
    from uidsync.integrations.exporter.probes import Probes

SHIPPED = {"rules": "rules.yml", "dashboard": "dashboard.json"}
TEXTFILE_MODE = 0o644  # node_exporter is another user, and there is nothing personal in it


@command
def exporter(
    options: Options,
    what: Annotated[
        Literal["serve", "rules", "dashboard"],
        typer.Argument(
            metavar="serve|rules|dashboard",
            help="`rules` and `dashboard` print what is shipped for Prometheus and Grafana.",
        ),
    ] = "serve",
    *,
    textfile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", readable=False, help="Write the metrics of all tunnels there, for node_exporter, and end."
        ),
    ] = None,
) -> int:
    """Serve Prometheus metrics, of runs and of the firewalls' IPsec tunnels, and a status page.

    `/` is the status page. `/metrics` shows the health of the last run. `/probe?target=NAME` asks one firewall of the
    configuration for its tunnels, and what it knows of User-ID. Ends at SIGTERM or Ctrl-C.

    Examples:

        uidsync exporter
        uidsync exporter rules > /etc/prometheus/rules/uidsync.yml
        uidsync exporter dashboard > uidsync.json
        uidsync exporter --textfile /var/lib/node-exporter/uidsync-tunnels.prom
    """
    if what in SHIPPED:
        print(files("uidsync.integrations.exporter").joinpath(SHIPPED[what]).read_text("utf-8"), end="")
        return OK
    site = Site(options, "nothing")
    if not may_read(site.state_dir / LAST_RUN):  # else there is something to tell without any key
        site.raise_if_locked_out(site.firewalls, is_source_needed=False)
    if lacks("exporter"):
        site.log.error("exporter.missing", message="the exporter needs more packages", hint=advise_extra("exporter"))
        return USAGE
    from uidsync.integrations.exporter.config import ExporterConfig  # noqa: PLC0415

    table = site.config.of(ExporterConfig)
    return _write(site, table, textfile) if textfile else _serve(site, table)


def _make_probes(site: Site, table: ExporterConfig) -> Probes:
    from uidsync.integrations.exporter.probes import Asked, Probes  # noqa: PLC0415

    config = site.config
    secrets = replace(site.secrets, warn=functools.cache(site.secrets.warn))  # once, and not with every scrape
    maker = TargetMaker(secrets, site.log, Deadline(math.inf), attempts=1)
    refusals = Refusals()

    def make_look(target: FirewallConfig) -> Callable[[float], tuple[View, ...]]:
        rules = make_rules(config, target.name)
        wanted = Wants(
            role=True,
            gateways=table.gateways or rules.needs_gateways,
            ike_sas=table.gateways,
            ipsec_sas=table.sas,
            counters=table.counters,
            users=table.users,
            vsys=target.vsys,
        )
        make_looks(config, target, maker, wanted, refusals)  # what is wrong with the configuration is told now
        # Made anew each time: keys are read where they are now, and no connection waits for the next minute.
        return lambda seconds: look_at_all(make_looks(config, target, maker, wanted, refusals), seconds)

    return Probes(
        [
            Asked(
                target.name,
                (target.host,) if target.host else target.hosts,
                make_rules(config, target.name),
                make_look(target),
            )
            for target in site.firewalls
        ],
        site.log,
        _now,
        table.ask_every.total_seconds(),
    )


def _serve(site: Site, table: ExporterConfig) -> int:
    from uidsync.integrations.exporter.lastrun import Runs  # noqa: PLC0415
    from uidsync.integrations.exporter.server import Server  # noqa: PLC0415
    from uidsync.integrations.exporter.site import Settings  # noqa: PLC0415
    from uidsync.integrations.exporter.site import Site as Pages  # noqa: PLC0415
    from uidsync.web.door import listen  # noqa: PLC0415

    page = Pages(
        Settings(
            __version__,
            socket.gethostname(),
            {target.name: target.kind for target in site.config.target},
            table.timeout.total_seconds(),
            table.status_metric,
            table.overdue_after,
        ),
        Runs(site.state_dir / LAST_RUN, _now),
        _make_probes(site, table),
        write_metrics,
        _now,
    )
    host, _, port = table.listen.rpartition(":")
    address = host.strip("[]")
    try:
        listening = listen(address, int(port))
    except OSError as error:
        raise ConfigError(str(site.file), [f"exporter.listen: {table.listen}: {error.strerror or error}"]) from None
    if not ip_address(address).is_loopback:
        site.log.warning(
            "exporter.exposed",
            hint="the page has neither TLS nor a password: put a reverse proxy in front of 127.0.0.1",
        )
    gc.enable()  # it may run for years
    server = Server(page.find_answer, site.log, _find_names(table, address))
    url = f"http://{host}:{listening.getsockname()[1]}/"
    asyncio.run(_live(server.serve(listening), lambda: site.log.info("exporter.started", url=url)))
    site.log.info("exporter.ended")
    return OK


async def _live(work: Coroutine[Any, Any, None], tell_start: Callable[[], None]) -> None:
    """Do the work until SIGTERM or Ctrl-C, however many come, and where a shell had Ctrl-C ignored."""
    loop, working = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    tell_start()
    with suppress(asyncio.CancelledError):
        await working
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _find_names(table: ExporterConfig, address: str) -> set[str]:
    """Return the names by which this host may be asked; on loopback nobody needs the one that a name server has."""
    names = {*table.names, socket.gethostname()}
    if not ip_address(address).is_loopback:
        names.add(socket.getfqdn())
    return {name.lower().removesuffix(".") for name in names}


def _write(site: Site, table: ExporterConfig, textfile: Path) -> int:
    from uidsync.integrations.exporter.site import write_tunnels  # noqa: PLC0415

    probes = _make_probes(site, table)
    text, are_known = write_tunnels(probes, list(probes.asked), table.timeout.total_seconds(), table.status_metric)
    try:
        write_atomically(textfile, text, TEXTFILE_MODE)
    except OSError as error:
        site.log.error("textfile.unwritten", file=str(textfile), message=error.strerror)
        return INCOMPLETE
    return OK if are_known else INCOMPLETE


def _now() -> datetime:
    return datetime.now(UTC)
