"""What `uidsync relay` says of what is wrong: each cause by itself, by the name under which somebody can mend it."""

import json
import os
import re
import ssl
from pathlib import Path

import pytest
import trustme

from tests.command import call
from tests.forks import start_simulator
from tests.functional.relays import (
    configure,
    find,
    make_environment,
    write_chain,
)
from tests.safeconnect import free_port
from uidsync.integrations.relay.checks import check_directory
from uidsync.integrations.relay.config import make_base
from uidsync.integrations.relay.names import BY_ENVIRONMENT
from uidsync.integrations.relay.queue import Limits


@pytest.fixture(scope="module")
def tenant():
    """Start a tenant for all tests here: none changes it."""
    with start_simulator("xdr") as tenant:
        yield tenant


def check(environment):
    """Return the findings of `relay check` by the original's variables."""
    return find(call("relay", "check", "--json", environment=environment))


# ---- the CA of the tenant ----------------------------------------------------------------------------------------


def spoil(place, how, ca_file):
    """Make what is no file of CAs."""
    file = place / "ca.pem"
    match how:
        case "directory":
            file.mkdir()
        case "DER":
            file.write_bytes(ssl.PEM_cert_to_DER_cert(ca_file.read_text()))
        case "empty":
            file.touch()
        case "text":
            file.write_text("no certificate")
        case "key":
            trustme.CA().issue_cert("x").private_key_pem.write_to_path(file)
    return file


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "is not there"), ("directory", "is no file"), ("DER", "is a certificate in DER"),
        ("empty", "holds no certificate"), ("text", "holds no certificate"), ("key", "holds a private key"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["key", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_ca_file_that_is_none_is_no_outage(site, tenant, tmp_path, how, words, by):
    """It is red, with the file and by the name under which it was given, and the check asks for no patience."""
    file = spoil(tmp_path, how, tenant.ca_file)
    if by == "key":
        configure(site, tenant, free_port(), ca_file=file)
        finding, name = find(site.call("relay", "check", "--json"))["tenant"], "relay.ca_file"
    else:
        given = {"REQUESTS_CA_BUNDLE": "", by: str(file)}
        finding, name = check(make_environment(tenant, tmp_path, free_port(), **given))["tenant"], by
    assert finding["colour"] == "red"
    assert f"{name}: {file} " in finding["words"]
    assert words in finding["words"]
    assert finding["advice"] == f"let {name} name the CA's file (PEM)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_ca_file_that_is_closed_is_told(tenant, tmp_path):
    """A file that this account may not read is told as such."""
    file = tmp_path / "ca.pem"
    file.write_bytes(Path(tenant.ca_file).read_bytes())
    file.chmod(0)
    finding = check(make_environment(tenant, tmp_path, free_port(), REQUESTS_CA_BUNDLE=str(file)))["tenant"]
    assert "Permission denied" in finding["words"]


def test_a_bundle_of_the_environment_counts_beside_a_table(site, tenant):
    """Where the table names no CA, the library's variable does, also where the table names a proxy."""
    configure(site, tenant, free_port(), ca_file=None)
    site.environment = {"REQUESTS_CA_BUNDLE": str(tenant.ca_file)}
    assert find(site.call("relay", "check", "--json"))["tenant"]["colour"] == "green"
    site.environment = {"REQUESTS_CA_BUNDLE": str(site.place / "gone.pem")}
    site.tables["relay"]["proxy"] = "http://127.0.0.1:1"
    assert "REQUESTS_CA_BUNDLE: " in find(site.call("relay", "check", "--json"))["tenant"]["words"]


def test_config_check_looks_at_the_files_of_a_relay(site, tenant, tmp_path):
    """Each file of the table that is missing, or holds something else, is listed, and nobody is asked."""
    configure(site, tenant, free_port(), **write_chain(tmp_path))
    before = tenant.do("state")["counters"]
    assert site.call("config", "check").code == 0
    trustme.CA().issue_cert("relay").private_key_pem.write_to_path(tmp_path / "other")
    for keys, words in (
        ({"ca_file": tmp_path / "gone.pem"}, f"relay: ca_file {tmp_path}/gone.pem is not there"),
        ({"psk_file": tmp_path / "gone"}, "relay: no secret relay-psk: .*; Store it: uidsync secret set relay-psk"),
        ({"api_key_file": tmp_path / "gone"}, "relay: no secret relay-api-key: .*uidsync secret set relay-api-key"),
        (
            {"key_file": tmp_path / "gone"},
            "relay: no secret relay-tls-key: .*uidsync secret set relay-tls-key < KEY-FILE",
        ),
        (
            {"key_file": tenant.ca_file},
            "relay: .* holds no private key; check relay.certificate_file and relay.key_file",
        ),
        (
            {"certificate_file": tmp_path / "gone"},
            f"relay: .* cannot be used: {tmp_path}/gone: No such file .*; check relay.certificate_file",
        ),
        ({"key_file": tmp_path / "other"}, "relay: .* cannot be used: the key is not that of the certificate; check "),
        (
            {"client_ca_file": tmp_path / "gone"},
            "relay: .*/gone cannot be used: No such .*; check relay.client_ca_file",
        ),
    ):
        configure(site, tenant, free_port(), **(write_chain(tmp_path) | keys))
        ended = site.call("config", "check")
        (problem,) = [json.loads(line)["problem"] for line in ended.err.splitlines() if "problem" in line]
        assert ended.code == 2
        assert re.match(words, problem), problem
    assert tenant.do("state")["counters"] == before


# ---- hints by variable -------------------------------------------------------------------------------------------


def test_hints_name_the_variables(tenant, tmp_path):
    """With the original's variables no hint names a key of a table that is not there."""
    port = free_port()
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")

    def look(**variables):
        return check(make_environment(tenant, tmp_path, port, **variables))

    assert look(REQUESTS_CA_BUNDLE=str(tmp_path / "other.pem"))["tenant"]["advice"].startswith("set REQUESTS_CA_BUNDLE")
    assert look(API_KEY="other")["tenant"]["advice"].startswith("check API_KEY, API_KEY_ID and that the key is of the")
    assert look(PSK=None)["senders"]["advice"] == "set PSK"
    said = look(HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY="", no_proxy="")["tenant"]
    assert (said["colour"], said["advice"]) == (
        "yellow",
        "check HTTPS_PROXY; alerts wait in the queue until it is there",
    )
    said = look(HTTPS_PROXY="http://", NO_PROXY="", no_proxy="")["tenant"]
    assert said["colour"] == "red"
    assert "HTTPS_PROXY" in said["advice"]
    said = look(FQDN="nowhere.invalid")["tenant"]
    assert (said["colour"], said["advice"][:38]) == ("yellow", "check FQDN, and name resolution; alert")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"API_KEY": None}, "API_KEY env variable not provided"), ({"FQDN": ""}, "FQDN env variable not provided"),
        ({"PORT": "http"}, "PORT: 'http' is no whole number"), ({"OFFSET": "CET"}, "OFFSET: 'CET' must be hours"),
        ({"UPDATE_SIZE": "0"}, "UPDATE_SIZE: 0 must be at least 1"), ({"BUFFER_SIZE": "-1"}, "BUFFER_SIZE: -1 must be"),
        ({"QUOTA_SIZE": "1.5"}, "QUOTA_SIZE: '1.5' is no whole number"), ({"T1": "nan"}, "T1: 'nan' is no number"),
        ({"PORT": "99999"}, "PORT: 99999 is no port from 1 to 65535"), ({"PORT": "0"}, "PORT: 0 is no port"),
        ({"PORT": "-1"}, "PORT: -1 is no port"), ({"PORT": "8_080"}, "PORT: '8_080' is no whole number"),
        ({"PORT": "1e3"}, "PORT: '1e3' is no whole number"), ({"PORT": "\uff18\uff10"}, "is no whole number"),
        ({"QUOTA_SIZE": "0"}, "QUOTA_SIZE: 0 must be at least 1"),
        ({"QUOTA_SIZE": "9999999999"}, "QUOTA_SIZE: '9999999999' is no whole number"),
        ({"QUOTA_SECONDS": "0"}, "QUOTA_SECONDS: 0 must be between"),
        ({"QUOTA_SECONDS": "1h"}, "QUOTA_SECONDS: '1h' is no number of seconds"),
        ({"UPDATE_SIZE": "61"}, "UPDATE_SIZE: 61 must be at most 60"),
        ({"BUFFER_SIZE": "many"}, "BUFFER_SIZE: 'many' is no whole number"),
        ({"T1": "-2"}, "T1: -2 must be between"), ({"T1": "3600"}, "T1: 3600 must be between"),
        ({"OFFSET": "25"}, "OFFSET: '25' must be hours"), ({"OFFSET": "+-1"}, "OFFSET: '+-1' must be hours"),
        ({"OFFSET": "1e1"}, "OFFSET: '1e1' must be hours"), ({"PSK": "  "}, "PSK: must be text"),
        ({"PSK": "a\tb"}, "PSK: must be text"), ({"API_KEY": "a\nb"}, "API_KEY: must be text"),
        ({"API_KEY_ID": " "}, "API_KEY_ID env variable not provided"), ({"FQDN": "a b"}, "FQDN: a b is not the name"),
        ({"FQDN": "https://"}, "FQDN: https:// is not the name"),
    ],
    ids=repr,
)  # fmt: skip
def test_each_variable_says_what_it_may_be(tenant, tmp_path, variables, words):
    """The message names the variable, what it holds, and what it may hold; nothing starts."""
    ended = call("relay", environment=make_environment(tenant, tmp_path, free_port(), **variables))
    assert ended.code == 2
    assert words in ended.err.encode().decode("unicode_escape", "replace") or words in ended.err


