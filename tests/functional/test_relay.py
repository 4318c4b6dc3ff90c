"""`uidsync relay` as a firewall sees it: in the original's place, with honest answers, and no alert lost."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.command import call
from tests.forks import start_simulator
from tests.functional.conftest import DEADLINE, Site
from tests.functional.relays import (
    PSK,
    by_configuration,
    by_environment,
    configure,
    make_body,
    make_environment,
    read_numbers,
    start,
    write_chain,
)
from tests.integrations.test_relay_reading import DUMP, QUICK_TEST
from tests.limits import wait_until, within
from tests.safeconnect import free_port

CRLF = b"\r\n"


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    """Run one relay by the original's environment, with DEBUG, for tests that change nothing for others."""
    place = tmp_path_factory.mktemp("relay")
    with start_simulator("xdr") as tenant, by_environment(tenant, place, DEBUG="no") as relay:
        yield relay


# ---- in the original's place -------------------------------------------------------------------------------------


def test_the_quick_test_works_as_printed(tenant, tmp_path):
    """Curl as the original's page prints it gets an empty 200, three lines are logged, and the tenant has the alert."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is missing")
    with by_environment(tenant, tmp_path, before="", PSK="hello", DEBUG="yes", T1=None) as relay:
        url = f"http://127.0.0.1:{relay.port}/in"
        words = [curl, "-si", "-X", "POST", "-H", "Authorization: hello", url, "-d", QUICK_TEST]
        head, _, body = subprocess.run(words, capture_output=True, check=True).stdout.partition(CRLF + CRLF)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nContent-Length: 0" in head
        assert body == b""
        (alert,) = wait_until(lambda: tenant.do("state")["alerts"])
        assert (alert["severity"], alert["event_timestamp"]) == ("High", 1609965874000)
        assert alert["alert_description"].startswith("Mozi Command and Control Traffic Detection;serial=9999;")
        wait_until(lambda: "insert_parsed_alerts" in relay.read_log())
        lines = [line for line in relay.read_log().splitlines() if re.match(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", line)]
        assert [line[20:] for line in lines] == [
            f"starting http service on port {relay.port}",
            "api - successfully parsed alert",
            "xdrclient - successful call to insert_parsed_alerts",
        ]


def test_the_documentation_s_curl_reaches_the_tenant(tenant, tmp_path):
    """What docs/relay.md prints for curl gets an empty 200, and the tenant has the alert within five seconds."""
    page = (Path(__file__).parents[2] / "docs/relay.md").read_text("utf-8")
    (line,) = re.findall(r"^    (curl -X POST .*?---annex---.*?)$", page, re.DOTALL | re.MULTILINE)
    if shutil.which("curl") is None:
        pytest.skip("curl is missing")
    with by_environment(tenant, tmp_path, PSK="hello", T1=None) as relay, within(5):
        words = shlex.split(line.replace("127.0.0.1:8080", f"127.0.0.1:{relay.port}"))
        assert subprocess.run(words, capture_output=True, check=True).stdout == b""
        (alert,) = wait_until(lambda: tenant.do("state")["alerts"])
    assert (alert["local_ip"], alert["remote_ip"]) == ("192.0.2.7", "198.51.100.9")


def test_a_nonce_is_in_no_log(tenant, tmp_path):
    """With DEBUG the log has whole alerts, and neither nonces nor keys."""
    with by_environment(tenant, tmp_path, DEBUG="1") as relay:
        relay.send([1])
        wait_until(lambda: relay.stats["PipeOut"] == 1)
        said = relay.read_log()
    assert "threat-1" in said
    assert "nonce" not in said
    assert tenant.api_key not in said
    assert re.search(r"[A-Za-z0-9]{64}", said) is None


def test_stats_and_dump_are_the_original_s(tenant, tmp_path):
    """/dump is the original's to the byte; /stats has its names in its order, and counts each alert once."""
    with by_environment(tenant, tmp_path) as relay:
        assert relay.ask("GET", "/dump")[2].decode() == DUMP
        assert relay.send([1, 2]) == [200, 200]
        assert relay.ask(body=b"no alert")[0] == 400
        assert relay.ask(body=make_body(), psk="wrong")[0] == 401
        wait_until(lambda: relay.stats["PipeOut"] == 2)
        text = relay.ask("GET", "/stats")[2].decode()
        stats = json.loads(text)
        names = "ParseErrors EventsReceived PSKErrors POSTSend POSTFailures PipeIn PipeInErr PipeOutErr PipeOut"
        assert list(stats)[:9] == names.split()
        assert text.startswith('{\n  "ParseErrors": 1,\n  "EventsReceived": 3,\n  "PSKErrors": 1,\n')
        assert (stats["PipeIn"], stats["PipeOut"], stats["AlertsSend"], stats["Discards"]) == (2, 2, 2, 0)
        assert stats["UpdatesSend"] == stats["POSTSend"] >= 1


