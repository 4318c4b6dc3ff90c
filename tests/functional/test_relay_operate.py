"""`uidsync relay` for whoever runs it: check, status, set-up, templates, and a configuration that is wrong."""

import http.client
import json
import re
import shlex
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from lxml import etree

from tests.command import call
from tests.functional.relays import (
    PSK,
    by_configuration,
    configure,
    find,
    make_body,
    read_numbers,
    start,
    write_chain,
)
from tests.integrations.test_relay_reading import DUMP, fill
from tests.limits import wait_until
from tests.safeconnect import free_port
from uidsync.integrations.relay.profile import read_url
from uidsync.integrations.relay.reading import read_body

XPATH = "/config/shared/log-settings/http/entry[@name='uidsync-relay']"
URL = "https://relay.example.edu:8443/in"


@pytest.fixture
def ready(site, tenant):
    """Set up a site with a relay that does not run."""
    configure(site, tenant, free_port())
    return site


# ---- check -------------------------------------------------------------------------------------------------------


def test_check_is_green_where_all_is_well(ready, tenant):
    """Key, permission, clock, port, disk, chain and senders are looked at, and no alert is sent."""
    ready.tables["relay"] |= write_chain(ready.place)
    ended = ready.call("relay", "check", "--json")
    findings = find(ended)
    assert {what: finding["colour"] for what, finding in findings.items()} == dict.fromkeys(
        ("configuration", "senders", "port", "disk", "certificate", "chain", "tenant", "clock"), "green"
    )
    assert tenant.line["fqdn"] in findings["tenant"]["words"]
    assert "firewalls need" in findings["chain"]["words"]
    assert ended.code == 0
    assert tenant.do("state")["alerts"] == []
    assert "green  tenant: " in ready.call("relay", "check").out