@pytest.mark.parametrize(
    "text",
    ["myxdr.xdr.us.paloaltonetworks.com", "api-myxdr.xdr.us.paloaltonetworks.com",
     "API-myxdr.xdr.us.paloaltonetworks.com.",
     "https://api-myxdr.xdr.us.paloaltonetworks.com/public_api/v1/", " MyXDR.xdr.us.paloaltonetworks.com "],
)  # fmt: skip
def test_a_tenant_s_name_may_be_spelled_in_every_way(text):
    """With `api-` or without, as an address of a browser, in capitals: it is one tenant."""
    assert make_base(text) == "https://api-myxdr.xdr.us.paloaltonetworks.com"


def test_what_is_missing_is_told_by_every_way_to_give_it(tenant, tmp_path):
    """Variables that come before a file name it; without both, both ways are told."""
    environment = make_environment(tenant, tmp_path, free_port(), API_KEY_ID=None, UIDSYNC_CONFIG="/etc/my.toml")
    ended = call("relay", "check", environment=environment)
    assert (ended.code, "API_KEY_ID env variable not provided" in ended.err) == (2, True)
    assert "--config /etc/my.toml" in ended.err
    if not Path("/etc/uidsync/uidsync.toml").exists():
        ended = call("relay", "check", environment={})
        assert ended.code == 2
        assert "write it, with the table [relay], or set API_KEY, API_KEY_ID, FQDN in the environment" in ended.err


