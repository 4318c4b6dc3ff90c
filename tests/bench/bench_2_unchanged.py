"""A run with nothing new, or with 50 new rows, beside the time that Python needs to import what a run stands on."""

import re
import sys

from tests.bench import rows
from tests.bench.bench_1_full import read_sent
from tests.bench.conftest import ADDRESSES
from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import TIMES, launch, medians

# What a run once imported: of others' packages, and of Python's own the costly ones.
STANDS_ON = (
    "pymysql, requests, lxml.etree, tenacity, structlog, pydantic, typer",
    "ssl, sqlite3, tomllib, json, ipaddress, dataclasses, logging, zoneinfo",
)
# What a run keeps these packages from importing.
KEPT_FROM = ("rich", "asyncio", "cryptography")


def test_a_small_run_beside_its_imports(ground, campus, ratios):
    """An unchanged run, and one with 50 new rows, take at most 1.3 times what importing the libraries takes."""
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

        ground.run()
        sent = read_sent(campus)
        assert ground.run().report["mode"] == "tail"
        sent = read_sent(campus) - sent
        silent = firewall.ask()[0]
        nothing, new, floor = medians(unchanged, small, imports, times=TIMES + 2)
        assert {target["logins"]["due"] for target in new.report["targets"]} == {50}
        wanted = nothing.report["wanted"]
    ratios.add("nothing new / the imports", nothing.seconds, floor.seconds, most=1.3, before=1.67)
    ratios.add("the same: processor time", nothing.busy, floor.busy)
    ratios.add("50 new rows / the imports", new.seconds, floor.seconds, most=2)
    ratios.add("nothing new: calls to each firewall / the plain way", silent["calls"], -(-wanted // 100), "")
    ratios.add("nothing new: rows read / the plain way", nothing.report["source"]["rows"], campus_rows(campus), "")
    ratios.add("nothing new: peak memory / the imports", nothing.peak, floor.peak, "MB")
    ratios.raise_if_missed()


def campus_rows(campus):
    """Return how many rows there are."""
    with campus.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM clienthist")
        return cursor.fetchone()[0]


def test_the_imports_of_a_run(ground, campus, ratios):
    """What a run with nothing new imports of others takes half of what it took."""
    ground.use_database(campus)
    code = "import sys, runpy; sys.argv = ['uidsync', *sys.argv[1:]]; runpy.run_module('uidsync', run_name='__main__')"
    with FastFirewall.start(0.0) as firewall:
        ground.use_firewalls(firewall)
        ground.run()
        command = [sys.executable, "-X", "importtime", "-c", code, "sync", "--json", "--config"]
        took = launch(ground.place, *command, ground.place / "uidsync.toml")
    names = re.findall(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)", took.err)
    others = [name for name in names if not name.startswith(("uidsync", "__"))]
    again = f"""
import importlib, sys, types
sys.modules |= {{name: types.ModuleType(name) for name in {KEPT_FROM}}}
for name in {others}:
    try:
        importlib.import_module(name)
    except ImportError:  # nor did the run find it
        pass
"""

    def start(code):
        return launch(ground.place, sys.executable, "-c", code)

    runs = (lambda: start(again), lambda: start(f"import {', '.join(STANDS_ON)}"), lambda: start("pass"))
    now, before, bare = medians(*runs, times=TIMES + 2)
    ratios.add("the imports of a run / what they were", now.seconds, before.seconds, most=0.5)
    ratios.add("the same: processor time", now.busy, before.busy)
    ratios.add("the imports of a run / Python alone", now.seconds, bare.seconds)
    ratios.raise_if_missed()