def test_check_tries_the_port(ready, tenant):
    """A port that a relay could not have is red, before a relay is started; that of a relay is well."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ready.tables["relay"]["listen"] = f"127.0.0.1:{other.getsockname()[1]}"
        finding = find(ready.call("relay", "check", "--json"))["port"]
        assert (finding["colour"], finding["advice"]) == ("red", "set relay.listen to another port")
        assert finding["words"].startswith("another program (ss -ltnp ")
    ready.tables["relay"]["listen"] = "192.0.2.44:8443"
    finding = find(ready.call("relay", "check", "--json"))["port"]
    assert finding["words"] == "192.0.2.44:8443: Cannot assign requested address"
    assert (finding["colour"], finding["advice"]) == ("red", "set relay.listen to an address of this host")
    with by_configuration(ready, tenant):
        assert "green  port: a relay listens there\n" in ready.call("relay", "check").out


def test_check_says_what_the_tenant_does_not_like(ready, tenant):
    """What somebody has to mend at the tenant is red, with what to do."""
    tenant.do("set", api_key="other")
    ended = ready.call("relay", "check", "--json")
    finding = find(ended)["tenant"]
    assert (ended.code, finding["colour"], "check the API key" in finding["advice"]) == (1, "red", True)


def test_check_measures_the_clock(ready, tenant):
    """A clock that is minutes off is red."""
    tenant.do("fault", name="skew", seconds=-400)
    assert find(ready.call("relay", "check", "--json"))["clock"]["colour"] == "red"


def test_check_without_a_tenant(ready, tenant):
    """A tenant that is away is yellow, for alerts wait; one that is not trusted is red."""
    tenant.do("close")
    assert find(ready.call("relay", "check", "--json"))["tenant"]["colour"] == "yellow"
    tenant.do("open")
    trustme.CA().cert_pem.write_to_path(ready.place / "other.pem")
    ready.tables["relay"]["ca_file"] = ready.place / "other.pem"
    tenant_finding = find(ready.call("relay", "check", "--json"))["tenant"]
    assert tenant_finding["colour"] == "red"
    assert "ca_file" in tenant_finding["advice"]


SOON = timedelta(days=9, hours=1)


@pytest.mark.parametrize(
    ("made", "what", "colour", "words"),
    [
        ({"not_after": datetime.now(UTC) - SOON}, "certificate", "red", "it has expired"),
        ({"not_after": datetime.now(UTC) + SOON}, "certificate", "yellow", ": 9 days left"),
        ({"swapped": True}, "chain", "red", "did not issue"),
    ],
    ids=("ended", "ending", "swapped"),
)
def test_check_looks_at_the_chain(ready, made, what, colour, words):
    """What a firewall would stumble over is told before it does."""
    ready.tables["relay"] |= write_chain(ready.place, **made)
    finding = find(ready.call("relay", "check", "--json"))[what]
    assert (finding["colour"], words in finding["words"]) == (colour, True)
    assert what == "chain" or finding["advice"] == "renew it"


def test_a_file_that_does_not_fit_is_named(ready):
    """Files that do not belong together, or are not there, are an error that names them, and the key at fault."""
    chain = write_chain(ready.place)
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(ready.place / "other-key.pem")
    for keys, words in (
        ({"key_file": ready.place / "other-key.pem"}, "other-key.pem"),
        ({"certificate_file": ready.place / "missing.pem"}, "missing.pem: No such file"),
        ({"client_ca_file": "/nope"}, "/nope cannot be used: No such file or directory; check relay.client_ca_file"),
    ):
        relay = ready.tables["relay"]
        ready.tables["relay"] = relay | chain | keys
        ended = ready.call("relay")
        assert (ended.code, words in ended.err) == (2, True), ended.err
        finding = find(ready.call("relay", "check", "--json"))["certificate"]
        ready.tables["relay"] = relay
    assert (finding["words"], finding["advice"]) == tuple(words.split("; "))


WRONG = (
        ({"fqdn": None}, "relay.fqdn: missing"), ({"api_key_id": None}, "relay.api_key_id: missing"),
        ({"update_size": 61}, "relay.update_size: must be at most 60"), ({"listen": "8080"}, "relay.listen: not an"),
        ({"alert_name": "{nothing}"}, "relay.alert_name: {nothing} is no field"),
        ({"alert_name": "alert"}, "relay.alert_name: names no field"),
        ({"time_zone": "CEST"}, "relay.time_zone"), ({"empty_address": "::"}, "relay.empty_address: must be"),
        ({"proxy": "http://me:secret@proxy:3128"}, "relay.proxy: must hold no user"),
        ({"client_ca_file": "ca.pem"}, "relay.client_ca_file: needs certificate_file"),
        ({"psk_file": "/nowhere/psk"}, "no secret relay-psk"), ({"fqnd": "x"}, "did you mean fqdn?"),
        ({"networks": ["192.0.2.1/24"]}, "has host bits set"), ({"max_age": "1s"}, "relay.max_age: must be between"),
)  # fmt: skip


def test_a_configuration_that_is_wrong_is_told(site, tenant):
    """Each key that is wrong is named, with what it may be."""
    for keys, words in WRONG:
        configure(site, tenant, free_port(), **keys)
        ended = site.call("relay")
        assert (ended.code, words in ended.err) == (2, True), (keys, ended.err)


# ---- a table alone -----------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tenant, tmp_path):
    """Write a configuration that has a relay, and neither source nor target."""
    port = free_port()
    file = tmp_path / "uidsync.toml"
    file.write_text(
        f'[relay]\nlisten = "127.0.0.1:{port}"\nfqdn = "{tenant.line["fqdn"]}"\napi_key_id = "1"\npoll_every = "50ms"\n'
        f'ca_file = "{tenant.ca_file}"\napi_key_file = "{tmp_path}/relay-api-key"\n[sync]\nstate_dir = "{tmp_path}/s"\n'
    )
    return file, port


def test_a_relay_needs_its_own_table_alone(alone, tenant, tmp_path):
    """Without source and targets a relay is checked, gets its key, and relays; the main job still asks for both."""
    file, port = alone
    finding = find(call("relay", "check", "--json", "--config", file))["tenant"]
    assert finding["colour"] == "red"
    assert finding["advice"] == "uidsync secret set relay-api-key; no restart is needed"
    words = [sys.executable, "-m", "uidsync", "secret", "set", "relay-api-key", "--config", file]
    subprocess.run(words, input=tenant.api_key, text=True, check=True, capture_output=True)
    assert find(call("relay", "check", "--json", "--config", file))["tenant"]["colour"] == "green"
    relay = start(["relay", "--config", file], {}, tmp_path / "s", port)
    assert relay.ask(body=make_body(), psk=None)[0] == 200
    wait_until(lambda: read_numbers(tenant) == [1])
    assert relay.end() == 0
    ended = call("sync", "--config", file)
    assert ended.code == 2
    assert "source: missing" in ended.err
    assert "target: missing" in ended.err


def test_names_of_people_need_a_source(alone):
    """What a relay cannot do by its own table alone is told."""
    file, _ = alone
    ended = call("relay", "setup", "fw-east", "--config", file)
    assert (ended.code, "setup needs" in ended.err) == (2, True)
    file.write_text(file.read_text().replace("[relay]", "[relay]\nwho = true"))
    ended = call("relay", "check", "--config", file)
    assert (ended.code, "relay.who: needs [source]" in ended.err) == (2, True)


# ---- status, template, dead letters ------------------------------------------------------------------------------


def test_status_tells_how_it_is(site, tenant):
    """While it runs, status has what waits and what could not be read; when it does not, that is red."""
    tenant.do("close")
    assert site.place
    with by_configuration(site, tenant) as relay:
        relay.send(range(3))
        relay.ask(body=b"odd")
        wait_until(lambda: relay.health.get("tenant", {}).get("colour") in {"yellow", "red"})
        ended = site.call("relay", "status")
        assert "3 alerts received, 0 delivered, 3 waiting, the oldest for " in ended.out
        assert "unreadable: " in ended.out
        assert "yellow tenant: network: " in ended.out or "red    tenant: network: " in ended.out
        assert site.call("relay", "status", "--json").report["counters"]["queued"] == 3
        relay.process.kill()
        relay.process.wait()
        ended = site.call("relay", "status")
        assert ended.code == 1
        assert ended.out.startswith("red    relay: no relay is running; the last sign of life was at ")
    (site.state_dir / "relay.json").unlink()
    assert "red    relay: no relay is running  -> systemctl start uidsync-relay\n" in site.call("relay", "status").out


def test_status_tells_of_the_last_update(site, tenant):
    """Whatever was sent last, and with what result, is told at once, and by the next relay and without one, too."""
    with by_configuration(site, tenant) as relay:
        assert "green  tenant: nothing was sent yet" in site.call("relay", "status").out
        relay.send([1, 2])
        wait_until(lambda: relay.stats["PipeOut"] == 2)
        assert "green  tenant: took the last update at " in site.call("relay", "status").out
        tenant.do("fault", name="status", status=400, words="no such field")
        relay.send([3])
        wait_until(lambda: relay.stats["PipeOutErr"] == 1)
        words = "yellow tenant: refused an update at "
        assert words in site.call("relay", "status").out
        assert "no such field  -> the alert at fault becomes a dead letter" in site.call("relay", "status").out
    assert words in site.call("relay", "status").out
    with by_configuration(site, tenant):
        assert words in site.call("relay", "status").out


def test_status_tells_who_was_refused(site, tenant):
    """A firewall with a wrong PSK or path is lost alerts: status says which one, why, and what to do."""
    with by_configuration(site, tenant) as relay:
        wait_until(lambda: relay.health)
        assert "green  senders: none was refused within an hour\n" in site.call("relay", "status").out
        for ask, words, advice in (
            ({"psk": "wrong"}, "the Authorization header is not the PSK of this relay", "give the firewall this PSK"),
            ({"path": "/alerts"}, "no such path", "the URI of the firewall's HTTP server profile must be /in"),
            ({"method": "PUT"}, "PUT is no method of /in", "firewalls must POST to /in"),
            ({"body": b"a" * 70_000}, "a body has at most 65536 bytes", ""),
            ({"body": b"{}", "Content_Encoding": "gzip"}, "send the body without compression", ""),
        ):
            assert relay.ask(**ask)[0] >= 400
            finding = wait_until(lambda: words in (found := relay.health["senders"])["words"] and found)  # noqa: B023
            assert (finding["colour"], finding["advice"].startswith(advice)) == ("yellow", True)
        told = site.call("relay", "status").out
        assert "yellow senders: 5 requests refused since the start, the last at " in told
        assert " from 127.0.0.1: send the body without compression\n" in told
    assert "senders" not in site.call("relay", "status").out


def test_status_tells_whose_tls_fails(site, tenant, tmp_path):
    """A firewall that speaks plain HTTP, or does not know the relay's CA, is told as well."""
    other = trustme.CA()
    distrusting = ssl.create_default_context(cadata=other.cert_pem.bytes().decode())
    with by_configuration(site, tenant, ssl.create_default_context(), **write_chain(tmp_path)) as relay:
        wait_until(lambda: relay.health)
        relay.context = distrusting
        with pytest.raises(ssl.SSLError):
            relay.ask(body=b"{}")
        finding = wait_until(lambda: "unknown ca" in (found := relay.health["senders"])["words"] and found)
        assert "the CA of this relay" in finding["advice"]
        relay.context = None
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            relay.ask(body=b"{}")
        finding = wait_until(lambda: "TLS: http request" in (found := relay.health["senders"])["words"] and found)
        assert "the protocol HTTPS" in finding["advice"]


