"""No failure shows a secret: not in what the command prints, at `-vv` either, and not in what it keeps."""

import base64
import html
import os
import ssl
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import trustme

from tests.limits import PATIENCE
from tests.panos import peer
from tests.panos.peer import answering, make_answer

KEY = "LUFRPT1Kq+z/9w=="  # with all that an encoding changes
PASSWORD = "s3cret&p@ss<word>"  # noqa: S105 (made up for the test)


def spell(secret):
    """List the spellings in which a secret may come back."""
    encoded = base64.b64encode(secret.encode()).decode()
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        encoded.rstrip("="),
        repr(secret)[1:-1],
    }


def raise_if_shown(secrets, *texts):
    """Search for every secret in every spelling."""
    for secret in secrets:
        for spelling in spell(secret):
            for text in texts:
                assert spelling not in text, (spelling, text)


def run(site, *words, code=1):
    """Run the command at -vv; whatever becomes of it, no secret is anywhere, and its end is no bug."""
    process = site.start_afresh(*words, "-vv")
    place = Path("/proc", str(process.pid))
    ours = "".join((place / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ"))
    out, err = process.communicate(timeout=PATIENCE)
    kept = [file.read_bytes().decode("latin-1") for file in site.state_dir.rglob("*") if file.is_file()]
    raise_if_shown(site.secrets, out, err, ours, *kept)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out + err


def make_name(kind):
    """Return a name for the target that is of this kind."""
    return kind.replace(" ", "-").lower()


def raise_if_any_is_complete(site):
    """Look into the last run: every target failed, each by itself."""
    assert {target["name"] for target in site.last_run["targets"]} == {target["name"] for target in site.targets}
    for target in site.last_run["targets"]:
        assert target["status"] == "incomplete", target


@pytest.fixture(scope="module")
def authority():
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture
def run_peer(authority, site):
    """Run peers that are targets of the site's."""
    site.use_rows([("10.0.0.1", "ada"), ("10.0.0.2", "bob")])
    with ExitStack() as stack:

        def add(serve, name="fw", *, names=("127.0.0.1",), key=KEY):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(*names).configure_cert(context)
            server = stack.enter_context(peer.running(serve, context))
            ca_file = site.place / "ca.pem"
            authority.cert_pem.write_to_path(ca_file)
            target = {"host": "127.0.0.1", "port": server.port, "ca_file": ca_file, "request_timeout": "10s"}
            site.add_firewall(name, **target, api_key_file=site.secret(f"{name}-key", key))
            return server

        yield add


WORDS = f"bad key {KEY}"
ENTRY = f'<entry name="ada" ip="10.0.0.1" message="{KEY}"/>'
PAYLOAD = (
    f"<result><uid-response><version>2.0</version><payload><login>{ENTRY}</login></payload></uid-response></result>"
)
ECHOES = {
    "message": make_answer(f'<response status="error"><msg><line>{WORDS}</line></msg></response>'.encode()),
    "denied": make_answer(
        f'<response status="error" code="16"><result><msg>Invalid Credential {KEY}</msg></result></response>'.encode(),
        403,
    ),
    "unauthorized": make_answer(f'<response status="unauth" code="16"><msg>{WORDS}</msg></response>'.encode()),
    "page": make_answer(f"<html><title>{WORDS}</title></html>".encode(), 403),
    "no page": make_answer(f"{WORDS} <&".encode()),
    "tag": make_answer(f"<{KEY.rstrip('=').replace('+', '').replace('/', '')}/>".encode()),
    "status": make_answer(f'<response status="{KEY}"/>'.encode()),
    "rejection": make_answer(f'<response status="error">{PAYLOAD}</response>'.encode()),
    "rejection in success": make_answer(f'<response status="success">{PAYLOAD}</response>'.encode()),
    "address": make_answer(f'<response status="success">{PAYLOAD.replace("10.0.0.1", KEY)}</response>'.encode()),
    "header": make_answer(X_PAN_KEY=KEY, Content_Encoding=KEY),
    "odd header": f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: b\r\n{KEY}\r\nX-C: d\r\n\r\n".encode(),
    "no header": f"{KEY}\r\n\r\n".encode(),
    "length": f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\nx".encode(),
    "chunk": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n".encode(),
    "redirect": make_answer(b"", 302, Location=f"https://127.0.0.1/{KEY}"),
    "quoted": make_answer(f'<response status="error"><msg>{quote(KEY, safe="")}</msg></response>'.encode()),
}  # fmt: skip


def test_a_key_that_comes_back_is_not_shown(site, run_peer):
    """A firewall that sends our key back, wherever in its answer, finds it shown nowhere."""
    servers = {echo: run_peer(answering(answer), make_name(echo)) for echo, answer in ECHOES.items()}
    site.sync = {"deadline": "60s"}
    run(site, "sync")
    raise_if_any_is_complete(site)
    for echo, server in servers.items():
        assert any(KEY.encode() in heard for heard in server.heard), echo


def test_a_certificate_s_name_is_not_shown(site, run_peer):
    """Nor is it when a certificate bears it."""
    run_peer(answering(make_answer()), names=(f"{KEY.lower().replace('+', '').replace('/', '').rstrip('=')}.example",))
    assert "Untrusted" in run(site, "sync")


ODD_KEYS = {
    "blank before": f" {KEY}",
    "blank after": f"{KEY} ",
    "not ASCII": f"{KEY}\u00e9",
    "line separator": f"a\u2028{KEY}",
    "too long": KEY * 5000,
    "two lines": f"{KEY}\n{KEY}",
}


def test_a_key_that_is_none_is_not_shown(site, run_peer):
    """A file that holds a key with something beside it is refused, or the key is refused, without a word of it."""
    for kind, key in ODD_KEYS.items():
        run_peer(answering(make_answer(b'<response status="error" code="403"/>', 403)), make_name(kind), key=key)
    site.secrets.append(KEY)
    run(site, "sync")
    raise_if_any_is_complete(site)


def test_secrets_in_the_configuration_are_not_shown(site):
    """Somebody who writes a secret into the configuration is told of the key it stands at, and not what it is."""
    site.secrets += [KEY, PASSWORD]
    site.source = {"kind": "mysql", "host": "127.0.0.1", "password": PASSWORD}
    site.add_firewall("fw", host="127.0.0.1", api_key=KEY)
    told = run(site, "check", code=2)
    assert "source.password: unknown key; did you mean password_file?" in told
    assert r"target \"fw\": api_key: unknown key; did you mean api_key_file?" in told


def test_secrets_in_the_place_of_their_files_are_not_shown(site):
    """Nor is one that stands where its file should be named."""
    site.secrets += [KEY, PASSWORD, "MIIEvQIBADANBg"]
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", host="127.0.0.1", api_key_file=KEY)
    assert "does not begin with a slash" in run(site, "sync")
    site.source = {"kind": "mysql", "host": "127.0.0.1", "password_file": PASSWORD}
    assert "does not begin with a slash" in run(site, "sync", code=3)
    site.targets = [{"name": "uia", "kind": "agent", "host": "::1", "client_cert_file": "/dev/null",
                     "client_key_file": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n"}]  # fmt: skip
    run(site, "sync", code=2)


def test_the_database_s_password_is_not_shown(site, safeconnect, closed_port):
    """A database that does not take the password, or is not there, finds it shown nowhere."""
    wrong = site.secret("wrong", PASSWORD)
    site.add_firewall("fw", host="127.0.0.1", port=closed_port, api_key_file=site.secret("fw-key", KEY))
    site.use_database(safeconnect, password_file=wrong)
    assert "Access denied" in run(site, "sync", code=3)
    site.source["port"] = closed_port
    run(site, "check")


ODD_SECRETS = {
    "empty": lambda file: file.touch(0o600),
    "directory": os.mkdir,
    "pipe": os.mkfifo,
    "device": lambda file: file.symlink_to("/dev/zero"),
    "loop": lambda file: file.symlink_to(file),
    "bytes": lambda file: file.write_bytes(b"\xff\xfe"),
    "nothing": lambda _: None,
}


def test_a_secret_s_file_may_be_anything(site, closed_port):
    """What is no secret fails its own target at once, with the file's name."""
    site.use_rows([("10.0.0.1", "ada")])
    for kind, make in ODD_SECRETS.items():
        make(site.place / kind)
        site.add_firewall(kind, host="127.0.0.1", port=closed_port, api_key_file=site.place / kind)
    run(site, "sync")
    for target in site.last_run["targets"]:
        assert target["error"]["kind"] == "Unauthorized", target
        assert str(site.place / target["name"]) in target["error"]["message"]
        assert target["seconds"] < 5
