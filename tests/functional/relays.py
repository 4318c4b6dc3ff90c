"""Runs `uidsync relay`, as the real command in a process of its own, and talks to it over plain sockets."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import trustme

from tests.forks import Command
from tests.functional.conftest import DEADLINE
from tests.limits import wait_until
from tests.safeconnect import free_port

PSK = "hello, firewall"
QUICK = {"poll_every": "50ms"}


def make_body(number=1, **changes):
    """Make what a firewall sends of an alert; `number` tells it from others."""
    fields = {
        "src": "192.0.2.7", "sport": 1234, "dst": "198.51.100.9", "dport": 80, "time_generated": "2026/03/01 12:00:00",
        "rule": "out", "serial": "9999", "sender_sw_version": "11.1.0", "subtype": "spyware",
        "threat_name": f"threat-{number}", "severity": "high", "action": "reset-both", **changes,
    }  # fmt: skip
    return f"{json.dumps(fields)}\n---annex---\nfile-{number}\n".encode()


def read_numbers(tenant):
    """Return the numbers of the alerts that the tenant took, in order."""
    return [int(alert["alert_name"].partition("-")[2]) for alert in tenant.do("state")["alerts"]]


class Relay:
    """A relay that runs."""

    def __init__(self, process, port, state_dir, context=None):
        self.process, self.port, self.state_dir, self.context = process, port, state_dir, context

    def connect(self):
        """Open a connection."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        return self.context.wrap_socket(line, server_hostname="127.0.0.1") if self.context else line

    def ask(self, method="POST", path="/in", body=None, *, psk=PSK, **headers):
        """Make one request, and return status, headers and body."""
        kind = http.client.HTTPSConnection if self.context else http.client.HTTPConnection
        more = {"context": self.context} if self.context else {}
        with closing(kind("127.0.0.1", self.port, timeout=DEADLINE, **more)) as connection:
            given = {"Authorization": psk} if psk is not None else {}
            connection.request(method, path, body, given | {name.replace("_", "-"): v for name, v in headers.items()})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def send(self, numbers, **changes):
        """Send alerts over one connection, and return their answers' codes."""
        codes = []
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            for number in numbers:
                connection.request("POST", "/in", make_body(number, **changes), {"Authorization": PSK})
                response = connection.getresponse()
                response.read()
                codes.append(response.status)
        return codes

    def talk(self, *pieces, pause=0.0):
        """Send bytes as they are, and return all that comes back until the end."""
        with self.connect() as line:
            for piece in pieces:
                line.sendall(piece)
                time.sleep(pause)
            said = b""
            while piece := line.recv(65536):
                said += piece
        return said

    @property
    def stats(self):
        """What /stats tells."""
        return json.loads(self.ask("GET", "/stats")[2])

    @property
    def metrics(self):
        """What /metrics tells."""
        lines = self.ask("GET", "/metrics")[2].decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    @property
    def health(self):
        """What the relay wrote of its health, by what was looked at."""
        try:
            document = json.loads((self.state_dir / "relay.json").read_text())
        except FileNotFoundError:
            return {}
        return {each["what"]: each for each in document["findings"]}

    @property
    def memory(self):
        """How much memory the relay took at most, in MiB."""
        with open(f"/proc/{self.process.pid}/status") as status:  # noqa: PTH123 (no file)
            return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) // 1024

    @property
    def processor(self):
        """How many seconds of a processor the relay took."""
        with open(f"/proc/{self.process.pid}/stat") as status:  # noqa: PTH123 (no file)
            ticks = status.read().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def read_log(self):
        """Return what it said on standard error."""
        return (self.state_dir / "stderr").read_text()

    def end(self, number=signal.SIGTERM):
        """End it by a signal, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def start(words, environment, state_dir, port, context=None, *, before=None):
    """Start the command as a fork, or from nothing after what a shell is to do before; wait until it listens."""
    state_dir.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UIDSYNC_")} | environment
    with (state_dir / "stderr").open("a") as log, Path(os.devnull).open("w") as nobody:
        if before is not None:
            shell = ["/bin/sh", "-c", f'{before}exec "$@"', "sh", sys.executable, "-m", "uidsync", *map(str, words)]
            process = subprocess.Popen(
                shell, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        else:
            process = Command(words, environment, stdout=nobody, stderr=log)
    relay = Relay(process, port, state_dir, context)

    def is_up():
        assert process.poll() is None, relay.read_log()
        return f'"port": {port}' in relay.read_log()

    wait_until(is_up)
    return relay


def make_environment(tenant, state_dir, port, **variables):
    """Make the original's environment for a relay to a simulated tenant."""
    known = {
        "API_KEY": tenant.api_key, "API_KEY_ID": tenant.line["api_key_id"], "FQDN": tenant.line["fqdn"], "PSK": PSK,
        "PORT": str(port), "T1": "0.05", "REQUESTS_CA_BUNDLE": str(tenant.ca_file), "STATE_DIRECTORY": str(state_dir),
    }  # fmt: skip
    return {name: value for name, value in (known | variables).items() if value is not None}


