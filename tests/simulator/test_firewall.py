"""What a simulated firewall answers, byte for byte where a device's bytes have been published."""

import base64
import re
import socket
import ssl

import pytest
import requests

from tests.forks import start_simulator
from tests.limits import PATIENCE
from tests.simulator.caller import Caller, write_logins, write_message

ADA = write_logins({"192.0.2.1": "CAMPUS\\ada"})
DOCUMENT = write_message(ADA)
ACCEPTED = (
    '<response status="success"><result><uid-response><version>2.0</version><payload><login></login></payload>'
    "</uid-response></result></response>"
)
INVALID = "<response status = 'error' code = '403'><result><msg>Invalid Credential</msg></result></response>"


@pytest.fixture(scope="module")
def anyone(lasting_firewall):
    """Give someone who may call it."""
    with Caller(lasting_firewall) as caller:
        yield caller


def keyless(caller: Caller) -> requests.Session:
    """Give a session like the caller's, without a key."""
    session = requests.Session()
    session.trust_env, session.verify = False, caller.session.verify
    return session


FORMS = {
    "form": lambda url, key: {"url": url, "data": {"type": "user-id", "key": key, "cmd": DOCUMENT}},
    "unencoded key": lambda url, key: {
        "url": url,
        "data": f"type=user-id&cmd={requests.utils.quote(DOCUMENT)}&key={key}",
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    },
    "query": lambda url, key: {
        "url": url,
        "method": "GET",
        "params": {"type": "user-id", "key": key, "cmd": DOCUMENT, "vsys": "vsys1"},
    },
    "query and form": lambda url, key: {
        "url": f"{url}?type=user-id&vsys=vsys1&action=set&key={key}",
        "data": {"cmd": DOCUMENT},
    },
    "file": lambda url, key: {
        "url": f"{url}?type=user-id",
        "data": {"key": key},
        "files": {"file": ("uid.xml", DOCUMENT)},
    },
    "file of bytes": lambda url, key: {
        "url": f"{url}?key={key}&type=user-id",
        "files": {"file": ("content.xml", DOCUMENT, "application/octet-stream")},
    },
    "raw": lambda url, key: {
        "url": f"{url}?key={key}&type=user-id&action=set&vsys=vsys1&client=wget&file-name=UID.xml",
        "data": DOCUMENT,
        "headers": {"Content-Type": "text/xml"},
    },
    "header": lambda url, key: {
        "url": url,
        "data": {"type": "user-id", "cmd": DOCUMENT},
        "headers": {"X-PAN-KEY": key},
    },
    "basic": lambda url, _key: {"url": url, "data": {"type": "user-id", "cmd": DOCUMENT}, "auth": ("admin", "admin")},
    "no slash": lambda url, key: {
        "url": url.removesuffix("/"),
        "data": {"type": "user-id", "key": key, "cmd": DOCUMENT},
    },
    "old path": lambda url, key: {
        "url": url.replace("/api/", "/esp/restapi.esp"),
        "data": {"type": "user-id", "key": key, "cmd": DOCUMENT},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_request(lasting_firewall, anyone, form):
    """A message is taken in every form in which clients in the field send it."""
    lasting_firewall.do("clear")
    with keyless(anyone) as session:
        answer = session.request(
            **{"method": "POST", "timeout": 10} | FORMS[form](anyone.url, lasting_firewall.api_key)
        )
    assert (answer.status_code, answer.text) == (200, ACCEPTED)
    assert answer.headers["Content-Type"] == "application/xml; charset=UTF-8"
    assert lasting_firewall.mappings() == {"192.0.2.1": "CAMPUS\\ada"}


def test_requests_are_remembered(firewall, caller):
    """A request is remembered with its path, its type, where its key stood and what the message held."""
    caller.send(ADA + "<logout><entry ip='192.0.2.7'/><entry ip='192.0.2.8'/></logout>", vsys="vsys1")
    with keyless(caller) as session:
        session.get(f"{caller.url}?type=version&key={firewall.api_key}", timeout=PATIENCE)
    first, second = firewall.requests()
    assert first["sections"] == {"login": 1, "logout": 2}
    assert (first["entries"], first["rejected"], first["status"], first["vsys"]) == (3, 2, 200, "vsys1")
    assert (first["method"], first["path"], first["key_place"], first["type"]) == ("POST", "/api/", "header", "user-id")
    assert first["content_type"] == "application/x-www-form-urlencoded"
    assert (second["method"], second["key_place"], second["type"], second["entries"]) == (
        "GET",
        "query",
        "version",
        None,
    )
    assert second["path"] == f"/api/?type=version&key={firewall.api_key}"
    assert firewall.counters()["messages"] == 1
    firewall.do("reset-counters")
    assert firewall.requests() == []
    assert firewall.counters()["requests"] == 0


def test_partial_failure(firewall, caller):
    """What was not taken is listed, sections without failures are empty, and the rest was applied."""
    answer = caller.send(ADA + '<logout><entry name="user@example.edu" ip="192.0.2.9"/></logout>')
    assert answer.status_code == 200
    assert answer.text == (
        '<response status="error"><msg><line><uid-response>\n'
        "  <version>2.0</version>\n"
        "  <payload>\n"
        "    <login>\n"
        "    </login>\n"
        "    <logout>\n"
        '      <entry name="user@example.edu" ip="192.0.2.9" message="Delete mapping failed"/>\n'
        "    </logout>\n"
        "  </payload>\n"
        "</uid-response></line></msg></response>"
    )
    assert firewall.mappings() == {"192.0.2.1": "CAMPUS\\ada"}


def test_one_empty_element_for_each_section(anyone):
    """An accepted message is answered by its sections, in the order in which they were carried out."""
    answer = anyone.send('<logout><entry ip="192.0.2.77"/></logout><login><entry name="x" ip="192.0.2.77"/></login>')
    assert "<payload><login></login><logout></logout></payload>" in answer.text


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("<uid-message><payload>", "uid-message: Malformed Request"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><uid-message/>', "uid-message: Malformed Request"),
        ("<uid-message/>", "uid-message: type is invalid"),
        (write_message("<lgin/>"), "uid-message: payload: lgin unexpected here"),
    ],
)
def test_what_is_no_message(anyone, document, words):
    """A document that is no message is refused in one line of text."""
    answer = anyone.post(type="user-id", cmd=document)
    assert answer.status_code == 200
    assert re.fullmatch(
        rf'<response status="error"( code="18")?><msg><line>{words}</line></msg></response>', answer.text
    )


def test_missing_parameter(anyone):
    """What lacks its message, or is of no known type, is answered by the web front end, in its own dialect."""
    answer = anyone.post(type="user-id")
    assert answer.status_code == 400
    assert answer.text == (
        "<response status = 'error' code = '400'><result><msg>Parameter &quot;cmd&quot; is required</msg></result>"
        "</response>"
    )
    assert anyone.post(type="export").status_code == 400
    assert anyone.session.get(anyone.url.replace("/api/", "/php/login.php"), timeout=PATIENCE).status_code == 404


def test_keygen(lasting_firewall, anyone):
    """A key is made for the right name and password, by POST and by GET, and never for Basic alone."""
    right = {"type": "keygen", "user": "admin", "password": "admin"}
    expected = f"<response status = 'success'><result><key>{lasting_firewall.api_key}</key></result></response>"
    with keyless(anyone) as session:
        assert session.post(anyone.url, data=right, timeout=PATIENCE).text == expected
        assert session.get(anyone.url, params=right, timeout=PATIENCE).text == expected
        for wrong in (right | {"password": "x"}, {"type": "keygen"}):
            answer = session.post(anyone.url, data=wrong, auth=("admin", "admin"), timeout=PATIENCE)
            assert (answer.status_code, answer.text) == (403, INVALID)


@pytest.mark.parametrize("key", [None, "", "wrong", "ключ"])
def test_a_wrong_key(lasting_firewall, anyone, key):
    """Without the right key nothing is done, and the front end says so."""
    lasting_firewall.do("clear")
    with keyless(anyone) as session:
        form = {"type": "user-id", "cmd": DOCUMENT} | ({} if key is None else {"key": key})
        answer = session.post(anyone.url, data=form, timeout=PATIENCE)
        wrong = {"Authorization": "Basic " + base64.b64encode(b"admin:x").decode()}
        basic = session.post(anyone.url, data={"type": "version"}, headers=wrong, timeout=PATIENCE)
    assert (answer.status_code, answer.text) == (403, INVALID)
    assert (basic.status_code, basic.text) == (403, INVALID)
    assert lasting_firewall.mappings() == {}


def test_an_expired_key(firewall, caller):
    """A key that expired is answered by a session that timed out, and keygen makes a new one."""
    firewall.do("key", expired=True)
    answer = caller.log_in()
    assert (answer.status_code, answer.text) == (
        200,
        '<response status="unauth" code="22"><msg><line>Session timed out</line></msg></response>',
    )
    answer = caller.post(type="keygen", user="admin", password="admin")  # noqa: S106 - the device's default
    key = answer.text.partition("<key>")[2].partition("</key>")[0]
    assert key != firewall.api_key
    caller.session.headers["X-PAN-KEY"] = key
    assert 'status="success"' in caller.log_in().text


def test_reading_back(firewall, caller):
    """Mappings are listed with the seconds they have left and their count at last, filtered as asked."""
    caller.send(ADA)
    firewall.do("learn", ip="192.0.2.2", user="campus\\grace & co", type="AD", timeout=10)
    firewall.do("learn", ip="192.0.2.3", user="alan", type="UIA", timeout=None)
    ada, grace = re.findall("<entry>.*</entry>", re.sub("35[0-9]{2}|59[0-9]", "N", caller.show("<all/>")))[:2]
    assert ada == (
        "<entry><ip>192.0.2.1</ip><vsys>vsys1</vsys><type>XMLAPI</type><user>CAMPUS\\ada</user>"
        "<idle_timeout>N</idle_timeout><timeout>N</timeout></entry>"
    )
    assert "<type>AD</type><user>campus\\grace &amp; co</user>" in grace
    assert caller.show("<all/>").endswith("<timeout>Never</timeout></entry>\n<count>3</count>\n")
    assert caller.show("<all><option>count</option></all>") == "<count>3</count>"
    assert caller.show("<all><type>XMLAPI</type></all>").count("<entry>") == 1
    assert caller.show("<ip>192.0.2.1</ip>").count("<entry>") == 1
    assert caller.show("<ip>192.0.2.4</ip>") == ""
    assert caller.show("<all/>", vsys="vsys2") == "<count>0</count>\n"
    firewall.do("advance", seconds=599)
    assert caller.show("<all><option>count</option></all>", "ip-user-mapping") == "<count>3</count>"
    firewall.do("advance", seconds=3001)
    assert firewall.mappings() == {"192.0.2.3": "alan"}


def test_two_planes_are_cleared_apart(firewall, caller):
    """A mapping is gone from both planes only when both were cleared."""
    caller.send(ADA)
    for cache, plane, other in (("user-cache", "ip-user-mapping", 1), ("user-cache-mp", "ip-user-mapping-mp", 0)):
        assert "command succeeded" in caller.ask(f"<clear><{cache}><ip>192.0.2.1</ip></{cache}></clear>")
        assert caller.show("<all/>", plane) == "<count>0</count>\n"
        assert len(firewall.do("state", plane="mp")["mappings"]) == other


def test_what_the_device_is(anyone):
    """System information, version and high availability are told as devices tell them."""
    info = anyone.ask("<show><system><info></info></system></show>")
    assert "<multi-vsys>off</multi-vsys>" in info
    assert "\n</time>" in info
    assert anyone.post(type="version").text.startswith('<response status = "success"><result><sw-version>')
    state = "<show><high-availability><state/></high-availability></show>"
    assert "<enabled>no</enabled>" in anyone.ask(state)


@pytest.mark.parametrize(
    ("command", "code"),
    [("<show>", 18), ("<show><weather/></show>", 17), ("<show/>", 17), ("<clear><user-cache/></clear>", 17)],
)
def test_unknown_commands(anyone, command, code):
    """A command that is not known, or no XML, is an error of the management server's."""
    assert f'<response status="error" code="{code}"><msg><line>' in anyone.ask(command)


def test_vsys_that_exist():
    """A firewall with given virtual systems keeps them apart and knows no others."""
    with start_simulator("firewall", vsys="vsys1,vsys2") as firewall, Caller(firewall) as caller:
        caller.log_in(vsys="vsys2")
        caller.log_in()
        assert [row["vsys"] for row in firewall.do("state")["mappings"]] == ["vsys2", "vsys1"]
        assert "vsys3 is not a valid vsys" in caller.log_in(vsys="vsys3").text
        assert "<multi-vsys>on</multi-vsys>" in caller.post(type="version").text


def test_logs(firewall, caller):
    """Logins and logouts are in the USERID log, newest first, by a job that is gone once it was fetched."""
    caller.send(ADA)
    caller.send('<logout><entry ip="192.0.2.1"/></logout>')
    answer = caller.post(type="log", log_type="userid", nlogs="1").text
    assert answer == (
        '<response status="success" code="19"><result><msg><line>query job enqueued with jobid 1</line></msg>'
        "<job>1</job></result></response>"
    )
    fetched = caller.post(type="log", action="get", job_id="1").text
    assert '<status>FIN</status><id>1</id></job><log><logs count="1" progress="100"><entry logid="2">' in fetched
    assert "<subtype>logout</subtype>" in fetched
    assert "job 1 not found" in caller.post(type="log", action="get", job_id="1").text
    line = firewall.do("log")["lines"][0].split(",")
    assert (line[3:5], line[7:10], line[13]) == (["USERID", "login"], ["vsys1", "192.0.2.1", "CAMPUS\\ada"], "3600")
    refused = caller.post(type="log", log_type="userid", nlogs="5001")
    assert refused.status_code == 400
    assert "nlogs [5001]. Should be between 1 to 5000" in refused.text


def test_too_large(caller):
    """A request over five megabytes is not read."""
    assert caller.post(type="user-id", cmd="x" * 5_300_000).status_code == 413
    assert caller.session.get(caller.url, params={"cmd": "x" * 40_000}, timeout=PATIENCE).status_code == 414


def test_a_client_that_asks_first(firewall, caller):
    """A client that waits to be told to go on, as curl does with large messages, is told."""
    body = f"type=user-id&key={firewall.api_key}&cmd={requests.utils.quote(DOCUMENT)}"
    context = ssl.create_default_context(cafile=firewall.ca_file)
    plain = socket.create_connection(("127.0.0.1", firewall.port), timeout=PATIENCE)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        head = f"POST /api/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert firewall.mappings() == {"192.0.2.1": "CAMPUS\\ada"}
    assert caller.log_in().ok


@pytest.mark.parametrize(
    ("target", "headers", "body"),
    [
        ("//[/api/", {}, b""),
        ("/api/", {}, b"&".join([b"a=b"] * 200)),
        ("/api/?key=%ff&type=op&cmd=%ff%00", {}, b"\xff=\xfe"),
        ("/api/", {"Content-Type": "multipart/form-data"}, b"--x\r\n\r\n"),
        ("/api/", {"Authorization": "Basic !"}, b"type=op"),
        ("/api/", {"Content-Length": "x"}, b""),
        ("/api/?type=op&target=%00%01", {}, b""),
    ],
)
def test_nonsense(lasting_firewall, anyone, target, headers, body):
    """Nonsense is answered by an error of the client's, and the next call is answered as ever."""
    url = f"https://127.0.0.1:{lasting_firewall.port}{target}"
    with keyless(anyone) as session:
        request = requests.Request("POST", anyone.url, headers=headers, data=body).prepare()
        request.url = url
        request.headers.update(headers)
        assert session.send(request, timeout=PATIENCE, verify=anyone.session.verify).status_code in {400, 403, 404, 411}
    assert anyone.log_in().ok