def test_the_other_variables_hold(tenant, tmp_path):
    """OFFSET, UPDATE_SIZE and BUFFER_SIZE mean what they meant, or should have meant."""
    tenant.do("close")
    with by_environment(tenant, tmp_path, OFFSET="-5", UPDATE_SIZE="10", BUFFER_SIZE="25") as relay:
        assert relay.send(range(30)) == [200] * 25 + [503] * 5
        tenant.do("open")
        wait_until(lambda: len(read_numbers(tenant)) == 25)
        state = tenant.do("state")
        assert max(alerts for _, alerts, _ in state["updates"]) == 10
        assert state["alerts"][0]["event_timestamp"] == 1772384400000  # 12:00 five hours west of Greenwich
        assert relay.stats["PipeInErr"] == relay.stats["Discards"] == 5


def test_blanks_around_a_variable_do_no_harm(tenant, tmp_path):
    """What a file of variables easily has behind a value is not part of it."""
    given = {"API_KEY": f" {tenant.api_key} ", "FQDN": f"{tenant.line['fqdn']}\n", "API_KEY_ID": "1\r", "PSK": "hello "}
    with by_environment(tenant, tmp_path, **given) as relay:
        assert relay.ask(body=make_body(), psk="hello")[0] == 200
        wait_until(lambda: read_numbers(tenant) == [1])


def test_without_psk_nothing_is_asked_for(tenant, tmp_path):
    """Without a PSK anybody may send, with any Authorization header too, and the log warns of it."""
    with by_environment(tenant, tmp_path, PSK=None) as relay:
        assert relay.ask(body=make_body(), psk=None)[0] == 200
        assert relay.ask(body=make_body(), psk="whatever")[0] == 200
        for words in ("relay.open", "set PSK", "put a proxy with TLS"):
            assert words in relay.read_log()
    said = call("relay", "status", environment=make_environment(tenant, tmp_path, relay.port)).out
    assert ("no relay is running" in said, "systemctl" in said) == (True, False)  # whoever sets variables has no unit


# ---- honest answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("psk", [None, "", "hello", PSK.upper(), PSK + " x", f"Bearer {PSK}", "\xfc"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/in"), ("GET", "/stats"), ("GET", "/dump"), ("GET", "/metrics")]
)
def test_a_wrong_psk_is_401(relay, psk, method, path):
    """Whoever does not have the key is told so, and gets nothing else."""
    status, _, body = relay.ask(method, path, make_body() if method == "POST" else None, psk=psk)
    assert status == 401
    assert b"Authorization" in body