@contextmanager
def by_environment(tenant, place, *, before=None, **variables):
    """Run a relay by the original's environment variables."""
    port = free_port()
    (place / "stderr").unlink(missing_ok=True)
    relay = start(["relay"], make_environment(tenant, place, port, **variables), place, port, before=before)
    yield from watched(relay)


@contextmanager
def by_configuration(site, tenant, context=None, *, before=None, **keys):
    """Run a relay by a site's configuration."""
    port = free_port()
    configure(site, tenant, port, **keys)
    (site.state_dir / "stderr").unlink(missing_ok=True)
    words = ["relay", "--config", site.write()]
    yield from watched(start(words, site.environment, site.state_dir, port, context, before=before))


def configure(site, tenant, port, **keys):
    """Give a site a source, a target and a relay."""
    if not site.source:
        site.use_rows([("192.0.2.7", "jdoe01")])
    if not site.targets:
        site.add_firewall("fw-away", host="127.0.0.1", port=1, api_key_file=site.secret("fw-away-key", "no-key"))
    known = {
        "listen": f"127.0.0.1:{port}",
        "psk_file": site.secret("relay-psk", PSK),
        "fqdn": tenant.line["fqdn"],
        "api_key_id": tenant.line["api_key_id"],
        "api_key_file": site.secret("relay-api-key", tenant.api_key),
        "ca_file": tenant.ca_file,
        **QUICK,
    }
    site.tables["relay"] = {name: value for name, value in (known | keys).items() if value is not None}


def watched(relay):
    """Hand out a relay; at its end it has shown no trace and no secret."""
    try:
        yield relay
        if relay.process.poll() is None:
            assert relay.end() == 0, relay.read_log()
    finally:
        if relay.process.poll() is None:
            relay.process.kill()
            relay.process.wait()
    said = relay.read_log()
    assert "Traceback" not in said
    assert PSK not in said


def trust(ca_file, certificate=None):
    """Make a client's context that trusts a CA, and shows a certificate."""
    context = ssl.create_default_context(cafile=ca_file)
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def write_chain(place, *, not_after=None, names=("127.0.0.1",), swapped=False):
    """Write a certificate with its chain and its key, and return the keys of the configuration."""
    authority = trustme.CA().create_child_ca()
    leaf = authority.issue_cert(*names, not_after=not_after)
    blobs = [blob.bytes() for blob in leaf.cert_chain_pems]
    if swapped:
        blobs = [blobs[0], trustme.CA().cert_pem.bytes()]
    (place / "relay.pem").write_bytes(b"".join(blobs))
    leaf.private_key_pem.write_to_path(place / "relay-key.pem")
    return {"certificate_file": place / "relay.pem", "key_file": place / "relay-key.pem"}


def find(ended):
    """Return the findings of a command that printed JSON, by what was looked at."""
    return {finding["what"]: finding for finding in ended.report["findings"]}
