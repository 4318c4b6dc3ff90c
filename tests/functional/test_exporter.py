"""`uidsync exporter` against simulated firewalls: what scrapers and people get, and in what time."""

import http.client
import json
import re
import signal
import socket
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import pytest
from lxml import html
from prometheus_client.parser import text_string_to_metric_families

from tests.cli_firewall import running_command_line
from tests.command import call
from tests.forks import start_simulator
from tests.functional.conftest import DEADLINE, Site
from tests.limits import wait_until, within
from tests.safeconnect import free_port
from uidsync.cli.neighbours import exporter as command
from uidsync.integrations.exporter.probes import MOST_LOOKS
from uidsync.simulator.vpn import Tunnel, Vpn

ROWS = [(f"10.1.0.{number}", f"user-{number}") for number in range(1, 21)]
TUNNELS = [
    {"name": "HQ", "monitor": "up"},
    {"name": "branch", "state": "init"},
    {"name": "DC:net-a"},
    {"name": "DC:net-b", "state": "inactive"},
    {"name": "bank", "monitor": "down", "peer_ip": "203.0.113.99"},
    {"name": '<b>"&\\'},
]
SLOW = 3.0  # seconds that the slow firewall takes
SECRET_WORDS = re.compile("|".join(rf"\b{re.escape(word)}\b" for row in ROWS for word in row))


class Exporter:
    """A running exporter of a site, which nobody's answer may tell secrets or names from."""

    def __init__(self, site, process, port):
        self.site, self.process, self.port = site, process, port

    def ask(self, path, **headers):
        """Ask, and return status, headers and body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read().decode()
        for secret in self.site.secrets:
            assert secret not in body
        assert SECRET_WORDS.search(body) is None
        return response.status, response.headers, body

    def scrape(self, path, seconds="10"):
        """Scrape as Prometheus does, and return the samples as {name: [(labels, value)]}."""
        status, headers, body = self.ask(path, **{"X-Prometheus-Scrape-Timeout-Seconds": seconds})
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        found = {}
        for family in text_string_to_metric_families(body):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found


@contextmanager
def running(site, **keys):
    """Run an exporter of a site; at SIGTERM it ends well and at once, and its log tells no secret."""
    port = free_port()
    site.tables["exporter"] = {"listen": f"127.0.0.1:{port}", **keys}
    process = site.start("exporter")
    started = process.stderr.readline()
    assert "exporter.started" in started, started
    try:
        yield Exporter(site, process, port)
    finally:
        with within(2):
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err
        assert not [secret for secret in site.secrets if secret in err]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Set up a site after a run: a firewall that is well, a slow one, a dead one, a pair, an agent."""
    site = Site(tmp_path_factory.mktemp("exporter"))
    site.use_rows(ROWS)
    with ExitStack() as stack:
        well, slow = (stack.enter_context(start_simulator("firewall")) for _ in range(2))
        pair = stack.enter_context(start_simulator("firewall", pair=True))
        agent = stack.enter_context(start_simulator("agent"))
        site.add_firewall("fw-well", well)
        site.add_firewall("fw-slow", slow)
        site.add_firewall("fw-dead", host="127.0.0.1", port=free_port(), api_key_file=site.targets[0]["api_key_file"])
        site.add_pair("fw-pair", pair)
        site.add_agent("uia-1", agent)
        site.tables["tunnels"] = {"expected": {"fw-well": ["gone", *(tunnel["name"] for tunnel in TUNNELS)]}}
        well.do("tunnels", tunnels=TUNNELS)
        slow.do("tunnels", tunnels=TUNNELS)
        pair.do("tunnels", tunnels=[{"name": "HQ"}])
        pair.do("tunnels", unit="peer", tunnels=[{"name": "HQ", "state": "init"}])
        report = site.call("sync", "--target", "fw-well", "--target", "uia-1", "--json").out
        site.state_dir.joinpath("last-run.json").write_text(report)
        with running(site, ask_every="0s") as exporter:  # each test sets up the firewalls anew
            yield exporter, {"well": well, "slow": slow, "pair": pair}


@pytest.fixture
def exporter(world):
    """Return the running exporter."""
    return world[0]


@pytest.fixture
def firewalls(world):
    """Return the simulated firewalls, whose faults end with the test."""
    yield world[1]
    for firewall in world[1].values():
        firewall.do("fault", name=None)


def in_site(site):
    """Return the words that call the command with a site's configuration, in this process."""
    return "exporter", "--config", site.write()


def only(samples, **labels):
    """Return the one value among samples that have these labels."""
    (value,) = [value for has, value in samples if labels.items() <= has.items()]
    return value


