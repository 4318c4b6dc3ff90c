"""Names of several addresses, and servers on other hosts: the real command, in namespaces of its own."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.functional.test_telemetry import serving
from tests.functional.wire import Wire, black_hole, pass_all

DUAL = "dual.example.edu"
ELSEWHERE = "192.0.2.1"  # in a network of its own, this host by an address that is not loopback


def is_possible(*options):
    """Tell whether a process may have namespaces of its own here."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "mount", "ip"))):
        return False
    return subprocess.run(["unshare", *options, "true"], check=False, capture_output=True).returncode == 0  # noqa: S607


@contextmanager
def second_address(port, *, is_deaf):
    """Yield a port that passes on to another at 127.0.0.9, and is dead at 127.0.0.1.

    There nobody answers, for the queue is full, or connections are taken and nothing is said: it `is_deaf`.
    """
    with socket.create_server(("127.0.0.1", 0)) if is_deaf else nullcontext() as silent, ExitStack() as stack:
        place = silent.getsockname()[1] if silent else stack.enter_context(black_hole())
        stack.enter_context(Wire(port, pass_all, "127.0.0.9", place))
        yield place


@pytest.mark.skipif(not is_possible("--mount"), reason="needs root, and a mount namespace")
@pytest.mark.parametrize("is_deaf", [False, True], ids=["silent", "deaf"])
def test_the_second_address_of_a_name_will_do(site, start, safeconnect, is_deaf):
    """Database, firewall and agent are reached by a name whose first address is dead, and so is the ping."""
    firewall, agent = start("firewall"), start("agent")
    safeconnect.insert([(1, datetime.now(UTC).replace(tzinfo=None), "10.0.0.1", "ada", None)])
    hosts = site.place / "hosts"
    hosts.write_text(f"127.0.0.1 {DUAL}\n127.0.0.9 {DUAL} localhost\n")
    with ExitStack() as stack:
        service = stack.enter_context(serving())
        at = {"host": DUAL, "ca_file": "", "verify_tls": False, "request_timeout": "4s"}
        ports = [
            stack.enter_context(second_address(port, is_deaf=is_deaf))
            for port in (safeconnect.port, firewall.port, agent.port, service.server_port)
        ]
        site.use_database(safeconnect, host=DUAL, port=ports[0])
        site.add_firewall("fw", firewall, port=ports[1], **at)
        site.add_agent("uia", agent, port=ports[2], **at)
        site.telemetry["ping_url"] = f"http://{DUAL}:{ports[3]}/x"
        ended = subprocess.run(
            ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/hosts && shift && exec "$@"', "sh", hosts,  # noqa: S607
             sys.executable, "-m", "uidsync", "--config", site.write(), "sync"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert is_deaf or service.heard == ["/x"], ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert "retry.scheduled" not in ended.stderr
    assert firewall.mappings() == agent.mappings() == {"10.0.0.1": "ada"}


SERVE = """
import ssl, subprocess, sys, trustme
from tests.source import rogue
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("192.0.2.1").configure_cert(context)
with rogue.running(rogue.NATIVE, sys.argv[1].encode(), context, "192.0.2.1") as server:
    config = open(sys.argv[2]).read().replace("33060", str(server.port))
    open(sys.argv[2], "w").write(config)
    command = [sys.executable, "-m", "uidsync", "--config", sys.argv[2], "check"]
    ended = subprocess.run(command, capture_output=True, text=True)
print(ended.stdout, ended.stderr)
print("HEARD" if server.heard_password(sys.argv[3].encode()) else "NOT HEARD")
"""


@pytest.mark.skipif(not is_possible("--net"), reason="needs root, and a network namespace")
@pytest.mark.parametrize("asks", ["caching_sha2_password", "sha256_password", "mysql_clear_password"])
@pytest.mark.parametrize("is_allowed", [False, True])
def test_a_rogue_server_on_another_host_learns_nothing(site, closed_port, asks, is_allowed):
    """By default nobody unverified gets the password, and what to set is said; allowed, it is told, and warned of."""
    password = "correct horse battery"  # noqa: S105 (nobody's)
    site.source = {
        "kind": "mysql", "host": ELSEWHERE, "port": 33060, "password_file": site.secret("password", password),
        "send_password_unverified": is_allowed,
    }  # fmt: skip
    site.add_firewall("fw", host="127.0.0.1", port=closed_port, api_key_file=site.secret("key", "x"))
    ended = subprocess.run(
        ["unshare", "--net", "sh", "-c",  # noqa: S607
         f'ip link set lo up && ip address add {ELSEWHERE}/32 dev lo && exec "$@"', "sh",
         sys.executable, "-c", SERVE, asks, site.write(), password],
        check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ("NOT HEARD" in ended.stdout) is not is_allowed, ended.stdout
    warning = "the password may go to any server that answers"
    assert (warning in ended.stdout) is ("source.unverified" in ended.stdout) is is_allowed
    if not is_allowed:
        assert f"asks for the password itself ({asks})" in ended.stdout
        assert "set source.ca_file" in ended.stdout
