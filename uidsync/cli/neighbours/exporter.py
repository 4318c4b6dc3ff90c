"""`uidsync exporter`."""

from __future__ import annotations

import functools
import math
import socket
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec.structs import replace

from uidsync import __version__
from uidsync.cli.app import Options, command, usage
from uidsync.cli.neighbours import advise_extra, lacks
from uidsync.cli.neighbours.looking import Looks
from uidsync.cli.wiring import Site, TargetMaker
from uidsync.config.credentials import may_read
from uidsync.config.models import FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.deadline import Deadline
from uidsync.integrations.exporter.config import ExporterConfig
from uidsync.panos.tunnels.look import Wants, look_at_all
from uidsync.report.metrics import write_metrics
from uidsync.report.output import LAST_RUN
from uidsync.report.report import INCOMPLETE, OK, USAGE

if TYPE_CHECKING:
    from uidsync.integrations.exporter.probes import Probes

NOW = functools.partial(datetime.now, UTC)
SHIPPED = {"rules": "rules.yml", "dashboard": "dashboard.json"}


@command
def exporter(
    options: Options,
    what: Annotated[
        Literal["serve", "rules", "dashboard"],
        usage("serve|rules|dashboard", "`rules` and `dashboard` print what is shipped for Prometheus and Grafana."),
    ] = "serve",
    *,
    textfile: Annotated[
        Path | None, usage("--textfile FILE", "Write the metrics of all tunnels there, for node_exporter, and end.")
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
    site = Site.open(options, "nothing")
    if not may_read(site.state_dir / LAST_RUN):  # else there is something to tell without any key
        site.raise_if_locked_out(site.firewalls)
    if lacks("exporter"):
        site.log.error("exporter.missing", message="the exporter needs more packages", hint=advise_extra("exporter"))
        return USAGE
    table = site.config.of(ExporterConfig)
    probes = _make_probes(site, table)
    if textfile is None:
        _serve(site, table, probes)
        return OK
    from uidsync.integrations.exporter.site import write_tunnels  # noqa: PLC0415

    text, are_known = write_tunnels(probes, list(probes.asked), table.timeout.total_seconds(), table.status_metric)
    return OK if not site.write_metrics(textfile, text) and are_known else INCOMPLETE


def _make_probes(site: Site, table: ExporterConfig) -> Probes:
    from uidsync.integrations.exporter.probes import Asked, Probes  # noqa: PLC0415

    secrets = replace(site.secrets, warn=functools.cache(site.secrets.warn))  # once, and not with every scrape
    wants = Wants(
        role=True,
        gateways=table.gateways,
        ike_sas=table.gateways,
        ipsec_sas=table.sas,
        counters=table.counters,
        users=table.users,
    )
    looks = Looks(site.config, TargetMaker(secrets, site.log, Deadline(math.inf), attempts=1), wants)

    def make_probe(target: FirewallConfig) -> Asked:
        looks.make(target)  # what is wrong with the configuration is told now
        hosts = (target.host,) if target.host else target.hosts
        # Made anew each time: keys are read where they are now, and no connection waits for the next minute.
        return Asked(
            target.name, hosts, looks.make_rules(target.name), lambda seconds: look_at_all(looks.make(target), seconds)
        )

    return Probes(list(map(make_probe, site.firewalls)), site.log, NOW, table.ask_every.total_seconds())


def _serve(site: Site, table: ExporterConfig, probes: Probes) -> None:
    from uidsync.integrations.exporter import lastrun, server  # noqa: PLC0415
    from uidsync.integrations.exporter import site as pages  # noqa: PLC0415

    kinds, seconds = {target.name: target.kind for target in site.config.target}, table.timeout.total_seconds()
    settings = pages.Settings(
        __version__, socket.gethostname(), kinds, seconds, table.status_metric, table.overdue_after
    )
    runs = lastrun.Runs(site.state_dir / LAST_RUN, NOW)
    try:
        find_answer = pages.Site(settings, runs, probes, write_metrics, NOW).find_answer
        server.serve(find_answer, table.listen, table.names, site.log)
    except server.CannotListen as error:
        raise ConfigError(str(site.file), [f"exporter.listen: {error}"]) from None