def test_a_firewall_tells_of_its_tunnels(exporter):
    """Up, down, degraded and missing are told apart, by tunnel and in the metric that older dashboards have."""
    found = exporter.scrape("/probe?target=fw-well")
    assert found["panos_up"] == [({"target": "fw-well"}, 1)]
    conditions = {has["tunnel"]: has["condition"] for has, value in found["panos_ipsec_tunnel_condition"] if value}
    assert conditions == {
        "HQ": "up", "branch": "down", "DC": "degraded", "bank": "degraded", '<b>"&\\': "up", "gone": "missing"
    }  # fmt: skip
    assert only(found["panos_ha_active"], target="fw-well") == 1
    statuses = {has["ifAlias"]: value for has, value in found["ifIPsecOperStatus"]}
    assert statuses["HQ"] == 1
    assert statuses["branch"] == statuses["DC:net-b"] == 2
    assert only(found["panos_ipsec_sa_remaining_seconds"], tunnel="HQ") > 0
    assert found["panos_ike_gateway_up"]


def test_the_other_command_has_the_same_verdicts(exporter):
    """`uidsync tunnels` and the page think of every tunnel what a scrape thinks of it."""
    found = exporter.scrape("/probe?target=fw-well")["panos_ipsec_tunnel_condition"]
    scraped = {has["tunnel"]: has["condition"] for has, value in found if value}
    told = json.loads(call("tunnels", "all", "--target", "fw-well", *in_site(exporter.site)[1:]).out)
    assert {tunnel["name"]: tunnel["condition"] for tunnel in told["tunnels"]} == scraped
    page = html.document_fromstring(exporter.ask("/")[2])
    (shown,) = [article for article in page.find_class("wide") if article.findtext("h3") == "fw-well"]
    rows = [[cell.text_content() for cell in row][:2] for row in shown.iterfind(".//tbody/tr")]
    assert {name: state.split()[1] for state, name in rows} == scraped


def test_both_members_of_a_pair_are_told(exporter, firewalls):
    """Each member has its own state beside its role, and the roles change with a hand-over."""
    roles = {}
    for state in ("active", "passive"):
        firewalls["pair"].do("ha", state=state)
        found = exporter.scrape("/probe?target=fw-pair")
        roles[state] = {has["member"]: value for has, value in found["panos_ha_active"]}
        assert sorted(value for _, value in found["panos_ipsec_tunnel_up"]) == [0, 1]
    assert sorted(roles["active"].values()) == [0, 1]
    assert roles["passive"] == {member: 1 - value for member, value in roles["active"].items()}
    firewalls["pair"].do("ha", state="active")


def test_dead_and_slow_firewalls_cost_the_others_nothing(exporter, firewalls):
    """With one of three dead and one slow, scraped all at once, every series of the third is there, and soon."""
    before = exporter.scrape("/probe?target=fw-well")
    firewalls["slow"].do("fault", name="accepted_never_answered")

    def scrape(name, seconds, most):
        with within(most):
            return exporter.scrape(f"/probe?target={name}", seconds)

    # The slow one in time for a Prometheus that waits two seconds.
    asked = (("fw-well", "60", 1.5), ("fw-dead", "60", 1.5), ("fw-slow", "2", 2.0))
    with ThreadPoolExecutor(3) as pool:
        well, dead, slow = pool.map(lambda each: scrape(*each), asked)
    assert {name: len(samples) for name, samples in well.items()} == {
        name: len(samples) for name, samples in before.items()
    }
    for found in (dead, slow):
        assert [value for _, value in found["panos_up"]] == [0]
        assert only(found["panos_failure"], kind="Unreachable") == 1
        assert "panos_ipsec_tunnel_up" not in found


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("html_502", "Busy", ""),
        ("truncated_xml", "BadReply", ""),
        ("invalid_key", "Unauthorized", ""),
        ("echoed_key", "Unauthorized", ""),
        ("role_missing", "Unauthorized", "give the key's role XML API > Operational Requests"),  # and not busy
    ],
)
def test_a_failure_is_told_by_its_kind(exporter, firewalls, fault, kind, words):
    """Whatever goes wrong is neither up nor down, and its words, which may hold the key, are in no answer."""
    firewalls["well"].do("fault", name=fault)
    found = exporter.scrape("/probe?target=fw-well")
    assert [has["kind"] for has, value in found["panos_failure"] if value] == [kind]
    assert "panos_ipsec_tunnel_up" not in found
    page = html.document_fromstring(exporter.ask("/")[2]).text_content()
    assert ("fw-well: tunnels are not known: " in page, words in page) == (True, True)