def test_status_where_none_ever_ran(ready):
    """A directory without a queue is told as such, by status and by dead."""
    for words in (["status"], ["dead", "list"]):
        ended = ready.call("relay", *words)
        assert ended.code == 1
        assert "no relay has run here" in ended.err


def test_templates_are_printed(ready):
    """Our own has another separator each time, and is read; the original's is as /dump has it; each is for its log."""
    first, second = (ready.call("relay", "template").out for _ in range(2))
    assert first != second
    assert read_body(fill(first, {"src": "192.0.2.7", "rule": 'a"b'}).encode())["rule"] == 'a"b'
    assert ready.call("relay", "template", "--original").out == DUMP
    assert "threat_name=URL filtering: $category" in ready.call("relay", "template", "--logs", "url").out
    assert '"URL filtering: $category"' in ready.call("relay", "template", "--logs", "url", "--original").out


def test_dead_letters_are_kept_until_they_are_dropped(site, tenant):
    """Each by its number, or all; what is still unreadable stays one, and counts nowhere as an alert."""
    with by_configuration(site, tenant) as relay:

        def dead(*words):
            ended = site.call("relay", "dead", *words)
            return ended.code, ended.out, ended.err

        for body in (b"odd", b"", b"odd"):  # an empty one is kept as well
            relay.ask(body=body)
        assert (dead("list")[0], "\ufffd" in dead("list")[1]) == (0, False)
        assert [each["id"] for each in json.loads(dead("list", "--json")[1])] == [1, 2, 3]
        for words in (["burn"], ["show"], ["show", "7 "], ["drop", "x"], ["drop", "-1"]):
            assert dead(*words)[0] == 2
        assert dead("drop", "2")[1] == "1 dropped\n"
        for verb in ("drop", "show", "replay"):
            assert dead(verb, "2")[::2] == (1, "2: there is no such dead letter\n")
        reason = "neither JSON nor the payload of uidsync relay template"
        still = f"1: still no alert, and stays a dead letter: {reason}\n"
        assert dead("replay", "1") == (1, "0 put back into the queue\n", still)
        assert "odd" in dead("show", "1")[1]
        assert (relay.metrics["uidsync_relay_dead"], relay.stats["PipeIn"]) == (2, 0)
        assert "yellow dead letters: 2: 0 alerts given up, 2 unreadable" in site.call("relay", "status").out
        relay.send([1])
        wait_until(lambda: relay.stats["PipeOut"] == 1)
        assert " 1 alert received, 1 delivered, 0 waiting, 0 given up" in site.call("relay", "status").out
        assert dead("drop", "all")[1] == "2 dropped\n"
        assert dead("list", "--json")[1] == "[]\n"


