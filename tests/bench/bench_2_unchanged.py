"""A run with nothing new, or with 50 new rows, beside the time that Python needs to import what a run stands on."""

import json
import re
import sys

from tests.bench import rows
from tests.bench.bench_1_full import read_sent
from tests.bench.conftest import ADDRESSES
from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import TIMES, launch, medians

# What a run cannot do without, by design: of others' packages, and of Python's own the costly ones.
STANDS_ON = (
    "pymysql, requests, lxml.etree, tenacity, structlog, pydantic, typer",
    "ssl, sqlite3, tomllib, json, ipaddress, dataclasses, logging, zoneinfo",
)
# Imports that a run has no use for.
NEEDLESS = re.compile(
    r"uidsync\.(simulator|who|history|moment|verify|explain|withdraw|cli\.(check|demo|keygen|simulate|who|verify"
    r"|explain|withdraw|status|config))\b|uidsync\.panos\.(agent|logs|logjob|pair)\b|(trustme|hypothesis)\b"
    r"|http\.server$"
)


def test_a_small_run_beside_its_imports(ground, campus, ratios):
    """An unchanged run, and one with 50 new rows, take at most twice what importing the libraries takes."""
    ground.use_database(campus)
    seeds = iter(range(1, 1000))
    with FastFirewall.start(0.005, 0.005) as firewall:
        ground.use_firewalls(firewall)
        ground.run()
        firewall.ask("reset")

        def unchanged():
            return ground.run()

        def small():
            with campus.admin() as connection:
                rows.add(connection, 50, ADDRESSES, seed=next(seeds))
            return ground.run()

        def imports():
            return launch(ground.place, sys.executable, "-c", f"import {', '.join(STANDS_ON)}")

        def empty():
            return launch(ground.place, sys.executable, "-c", "pass")

        ground.run()
        sent = read_sent(campus)
        assert ground.run().report["mode"] == "tail"
        sent = read_sent(campus) - sent
        silent = firewall.ask()[0]
        nothing, new, floor, bare = medians(unchanged, small, imports, empty, times=TIMES + 2)
        assert {target["logins"]["due"] for target in new.report["targets"]} == {50}
        wanted = nothing.report["wanted"]
    ratios.add("nothing new / the imports", nothing.seconds, floor.seconds, most=2)
    ratios.add("50 new rows / the imports", new.seconds, floor.seconds, most=2)
    ratios.add("the imports / Python alone", floor.seconds, bare.seconds)
    ratios.add("nothing new: calls to each firewall / the plain way", silent["calls"], -(-wanted // 100), "")
    ratios.add("nothing new: rows read / the plain way", nothing.report["source"]["rows"], campus_rows(campus), "")
    ratios.add("nothing new: peak memory / the imports", nothing.peak, floor.peak, "MB")
    ratios.raise_if_missed()


def campus_rows(campus):
    """Return how many rows there are."""
    with campus.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM clienthist")
        return cursor.fetchone()[0]


def test_imports_that_no_run_needs(ground, campus, ratios):
    """What `uidsync sync` imports without a use for it is nothing beside what it imports."""
    ground.use_database(campus)
    code = "import sys, runpy; sys.argv = ['uidsync', *sys.argv[1:]]; runpy.run_module('uidsync', run_name='__main__')"
    with FastFirewall.start(0.0) as firewall:
        ground.use_firewalls(firewall)
        ground.run()  # writes the configuration
        command = [sys.executable, "-X", "importtime", "-c", code, "sync", "--json", "--config"]
        took = launch(ground.place, *command, ground.place / "uidsync.toml")
    lines = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", took.err)
    spent = {name: int(own) / 1e6 for own, name in lines}
    needless = {name: own for name, own in spent.items() if NEEDLESS.search(name)}
    worst = sorted(needless, key=needless.__getitem__, reverse=True)
    sys.stdout.write(f"\nimported without use: {json.dumps({name: needless[name] for name in worst[:12]})}")
    ratios.add("unused imports / all imports of a run", sum(needless.values()), sum(spent.values()), most=0.05)
    ratios.raise_if_missed()
