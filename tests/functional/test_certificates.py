"""Certificates that end soon, pins, and targets that are not verified, end to end."""

import hashlib
import ssl
from datetime import UTC, datetime, timedelta

from uidsync.simulator.certificates import Certificates, write_leaf

SOON = datetime.now(UTC) + timedelta(days=3, hours=1)
ROWS = [("10.0.0.1", "ada")]


def fingerprint(host, port):
    """Return the fingerprint of the certificate that a target shows."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, port)))).hexdigest()


def test_certificates_near_their_end_are_told(site, firewall, agent):
    """Of a firewall's, an agent's and our own, the days left are in `check` and in every report, with a warning."""
    firewall.do("certificate", kind="ending")
    agent.do("certificate", kind="ending")
    cert, key = site.place / "client.pem", site.place / "client.key"
    write_leaf(Certificates(agent.ca_file.parent).authority.issue_cert("uidsync", not_after=SOON), cert, key)
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    site.add_agent("uia", agent, client_cert_file=cert, client_key_file=key)
    for arguments in (["sync"], ["sync"], ["sync", "--dry-run"]):  # the later two send nothing
        ended = site.call(*arguments, "--json")
        assert ended.code == 0
        assert {warning for warning in ended.report["warnings"] if "certificate" in warning} == {
            "fw: certificate.ending: its certificate ends in 12 days",
            "uia: certificate.ending: its certificate ends in 12 days",
            "uia: certificate.ending: our certificate ends in 3 days",
        }
        assert [name for name, _ in ended.events].count("certificate.ending") == 3
        assert datetime.fromisoformat(ended.targets["uia"]["client_certificate_not_after"]) == SOON.replace(
            microsecond=0
        )
        assert ended.targets["fw"]["client_certificate_not_after"] is None
    checked = site.call("check")
    assert checked.code == 0
    assert "yellow fw: its certificate ends in 12 days  -> renew it" in checked.out
    assert "yellow uia: our certificate ends in 3 days  -> renew it" in checked.out


def test_certificates_that_last_are_told_quietly(site, firewall):
    """A certificate with years left is in report and `check`, and nobody is warned; after its end it is told still."""
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    assert site.call("sync", "--json").report["warnings"] == []
    assert "green  fw: its certificate ends in" in site.call("check").out
    firewall.do("certificate", kind="expired")
    part = site.call("sync", "--full", "--json").targets["fw"]
    assert ("expired" in part["error"]["message"], bool(part["certificate_not_after"])) == (True, True)


def test_pins_stand_for_a_ca(site, start):
    """A fingerprint lets in that certificate alone; a list has one for each member of a pair, or the next one."""
    one, other = start("firewall"), start("firewall", certificate="foreign")
    site.use_rows(ROWS)
    pins = [fingerprint(unit.line["host"], unit.port) for unit in (one, other)]
    for name, unit, pin in (("one", one, pins[0]), ("other", other, pins), ("wrong", other, pins[0])):
        site.add_firewall(name, unit, fingerprint_sha256=pin)
        del site.targets[-1]["ca_file"]
    ended = site.call("sync", "--json")
    assert {name: target["status"] for name, target in ended.targets.items()} == {
        "one": "complete", "other": "complete", "wrong": "incomplete"
    }  # fmt: skip
    assert ended.targets["wrong"]["error"]["kind"] == "Untrusted"


def test_no_verification_is_warned_of_on_every_run(site, firewall):
    """`verify_tls = false` sends to whoever answers, and says so in the log and the report of every run."""
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall, verify_tls=False)
    site.targets[-1]["ca_file"] = ""
    firewall.do("certificate", kind="foreign")
    for _ in range(2):
        ended = site.call("sync", "--json")
        assert ended.code == 0
        assert "fw: target.unverified: verify_tls = false" in ended.report["warnings"]
        assert "target.unverified" in dict(ended.events)