@pytest.mark.parametrize("path", ["/", "/in"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_button_that_tests_gets_200(relay, method, path):
    """What may only want to know whether somebody is there is no error, key or none."""
    before = relay.stats
    assert relay.ask(method, path, psk=None)[0] == 200
    assert relay.stats == before


def test_other_requests_are_refused(relay):
    """Unknown paths and methods have their own codes."""
    assert relay.ask("GET", "/elsewhere")[0] == 404
    status, headers, _ = relay.ask("PUT", "/in", make_body())
    assert (status, headers["Allow"]) == (405, "GET, HEAD, POST")
    assert relay.ask("POST", "/stats", b"")[0] == 405
    assert relay.ask(body=b"\x1f\x8b", Content_Encoding="gzip")[0] == 415


def test_the_content_type_means_nothing(relay):
    """Curl says that it sends a form, PAN-OS says nothing."""
    for kind in ("application/x-www-form-urlencoded", "application/json", "multipart/form-data", "", "odd"):
        assert relay.ask(body=make_body(), Content_Type=kind)[0] == 200


def test_what_is_unreadable_is_400_and_kept(tenant, tmp_path):
    """The raw body and the reason are kept, and shown to whoever asks."""
    with by_environment(tenant, tmp_path) as relay:
        status, _, said = relay.ask(body=b'{"src":"192.0.2.7","sport":70000}')
        assert (status, said) == (400, b"sport is no port from 0 to 65535\n")
        assert relay.ask(body=b"\xffodd")[0] == 400
        environment = make_environment(tenant, tmp_path, relay.port)
        listed = call("relay", "dead", "list", environment=environment)
        assert "unreadable: sport is no port" in listed.out
        shown = call("relay", "dead", "show", "1", "2", environment=environment)
        assert '{"src":"192.0.2.7","sport":70000}' in shown.out
        assert "\\xffodd" in shown.out
        assert relay.stats["ParseErrors"] == 2


def request(body=make_body(), *headers, version=b"1.1", length=True):  # noqa: B008 (bytes)
    """Write a request by hand."""
    lines = [b"POST /in HTTP/" + version, b"Host: relay", b"Authorization: " + PSK.encode(), *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return CRLF.join([*lines, b"", b""]) + body


def chunk(*pieces):
    """Write pieces as chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


CLOSE = b"Connection: close"


@pytest.mark.parametrize(
    "pieces",
    [
        [request(version=b"1.0")],
        [request(make_body(), CLOSE)],
        [request(b"", CLOSE, b"Transfer-Encoding: chunked", length=False) + chunk(make_body()[:40], make_body()[40:])],
        [request(make_body(), CLOSE)[:70], request(make_body(), CLOSE)[70:]],
        [bytes([byte]) for byte in request(make_body(), CLOSE)],
    ],
    ids=["1.0", "1.1", "chunked", "split", "dripping"],
)
def test_every_way_of_http_is_understood(relay, pieces):
    """HTTP/1.0 and 1.1, whole, in chunks, in pieces."""
    said = relay.talk(*pieces)
    assert said.split(b" ")[1] == b"200", said


def test_expect_gets_its_100(relay):
    """A client that waits for a word before it sends its body gets one; not where the body is too long."""
    body = make_body()
    with relay.connect() as line:
        line.sendall(request(b"", b"Expect: 100-continue", CLOSE, b"Content-Length: %d" % len(body), length=False))
        assert line.recv(1000).startswith(b"HTTP/1.1 100 ")
        line.sendall(body)
        assert line.recv(1000).startswith(b"HTTP/1.1 200 ")
    head = request(b"", b"Expect: 100-continue", CLOSE, b"Content-Length: 9999999", length=False)
    assert relay.talk(head).startswith(b"HTTP/1.1 413 ")


def test_a_connection_is_kept(relay):
    """Many alerts come over one connection, and requests may come before the answers to others."""
    assert relay.send(range(50)) == [200] * 50
    said = relay.talk(request() * 9 + request(make_body(), CLOSE))
    assert said.count(b"HTTP/1.1 200 ") == 10


# ---- nothing is lost ---------------------------------------------------------------------------------------------


def test_a_full_queue_says_503(tenant, tmp_path):
    """What has no room is refused with 503, status says so, and what was taken before comes through."""
    tenant.do("close")
    with by_environment(tenant, tmp_path, BUFFER_SIZE="5") as relay:
        assert relay.send(range(10)) == [200] * 5 + [503] * 5
        assert relay.ask(body=make_body())[1]["Retry-After"] == "60"
        environment = make_environment(tenant, tmp_path, relay.port, BUFFER_SIZE="5")
        told = call("relay", "status", environment=environment).out
        assert "red    room: 100 % of the queue is taken  -> firewalls get a 503" in told
        wait_until(lambda: relay.health.get("room", {}).get("colour") == "red")
        tenant.do("open")
        wait_until(lambda: relay.stats["PipeOut"] == 5)
        assert relay.send([11]) == [200]
        wait_until(lambda: relay.stats["PipeOut"] == 6)
    assert read_numbers(tenant) == [0, 1, 2, 3, 4, 11]


def test_a_second_relay_is_refused(tenant, tmp_path):
    """Two on one queue would exceed the quota: the second ends with 5 and says why."""
    with by_environment(tenant, tmp_path):
        ended = call("relay", environment=make_environment(tenant, tmp_path, free_port()))
        assert ended.code == 5
        assert "another relay has the queue" in ended.err


def test_what_listens_already_is_told(site, tenant, tmp_path):
    """Another program on the port is an error of the configuration; a relay is told as one, whatever it asks for."""
    (tmp_path / "first").mkdir()
    keys = write_chain(tmp_path)
    keys["client_ca_file"] = keys["certificate_file"]
    with (
        by_configuration(Site(tmp_path / "first"), tenant, **keys) as relay,
        closing(socket.create_server(("127.0.0.2", relay.port))),
    ):
        program = f"another program (ss -ltnp 'sport = :{relay.port}')"
        for address, who, code in (("127.0.0.1", "another relay", 5), ("0.0.0.0", "another relay", 5),  # noqa: S104
                                   ("127.0.0.2", f"relay.listen: {program}", 2)):  # fmt: skip
            configure(site, tenant, relay.port, listen=f"{address}:{relay.port}")
            ended = site.call("relay")
            assert (ended.code, f"{who} listens at {address}:{relay.port} already" in ended.err) == (code, True)
            assert ("set relay.listen to another port" in ended.err) == (code == 5)
    with by_environment(tenant, tmp_path / "other") as relay:  # on all addresses
        configure(site, tenant, relay.port)
        assert site.call("relay").code == 5
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        ended = call("relay", environment=make_environment(tenant, tmp_path, other.getsockname()[1]))
        assert (ended.code, "PORT: another program (ss -ltnp" in ended.err) == (2, True)


def test_the_journal_has_no_personal_data(site, tenant):
    """Addresses and what alerts say are not in the log, in no answer of the relay to others, and in no process list."""
    with by_configuration(site, tenant, before="") as relay:
        relay.send(range(5))
        relay.ask(body=b'{"src":"192.0.2.7","sport":70000}')
        wait_until(lambda: relay.stats["PipeOut"] == 5)
        with open(f"/proc/{relay.process.pid}/cmdline") as line:  # noqa: PTH123 (no file)
            assert tenant.api_key not in line.read()
        public = relay.read_log() + json.dumps(relay.health) + json.dumps(relay.metrics)
    for private in ("192.0.2.7", "threat-1", "198.51.100.9", tenant.api_key):
        assert private not in public


def test_a_missing_extra_is_named(tmp_path):
    """Without aiohttp the command says what to install."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['aiohttp'] = None")
    ended = subprocess.run(
        [sys.executable, "-m", "uidsync", "relay"], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "the relay needs more packages" in ended.stderr
    assert f"{sys.executable} -m pip install" in ended.stderr
    assert "[relay]" in ended.stderr


def test_systemd_is_told(tenant, tmp_path):
    """READY comes when it listens, then signs of life, then STOPPING."""
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(place))
        told.settimeout(DEADLINE)
        port = free_port()
        environment = make_environment(tenant, tmp_path / "state", port)
        relay = start(
            ["relay"], environment | {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "300000"}, tmp_path / "state", port
        )
        assert told.recv(100) == b"READY=1"
        assert told.recv(100).startswith(b"WATCHDOG=1\nSTATUS=health: green, ")
        assert told.recv(100).startswith(b"WATCHDOG=1\n")
        assert relay.end() == 0
        while (word := told.recv(100)) != b"STOPPING=1":
            assert word.startswith(b"WATCHDOG=1")