# ---- set-up ------------------------------------------------------------------------------------------------------


@pytest.fixture
def targeted(ready, firewall):
    """Give the site a firewall that can be set up."""
    ready.targets.clear()
    ready.add_firewall("fw-east", firewall)
    return ready


def read_profile(firewall, part="candidate"):
    """Return the profile that a firewall has."""
    text = firewall.do("configuration")[part].get(XPATH)
    return None if text is None else etree.fromstring(text)


def test_setup_writes_and_commits_only_when_asked(targeted, firewall, tenant):
    """The difference is shown; --yes writes the candidate, --commit commits it; then nothing differs, and it works."""
    arguments = ["relay", "setup", "fw-east", "--url", URL, "--certificate-profile", "campus-ca"]
    shown = targeted.call(*arguments)
    assert (shown.code, PSK in shown.out, read_profile(firewall)) == (1, False, None)
    assert "+/entry[uidsync-relay]/server/entry[uidsync-relay]/address: relay.example.edu" in shown.out
    assert "Authorization" in shown.out
    ended = targeted.call(*arguments, "--yes")
    assert ended.code == 0
    profile = read_profile(firewall)
    server = profile.find("server/entry")
    told = {child.tag: child.text for child in server}
    assert told == {
        "address": "relay.example.edu", "protocol": "HTTPS", "port": "8443", "tls-version": "1.2",
        "certificate-profile": "campus-ca", "http-method": "POST",
    }  # fmt: skip
    assert profile.findtext("format/threat/url-format") == "/in"
    assert profile.findtext("format/threat/headers/entry[@name='Authorization']/value") == PSK
    assert read_profile(firewall, "running") is None
    firewall.do("commit", failure="campus-ca is not a valid reference")
    failed = targeted.call(*arguments, "--commit")
    assert failed.code == 1
    assert "fw-east: the commit failed (job 1): campus-ca is not a valid reference" in failed.err
    assert read_profile(firewall, "running") is None
    firewall.do("commit", failure="")
    again = targeted.call(*arguments, "--commit")
    assert (again.code, "fw-east has committed\n" in again.err) == (0, True)
    assert again.out == "fw-east has this profile already\n"
    assert read_profile(firewall, "running") is not None
    payload = profile.findtext("format/threat/payload")
    with by_configuration(targeted, tenant) as relay:
        fields = {"src": "192.0.2.7", "dst": "2001:db8::1", "rule": 'a"b\\', "threat_name": "EICAR(86708)", "sport": ""}
        assert relay.ask(body=fill(payload, fields).encode())[0] == 200
        wait_until(lambda: relay.stats["PipeOut"] == 1)
    (alert,) = tenant.do("state")["alerts"]
    assert alert["alert_name"] == "EICAR(86708)"
    assert alert["remote_ip_v6"] == "2001:db8::1"
    assert 'rule=a"b\\;' in alert["alert_description"]


