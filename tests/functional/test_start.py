"""What a command imports: no more than it uses, for the timer starts one every minute."""

import re
from datetime import UTC, datetime

import pytest

from tests.source import rogue

IMPORTED = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)
# What a run with nothing due has no use for.
UNUSED = re.compile(
    r"(rich\.style|pygments|markdown_it|attr|paramiko|html|http|_strptime|aiohttp|requests|urllib3|trustme|pydantic|asyncio\.\w+|xml\.sax)\b"
    r"|cryptography\.(x509|hazmat\.primitives)\b"
    r"|uidsync\.(simulator|integrations|history|verify|withdraw|web|source\.csvfile|panos\.tunnels|panos\.logs\.\w+)\b"
    r"|uidsync\.cli\.(neighbours\.\w|(?!app|failures|neighbours|rights|sync|syncing|wiring|words))"
)
# What not even a run needs before it begins.
OF_A_RUN = re.compile(
    r"(attr|structlog|pymysql|requests|http|lxml|pydantic|tenacity|sqlite3|cryptography)\b|uidsync\.(config|ledger)\b"
)


def list_imports(site, *words):
    """Return the modules that a command imports."""
    site.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    ended = site.run(*words)
    assert ended.code == 0, ended.err
    return set(IMPORTED.findall(ended.err))


def test_a_run_with_nothing_due_imports_what_it_uses(site, safeconnect, start):
    """A run that finds nothing new imports nothing that it has no use for."""
    site.use_database(safeconnect)
    site.add_firewall("fw", start("firewall"))
    now = datetime.now(UTC).replace(tzinfo=None)
    safeconnect.insert([(n, now, f"10.0.0.{n}", "ada", None) for n in range(1, 9)])
    assert site.run("sync").code == 0
    imported = list_imports(site, "sync", "--json")
    assert {"pymysql.connections", "uidsync.panos.wire.line", "uidsync.sync"} <= imported
    assert [name for name in sorted(imported) if UNUSED.match(name)] == []


def test_commands_that_look_into_the_ledger_start_from_nothing(small_site):
    """What other tests call in a process that has imported everything works without that as well."""
    assert small_site.call("sync").code == 0
    for words in (("explain", "10.0.0.1"), ("verify",), ("withdraw", "ada")):
        assert small_site.run(*words).code == 0


def test_a_login_without_tls_has_what_it_needs(site, closed_port):
    """A server of this host that has no TLS gets the password by its key, for which a run seldom imports anything."""
    password = "correct horse battery"  # noqa: S105 (nobody's)
    with rogue.running(rogue.NATIVE, b"caching_sha2_password") as server:
        place = {"host": "127.0.0.1", "port": server.port, "password_file": site.secret("password", password)}
        site.source = {"kind": "mysql", **place}
        site.add_firewall("fw", host="127.0.0.1", port=closed_port, api_key_file=site.secret("key", "a key of its own"))
        assert "Access denied" in site.run("sync").err
    assert server.heard_password(password.encode())


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("sync", "--help")])
def test_a_help_imports_nothing_of_a_run(site, words):
    """A version or a help comes before anything is imported that only a run needs."""
    imported = list_imports(site, *words)
    assert "uidsync.cli.app" in imported
    assert [name for name in sorted(imported) if OF_A_RUN.match(name)] == []
