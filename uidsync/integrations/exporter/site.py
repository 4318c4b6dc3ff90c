"""Says what each path of the exporter answers: the page, its own metrics and the sync's, one firewall's.

Nothing but a firewall of the configuration is ever asked, whatever a request names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from aiohttp import web
from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from uidsync.integrations.door import say
from uidsync.integrations.exporter.families import Families, add_views
from uidsync.integrations.exporter.lastrun import LastRun, Runs
from uidsync.integrations.exporter.page import POLICY, State, draw
from uidsync.integrations.exporter.probes import Probes
from uidsync.integrations.exporter.relayhealth import read_relay

# As every Prometheus knows it; version 3 refuses an answer that does not say.
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
OFFSET = 1.0  # seconds before the scraper's own end: an answer that comes later is none
LONGEST = 120.0  # seconds
FRESH = timedelta(seconds=30)  # what the page asks for again when it is older
PAGE_PATIENCE = 2.0  # seconds that whoever opens the page waits for firewalls


class Settings(Struct, frozen=True):
    """How the exporter answers; `targets` are the configuration's names and kinds, times are in seconds."""

    version: str
    machine: str
    targets: Mapping[str, str]
    timeout: float
    status_metric: str
    overdue_after: timedelta


class Site:
    """The paths; threads may share it.

    `write_metrics` turns a report, as JSON has it, into the text format.
    """

    def __init__(
        self,
        settings: Settings,
        runs: Runs,
        probes: Probes,
        write_metrics: Callable[[Mapping[str, Any]], str],
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._runs = runs
        self._probes = probes
        self._write_metrics = write_metrics
        self._now = now
        self._registry = CollectorRegistry()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for every series, which nothing looks at
        self._requests = Counter(
            "uidsync_exporter_requests", "Requests that were answered.", ["path", "code"], registry=self._registry
        )
        self._is_readable = Gauge(
            "uidsync_report_readable", "Whether the report of the last run can be read.", registry=self._registry
        )
        started = Gauge(
            "uidsync_exporter_start_timestamp_seconds", "When the exporter was started.", registry=self._registry
        )
        started.set(now().timestamp())
        build = Gauge("uidsync_exporter_build_info", "The exporter's version.", ["version"], registry=self._registry)
        build.labels(settings.version).set(1)

    def find_answer(self, request: web.BaseRequest) -> web.Response:
        """Return what a request gets."""
        answers = {"/": self._answer_page, "/metrics": self._answer_metrics, "/probe": self._answer_probe}
        find = answers.get(request.path)
        answer = find(request) if find else say(HTTPStatus.NOT_FOUND, "nothing here; see / and /metrics\n")
        self._requests.labels(request.path if find else "other", answer.status).inc()
        return answer

    def _answer_metrics(self, _: web.BaseRequest) -> web.Response:
        run = self._runs.look()
        self._is_readable.set(isinstance(run, LastRun))
        of_run = self._write_metrics(run.document) if isinstance(run, LastRun) else ""
        return say(HTTPStatus.OK, generate_latest(self._registry).decode() + of_run, TEXT_FORMAT)

    def _answer_probe(self, request: web.BaseRequest) -> web.Response:
        names = request.query.getall("target", [])
        if len(names) != 1:
            return say(HTTPStatus.BAD_REQUEST, "name one firewall: /probe?target=NAME\n")
        asked = self._probes.asked.get(names[0])
        if asked is None:
            return say(HTTPStatus.NOT_FOUND, "the configuration has no firewall of this name\n")
        seconds = choose_seconds(request.headers, self._settings.timeout)
        families = Families()
        views = self._probes.probe(asked.name, seconds).views
        add_views(families, asked.name, views, asked.rules, status_metric=self._settings.status_metric, is_alone=True)
        return say(HTTPStatus.OK, families.write(), TEXT_FORMAT)

    def _answer_page(self, _: web.BaseRequest) -> web.Response:
        self._probes.refresh(FRESH, self._settings.timeout, PAGE_PATIENCE)
        run = self._runs.look()
        state = State(
            self._now(),
            self._runs.since,
            self._settings.machine,
            self._settings.version,
            self._settings.overdue_after,
            self._settings.targets,
            run,
            self._runs.remembered(),
            {name: self._probes.show(name) for name in self._probes.asked},
            tuple(read_relay(self._runs.place, self._now())),
        )
        return say(HTTPStatus.OK, draw(state), "text/html; charset=utf-8", {"Content-Security-Policy": POLICY})


def choose_seconds(headers: Mapping[str, str], otherwise: float) -> float:
    """Return how long a firewall gets: less than the scraper waits, if it says how long that is."""
    try:
        said = float(headers.get(TIMEOUT_HEADER, ""))
    except ValueError:
        return otherwise
    if not math.isfinite(said) or said <= 0:
        return otherwise
    return min(max(said - OFFSET, said / 2), LONGEST)


def write_tunnels(probes: Probes, names: Sequence[str], seconds: float, status_metric: str) -> tuple[str, bool]:
    """Ask firewalls side by side; return all their metrics in one text, and whether all that was asked for is known."""
    families = Families()
    collections = probes.probe_all(names, seconds)
    for name, collection in collections.items():
        rules = probes.asked[name].rules
        add_views(families, name, collection.views, rules, status_metric=status_metric, is_alone=False)
    return families.write(), families.are_whole