def test_setup_names_the_firewall_behind_a_panorama(targeted, start):
    """Every call of a set-up names the firewall that is meant: a Panorama has profiles of its own."""
    panorama = start("firewall", serials=["0022"])
    targeted.targets.clear()
    targeted.add_firewall("fw-east", panorama, serial="0022")
    ended = targeted.call("relay", "setup", "fw-east", "--url", URL, "--yes", "--commit")
    assert ended.code == 0, ended.err
    asked = {(request["type"], request["target"]) for request in panorama.requests()}
    assert asked == {("op", "0022"), ("config", "0022"), ("commit", "0022")}


def test_setup_changes_what_is_there(targeted, firewall):
    """Another PSK or address is shown as a change, and written over what is there."""
    targeted.call("relay", "setup", "fw-east", "--url", URL, "--yes")
    separator = read_profile(firewall).findtext("format/threat/payload").split()[1]
    targeted.tables["relay"]["psk_file"] = targeted.secret("new-psk", "another secret")
    ended = targeted.call("relay", "setup", "fw-east", "--url", URL.replace("8443", "9443"), "--yes")
    assert "-/entry[uidsync-relay]/server/entry[uidsync-relay]/port: 8443" in ended.out
    assert "+/entry[uidsync-relay]/server/entry[uidsync-relay]/port: 9443" in ended.out
    assert "(another PSK)" in ended.out
    profile = read_profile(firewall)
    assert profile.findtext("format/threat/headers/entry/value") == "another secret"
    assert separator in profile.findtext("format/threat/payload")