def test_a_proxy_or_a_port_that_is_none_is_named(tenant, tmp_path):
    """A port of the tenant that is none is an error of FQDN; a proxy that is none is what to check."""
    ended = call("relay", "check", environment=make_environment(tenant, tmp_path, free_port(), FQDN="myxdr:99999"))
    assert (ended.code, "FQDN: myxdr:99999 has no port from 1 to 65535" in ended.err) == (2, True)
    environment = make_environment(tenant, tmp_path, free_port(), HTTPS_PROXY="127.0.0.1:1", NO_PROXY="")
    assert "check HTTPS_PROXY" in check(environment)["tenant"]["advice"]


# ---- places ------------------------------------------------------------------------------------------------------


def test_a_directory_that_a_relay_makes_is_not_missing(tenant, tmp_path):
    """The first check is green, says what will be made, and makes nothing; one that cannot be made is red."""
    place = tmp_path / "state" / "relay"
    disk = check(make_environment(tenant, place, free_port()))["disk"]
    assert disk["colour"] == "green"
    assert "the directory will be created" in disk["words"]
    assert not place.parent.exists()
    (tmp_path / "file").touch()
    for where in (tmp_path / "file" / "relay", "/proc/relay"):
        disk = check(make_environment(tenant, where, free_port()))["disk"]
        assert disk["colour"] == "red"
        assert "cannot be created" in disk["words"]
        assert "STATE_DIRECTORY" in disk["advice"]


def test_what_a_full_queue_needs_follows_from_the_settings(tmp_path):
    """A small buffer needs little, a large one more, and dead letters their own."""
    words = [
        next(check_directory(tmp_path, Limits(alerts), BY_ENVIRONMENT, is_made_by_root=False)).words
        for alerts in (100, 6000, 1_000_000)
    ]
    for said, needed in zip(words, ("1 MiB", "12 MiB", "1954 MiB"), strict=True):
        assert f"a full queue needs about {needed}, and dead letters at most 64 MiB" in said