def test_a_list_that_is_too_short_is_not_believed(exporter, firewalls):
    """A firewall that declares more tunnels than it lists is not known, and says so."""
    firewalls["well"].do("tunnels", declared=9)
    found = exporter.scrape("/probe?target=fw-well")
    firewalls["well"].do("tunnels")
    assert found["panos_up"] == [({"target": "fw-well"}, 0)]
    assert only(found["panos_ipsec_tunnels_declared"], target="fw-well") == 9


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/probe?target=uia-1", 404), ("/probe?target=127.0.0.1", 404), ("/probe?target=fw-well.example.edu", 404),
        ("/probe?target=", 404), ("/probe?target=fw-well%00", 404), ("/probe", 400), ("/probe?x=fw-well", 400),
        ("/probe?target=fw-well&target=fw-dead", 400), ("/metrics/", 404), ("/../etc/passwd", 404),
    ],
)  # fmt: skip
def test_nothing_else_is_asked_or_shown(exporter, path, status):
    """What is no firewall of the configuration is not found, an agent and an address included."""
    assert exporter.ask(path)[0] == status


def test_the_health_of_the_sync_is_that_of_the_report(exporter):
    """/metrics has what the last run's report has, read anew for each scrape."""
    file = exporter.site.state_dir / "last-run.json"
    before = file.read_text()
    found = exporter.scrape("/metrics")
    assert found["uidsync_report_readable"] == [({}, 1)]
    assert only(found["uidsync_last_success_timestamp_seconds"], target="uia-1") > time.time() - 600
    assert 0 < time.time() - only(found["uidsync_exporter_start_timestamp_seconds"]) < 600
    file.write_text(json.dumps(json.loads(before) | {"exit_code": 3}))
    assert exporter.scrape("/metrics")["uidsync_exit_code"] == [({}, 3)]
    for text in ("", before[: len(before) // 2], '{"schema": 9}', "[]"):
        file.write_text(text)
        found = exporter.scrape("/metrics")
        assert found["uidsync_report_readable"] == [({}, 0)]
        assert "uidsync_exit_code" not in found
        assert "report cannot be read" in exporter.ask("/")[2]
    file.unlink()
    assert exporter.scrape("/metrics")["uidsync_report_readable"] == [({}, 0)]
    file.write_text(before)


def test_the_page_shows_everything_but_people(exporter):
    """Every target, the tunnels by name, and what is wrong, under a policy that lets nothing else in."""
    for name in ("fw-well", "fw-dead"):  # the page believes for half a minute what another test saw
        exporter.scrape(f"/probe?target={name}")
    status, headers, body = exporter.ask("/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    page = html.document_fromstring(body)
    text = " ".join(page.text_content().split())
    assert [name for name in ("fw-well", "fw-slow", "fw-dead", "fw-pair", "uia-1") if name not in text] == []
    assert "fw-well: down: branch" in text
    assert "fw-dead: tunnels are not known: Connection refused" in text
    assert '<b>"&\\' in text
    assert page.findall(".//b") == []


def test_a_firewall_tells_what_it_knows_of_users(site, firewall):
    """Counts by type, connections and ages come with a scrape and on the page; without the right, none of them."""
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    firewall.do("learn", ip="10.9.9.9", user="somebody", type="UIA")
    firewall.do("around", agents={"dc-1": True, "dc-2": False}, peers={"hub": True}, groups_age=300, limit=64_000)
    with running(site, ask_every="0s") as exporter:
        found = exporter.scrape("/probe?target=fw")
        assert {has["type"]: value for has, value in found["panos_userid_mappings"]} == {
            "XMLAPI": len(ROWS), "UIA": 1, "other": 0,
        }  # fmt: skip
        assert found["panos_userid_mappings_limit"] == [({"target": "fw"}, 64_000)]
        assert {has["agent"]: value for has, value in found["panos_userid_agent_connected"]} == {"dc-1": 1, "dc-2": 0}
        assert found["panos_userid_groups_age_seconds"] == [({"target": "fw"}, 300)]
        text = " ".join(html.document_fromstring(exporter.ask("/")[2]).text_content().split())
        assert "mappings in its table20 XMLAPI, 1 UIA, 0 other; at most 64,000" in text
        assert "fw: is not connected to User-ID agent dc-2" in text
        assert "groups read5 min ago" in text
        firewall.do("fault", name="role_missing", types=["op"])
        assert not [name for name in exporter.scrape("/probe?target=fw") if name.startswith("panos_userid")]


def test_a_lost_table_is_red_and_old_groups_are_yellow(site, firewall):
    """What the last run just sent may not show yet; a table that was lost after it makes the page red."""
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    firewall.do("around", groups_age=90_000)
    lost = "■ fw: its table has 0 mappings by this API, and accepted 20 that have not expired"
    with running(site, ask_every="0s") as exporter:

        def look():
            return " ".join(html.document_fromstring(exporter.ask("/")[2]).text_content().split())

        assert site.call("sync").code == 0
        firewall.do("clear")
        exporter.scrape("/probe?target=fw")
        assert lost not in look()
        assert site.call("verify", "--repair").code == 0
        assert site.call("sync").code == 0
        exporter.scrape("/probe?target=fw")
        text = look()
        assert "▲ fw: last read groups 25 hours ago" in text
        assert lost not in text
        firewall.do("clear")
        exporter.scrape("/probe?target=fw")
        assert lost in look()


def test_tags_stand_on_the_page(site, firewall):
    """The page tells how many users and addresses should have tags, and how many have."""
    site.tables["roles"] = {"user_tags": {"STAFF": "staff"}}
    site.use_rows([("10.1.0.1", "user-1,STAFF"), ("10.1.0.2", "user-2,STAFF")])
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    with running(site) as exporter:
        text = " ".join(html.document_fromstring(exporter.ask("/")[2]).text_content().split())
        assert "tags: should hold, holds2, 2" in text
        found = exporter.scrape("/metrics")
    assert found["uidsync_tags_wanted"] == found["uidsync_tags_held"] == [({"target": "fw"}, 2)]


def test_requests_are_counted_and_no_path_is_a_label(exporter):
    """Whatever is asked for, the counter has no more series than there are paths and codes."""
    for number in range(20):
        exporter.ask(f"/{number}")
    found = exporter.scrape("/metrics")["uidsync_exporter_requests_total"]
    assert only(found, path="other", code="404") >= 20
    assert {has["path"] for has, _ in found} <= {"/", "/metrics", "/probe", "other"}


def test_a_new_key_is_read_where_it_is(exporter, firewalls):
    """A key that was replaced is used from the next scrape on."""
    key = exporter.site.targets[1]["api_key_file"]
    before = key.read_text()
    changed = firewalls["slow"].do("key", value="another-key-of-the-same-firewall")["api_key"]
    assert only(exporter.scrape("/probe?target=fw-slow")["panos_failure"], kind="Unauthorized") == 1
    key.write_text(changed)
    assert exporter.scrape("/probe?target=fw-slow")["panos_up"] == [({"target": "fw-slow"}, 1)]
    firewalls["slow"].do("key", value=before.strip())
    key.write_text(before)


def test_the_file_has_all_firewalls(exporter, tmp_path):
    """`--textfile` writes what is known of all, for everybody to read, and exits 1 when one is not known."""
    file = tmp_path / "tunnels.prom"
    assert call(*in_site(exporter.site), "--textfile", file).code == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    ups = {}
    for family in text_string_to_metric_families(file.read_text()):
        for sample in family.samples:
            assert sample.timestamp is None
            ups |= {sample.labels["target"]: sample.value} if family.name == "panos_up" else {}
    assert ups == {"fw-well": 1, "fw-slow": 1, "fw-dead": 0, "fw-pair": 1}
    ended = call(*in_site(exporter.site), "--textfile", tmp_path / "nowhere" / "x.prom")
    assert ended.code == 1
    assert "textfile.unwritten" in ended.err


def test_a_signal_ends_it_though_a_firewall_hangs(site, firewall):
    """SIGTERM while a probe waits for a firewall is obeyed at once; `running` looks at the time and the code."""
    firewall.do("fault", name="accepted_never_answered")
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    with running(site) as exporter, socket.create_connection(("127.0.0.1", exporter.port)) as scraper:
        scraper.sendall(b"GET /probe?target=fw HTTP/1.0\r\n\r\n")
        wait_until(firewall.requests)


def test_a_slow_firewall_gets_the_time_that_each_scraper_allows(site, firewall):
    """Who allows more time than the page, which asked before, gets all that the firewall says, and so does the page."""
    firewall.do("tunnels", tunnels=TUNNELS)
    firewall.do("fault", name="slow", latency_ms=600)
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    with running(site, timeout="1s") as exporter:
        with ThreadPoolExecutor(2) as pool:
            page = pool.submit(exporter.ask, "/")
            while not firewall.requests():
                time.sleep(0.01)
            found = pool.submit(exporter.scrape, "/probe?target=fw", "30").result()
            page.result()
        assert found["panos_up"] == [({"target": "fw"}, 1)]
        assert {has["part"] for has, value in found["panos_part_readable"] if value} == {
            "ha", "gateways", "ike_sas", "ipsec_sas", "users",
        }  # fmt: skip
        assert "fw: down: branch" in html.document_fromstring(exporter.ask("/")[2]).text_content()


def test_many_scrapes_are_few_questions(site, firewall):
    """A firewall is asked once for all who scrape it at once or soon after, whatever they do."""
    firewall.do("tunnels", tunnels=TUNNELS)
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    with running(site, ask_every="1m") as exporter:
        firewall.do("reset-counters")
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(exporter.scrape, ["/probe?target=fw"] * 60, ["10", "9", "8"] * 20))
        assert all(each["panos_up"] == [({"target": "fw"}, 1)] for each in found)
        assert len(firewall.requests()) <= 14 * MOST_LOOKS  # five questions on tunnels, nine on User-ID


def test_a_strange_name_is_told_nothing(exporter):
    """A page elsewhere cannot read what is here by a name of its own; the configuration can name others."""
    for path in ("/", "/metrics", "/probe?target=fw-well", "/nothing"):
        status, _, body = exporter.ask(path, Host=f"evil.example:{exporter.port}")
        assert (status, "names" in body, "uidsync_" in body) == (421, True, False)
    for host in (f"localhost:{exporter.port}", "[::1]", socket.gethostname()):
        assert exporter.ask("/metrics", Host=host)[0] == 200


def test_a_proxy_may_have_a_name(site, firewall):
    """Names in the configuration are taken in whatever case, and no others."""
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    with running(site, names=["Status.Example.edu"]) as exporter:
        assert exporter.ask("/metrics", Host="status.example.EDU")[0] == 200
        assert exporter.ask("/metrics", Host="example.edu")[0] == 421


def test_a_refused_login_is_not_tried_again_at_once(site):
    """Scraped again and again, an account whose password is wrong is tried once a minute; a new password at once."""
    pytest.importorskip("asyncssh")
    site.use_rows(ROWS)
    password = site.secret("fw-ssh-password", "wrong")
    site.environment = {"CREDENTIALS_DIRECTORY": str(site.place)}
    site.targets = [{"name": "fw", "kind": "firewall", "host": "127.0.0.1"}]
    vpn = Vpn()
    vpn.put(Tunnel("HQ"))
    with running_command_line(site.place, vpn=vpn) as line:
        ssh = {"ssh": ["fw"], "ssh_port": line.port, "ssh_known_hosts": str(line.known_hosts)}
        site.tables["tunnels"] = ssh
        with running(site, ask_every="0s") as exporter:
            for _ in range(5):
                found = exporter.scrape("/probe?target=fw")
                assert [has["kind"] for has, _ in found["panos_failure"]] == ["Unauthorized"]
            assert line.passwords == ["wrong"]
            assert "not tried again for" in exporter.ask("/")[2]
            password.write_text(line.password)
            assert exporter.scrape("/probe?target=fw")["panos_up"] == [({"target": "fw"}, 1)]


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", "localhost:1", "127.0.0.1:65536", "::1:80", "[127.0.0.1]:80", ":80", ""]
)
def test_where_to_listen_must_be_an_address(tmp_path, listen):
    """A name, a missing or impossible port is an error of the configuration, by its key."""
    site = Site(tmp_path)
    site.tables["exporter"] = {"listen": listen}
    ended = call(*in_site(site))
    assert ended.code == 2
    assert "exporter.listen: not an address and a port" in ended.err


def test_a_port_in_use_is_told(exporter):
    """A second exporter on the same port ends with 2, and says which key to change."""
    ended = call(*in_site(exporter.site))
    assert ended.code == 2
    assert f"exporter.listen: 127.0.0.1:{exporter.port}: Address already in use" in ended.err


def test_without_its_package_it_says_what_to_install(exporter, monkeypatch):
    """Where prometheus_client is not installed the exporter ends with 2 and one line."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    ended = call(*in_site(exporter.site))
    assert ended.code == 2
    assert re.search(r"-m pip install -e '/\S+\[exporter\]'", ended.err)


@pytest.mark.parametrize("what", command.SHIPPED)
def test_what_is_shipped_is_printed(what, tmp_path, monkeypatch):
    """Rules and dashboard need neither a configuration nor the package."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    ended = call("exporter", what, "--config", tmp_path / "none.toml")
    assert ended.code == 0
    assert "uidsync" in ended.out