def test_setup_writes_the_logs_that_are_named(targeted, firewall, tenant):
    """Each type of log has a format of its own, shown before it is written; what they send is an alert with a name."""
    arguments = ["relay", "setup", "fw-east", "--url", URL]
    targeted.call(*arguments, "--yes")
    ended = targeted.call(*arguments, "--logs", "threat,url, wildfire", "--yes")
    assert "+/entry[uidsync-relay]/format/url/url-format: /in" in ended.out
    assert "/format/threat/" not in ended.out.replace(" /entry[uidsync-relay]/format/threat/", "")
    assert "for threat, url, wildfire logs" in ended.err
    profile = read_profile(firewall)
    assert [each.tag for each in profile.find("format")] == ["threat", "url", "wildfire"]
    assert {each.findtext("headers/entry/value") for each in profile.find("format")} == {PSK}
    payload = profile.findtext("format/url/payload").replace("$category", "gambling")
    with by_configuration(targeted, tenant) as relay:
        assert relay.ask(body=fill(payload, {"src": "192.0.2.7", "severity": "medium"}).encode())[0] == 200
        wait_until(lambda: relay.stats["PipeOut"] == 1)
    assert tenant.do("state")["alerts"][0]["alert_name"] == "URL filtering: gambling"


def test_setup_knows_old_releases(targeted, firewall):
    """The original's payload is there, too; before 10.0 the variable is $threatid, before 8.0 there is no profile."""
    shown = targeted.call("relay", "setup", "fw-east", "--url", URL, "--yes", "--original").out
    assert ("\ufffd" in shown, '"src": "$src"' in shown) == (False, True)  # its tabs are no characters to hide
    assert read_profile(firewall).findtext("format/threat/payload").strip() == DUMP.strip()
    firewall.do("version", version="9.1.3")
    targeted.call("relay", "setup", "fw-east", "--url", URL, "--yes", "--original")
    assert '"threat_name": "$threatid"' in read_profile(firewall).findtext("format/threat/payload")
    firewall.do("version", version="7.1.0")
    ended = targeted.call("relay", "setup", "fw-east", "--url", URL)
    assert ended.code == 1
    assert "HTTP server profiles came with 8.0" in ended.err


def test_setup_says_what_is_wrong_with_an_address():
    """An address that no firewall reaches is named, also where it is that of `relay.listen`."""
    with pytest.raises(
        ValueError, match=r"^127\.0\.0\.1 is no address for firewalls: name the one at which they reach"
    ):
        read_url("http://127.0.0.1:8080/in")


def test_the_status_page_has_its_health(site, tenant):
    """The exporter's page shows what the relay found, where one has run."""
    from tests.functional.test_exporter import running  # noqa: PLC0415

    tenant.do("set", may_insert=False)
    with by_configuration(site, tenant) as relay:
        relay.ask(body=make_body())
        wait_until(lambda: relay.health.get("tenant", {}).get("colour") == "red")
        with running(site) as exporter:
            _, _, page = exporter.ask("/")
    assert "relay" in page
    assert "External Issues Mapping" in page
    assert json.dumps(PSK) not in page


def test_a_simulated_tenant_says_what_to_configure(site):
    """What --toml prints is a table of the configuration; its secret is stored by the command beside it."""
    words = [sys.executable, "-m", "uidsync", "simulate", "xdr", "--toml"]
    with ExitStack() as stack:
        simulated = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        stack.enter_context(simulated)
        stack.callback(simulated.terminate)
        told = ""
        while "secret set" not in told:
            told += simulated.stdout.readline()
        key, name = re.search(r"echo (\S+) \| uidsync secret set (\S+)", told).groups()
        file = site.place / "uidsync.toml"
        file.write_text(f'{told}\napi_key_file = "{site.place}/key"\n[sync]\nstate_dir = "{site.place}/state"\n')
        words = [sys.executable, "-m", "uidsync", "secret", "set", name, "--config", file]
        subprocess.run(words, input=key, text=True, check=True)
        assert find(call("relay", "check", "--json", "--config", file))["tenant"]["colour"] == "green"


# ---- what is told of what is wrong -------------------------------------------------------------------------------


def test_a_denied_tenant_has_its_next_try(site, tenant):
    """While a key is refused, status says when the next request comes, and that a restart is faster."""
    tenant.do("set", api_key="another")
    with by_configuration(site, tenant) as relay:
        relay.send([1])
        wait_until(lambda: "red    tenant" in site.call("relay", "status").out)
        said = site.call("relay", "status").out
        assert re.search(r"; the next try is at \d\d:\d\d:\d\dZ, a restart tries at once\n", said)


def test_status_says_why_alerts_wait(site, tenant):
    """Alerts beyond the quota wait for it, and status says so."""
    with by_configuration(site, tenant, quota_size=2) as relay:
        relay.send(range(5))
        wait_until(lambda: relay.stats["PipeOut"] == 2)
        assert re.search(
            r"3 waiting, the oldest for \d+ s \(the tenant takes 2 in 60 s\)", site.call("relay", "status").out
        )


REFUSED = (
        "template --json", "template --logs threat,url", "template --commit", f"check --url {URL}", "check --commit",
        "status --yes", f"setup fw-east --url {URL} --json", "--json", "dead replay all --json", "dead list --original",
        "dead list 7", "status x", "setup",
        "setup fw-east --url relay.example.edu", "setup fw-east --url https://relay.example.edu/other",
        "setup fw-east --url https://0.0.0.0:8443/in", f"setup fw-east --url {URL} --profile 'a b'", "setup fw-east",
        f"setup fw-east --url {URL} --logs traffic", f"setup fw-west --url {URL}", f"setup fw-east fw-west --url {URL}",
)  # fmt: skip


def test_what_does_not_fit_on_the_command_line_is_refused(targeted):
    """A word, a URL or a target that is none, and an option that an action cannot heed, are usage errors."""
    for words in REFUSED:
        ended = targeted.call("relay", *shlex.split(words))
        assert (ended.code, ended.out, bool(ended.err)) == (2, "", True), words


def test_setup_refuses_a_certificate_profile_without_tls(targeted, firewall):
    """One that would be left out is refused: over plain HTTP, and by a release that has none."""
    words = ["relay", "setup", "fw-east", "--certificate-profile", "campus-ca", "--url"]
    ended = targeted.call(*words, URL.replace("https", "http"))
    assert (ended.code, "needs a URL with https://" in " ".join(ended.err.replace("│", " ").split())) == (2, True)
    firewall.do("version", version="8.1.0")
    ended = targeted.call(*words, URL)
    assert (ended.code, "before 9.0" in ended.err) == (1, True)


def test_setup_advises_on_the_error_that_it_has(targeted, firewall):
    """A missing right, a wrong key, an old release and a busy firewall: each has its own advice, or none."""

    def fail():
        ended = targeted.call("relay", "setup", "fw-east", "--url", URL)
        assert ended.code == 1
        return ended.err

    firewall.do("version", version="7.1.0")
    assert "XML API" not in fail()
    firewall.do("version", version="11.1.0")
    firewall.do("role", types=["user-id"])
    assert "XML API > Operational Requests and Configuration" in fail()
    firewall.do("role", types=["op", "user-id"])
    assert "Configuration" in fail()
    firewall.do("role", types=["op", "config", "user-id"])
    firewall.do("fault", name="html_503")
    assert "XML API" not in fail()
    firewall.do("fault", name=None)
    firewall.do("key", value="another")
    said = fail()
    assert "uidsync keygen fw-east" in said
    assert "XML API" not in said
