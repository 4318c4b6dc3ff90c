"""What an answer of the XML API means, in both dialects, and that no answer can do harm."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from uidsync.panos.userid.messages import read_rejections
from uidsync.panos.userid.table import read_mappings
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, PanosError, Unauthorized
from uidsync.panos.wire.xmlapi import (
    LONGEST_MESSAGE,
    Request,
    make_keygen,
    make_op,
    read_key,
    read_message,
    read_response,
    read_whole,
)

PARTIAL_FAILURE = b"""<response status="error"><msg><line><uid-response>
  <version>2.0</version>
  <payload>
    <login>
    </login>
    <logout>
      <entry name="jdoe@example.edu" ip="192.0.2.7" message="Delete mapping failed"/>
    </logout>
  </payload>
</uid-response></line></msg></response>"""

ACCEPTED = {
    "uid-response": b"""<response status="success"><result><uid-response><version>2.0</version><payload>
        <unregister></unregister><login></login></payload></uid-response></result></response>""",
    "empty result": b'<response status="success"><result/></response>',
    "front end": b"<response status = 'success'><result><key>a2V5</key></result></response>",
    "object not present": b'<response status="success" code="7"><result/></response>',
    "job": b'<response status="success" code="19"><result><msg><line>enqueued</line></msg></result></response>',
    "done": b'<response status="success" code="20"><msg>command succeeded</msg></response>',
    "partial failure": PARTIAL_FAILURE,
    "partial failure, other word": PARTIAL_FAILURE.replace(b'"error"', b'"failed"'),
    "stray end of CDATA": b"""<response status="success"><result>User group 'x' does not exist or does not have members
]]></result></response>""",
    "CDATA": b'<response status="success"><result><![CDATA[a ]] > b]]></result></response>',
    "declaration": b'<?xml version="1.0" encoding="UTF-8"?>\n<response status="success"/>\n',
    "byte order mark": b'\xef\xbb\xbf<response status="success"/>',
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_an_answer_that_pan_os_gave_is_returned(body):
    """Success in every form, and an error that lists entries, come back as the response element."""
    assert read_response(200, body).tag == "response"


def front_end(code, words):
    """Make an error of the web front end."""
    return f"<response status = 'error' code = '{code}'><result><msg>{words}</msg></result></response>".encode()


def management_server(words, code=None, status="error"):
    """Make an error of the management server."""
    attribute = f' code="{code}"' if code else ""
    return f'<response status="{status}"{attribute}><msg><line>{words}</line></msg></response>'.encode()


ROLE = "Type [user-id] not authorized for user role."
PAGE = b"<html><head><title>nginx</title></head><body><center>bad gateway</center></body></html>"
MULTI_LINE = b"""<response status="error" code="12"><msg><line><![CDATA[ edl -> source
 is invalid]]></line><line>edl is invalid</line></msg></response>"""


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        # keys, rights and sessions
        (403, front_end(403, "Invalid Credential"), Unauthorized, "Invalid Credential"),
        (200, front_end(403, "Invalid credentials."), Unauthorized, "Invalid credential"),
        (200, management_server("Invalid credentials."), Unauthorized, "Invalid credential"),
        (403, front_end(403, ROLE), Busy, ROLE),
        (403, front_end(403, ROLE.replace("user-id", "op")), Busy, "[op] not authorized"),
        (200, management_server("Session timed out", 22, "unauth"), Busy, "session timed out"),
        (200, management_server("Unauthorized request", 16, "unauth"), Unauthorized, "Unauthorized request"),
        (200, b'<response status="unauth"/>', Unauthorized, "unauthorized request"),
        (403, front_end(403, "Forbidden"), Unauthorized, "Forbidden"),
        (200, front_end(403, "Forbidden"), Unauthorized, "Forbidden"),
        (200, management_server("Unauthorized", 16), Unauthorized, "Unauthorized"),
        (401, b"", Unauthorized, "HTTP 401"),
        (401, PAGE, Unauthorized, "HTTP 401"),
        (401, management_server("who?"), Unauthorized, "who?"),
        (403, b"", Unauthorized, "HTTP 403"),
        (403, b'<response status="success"/>', Unauthorized, "HTTP 403"),
        # refused messages
        (200, management_server("uid-message: login unexpected"), BadRequest, "uid-message: login unexpected"),
        (400, front_end(400, "Parameter &quot;cmd&quot; is required"), BadRequest, 'Parameter "cmd" is required'),
        (200, front_end(400, "Illegal value"), BadRequest, "Illegal value"),
        (200, MULTI_LINE, BadRequest, "edl -> source is invalid; edl is invalid"),
        (200, management_server("again", status="failed"), BadRequest, "again"),
        (200, b'<response status="error"/>', BadRequest, "without a reason"),
        (400, b'<response status="success"/>', BadRequest, "HTTP 400"),
        (200, b'<response status="error"><msg>plain words</msg></response>', BadRequest, "plain words"),
        (200, management_server("<line>a</line><line>b</line>"), BadRequest, "a; b"),
        (200, b'<response status="error"><result><msg><line>deep</line></msg></result></response>', BadRequest, "deep"),
        *((200, management_server("no", code), BadRequest, "no") for code in (*range(1, 16), 17, 18)),
        # not now
        *((status, body, Busy, f"HTTP {status}") for status in (408, 429, 500, 502, 503, 504) for body in (b"", PAGE)),
        (503, b'<response status="success"/>', Busy, "HTTP 503"),
        (200, management_server("Not ready to process xmlapi data"), Busy, "Not ready"),
        (200, management_server("User-ID is not ready to process data", 17), Busy, "not ready"),
        (200, management_server("007200001056 not connected", 13), Busy, "not connected"),
        (200, management_server("0033 is not connected"), Busy, "not connected"),
        (200, management_server("login: LAB\\not connected is no user"), BadRequest, "no user"),
        # not PAN-OS
        (200, b"", BadReply, "empty"),
        (200, b" \r\n\t", BadReply, "empty"),
        (200, PAGE, BadReply, "html"),
        (400, PAGE, BadReply, "html"),
        (200, b"OK", BadReply, "not XML"),
        (200, b'{"status": "success"}', BadReply, "not XML"),
        (200, PARTIAL_FAILURE[:100], BadReply, "not XML"),
        (200, b'<response status="success"/><response/>', BadReply, "not XML"),
        (200, b"<response/>", BadReply, "None"),
        (200, b'<response status="SUCCESS"/>', BadReply, "SUCCESS"),
        (200, b'<answer status="success"/>', BadReply, "answer"),
        (200, b'<x:response xmlns:x="y" status="success"/>', BadReply, "response"),
        *((status, PAGE, BadReply, f"HTTP {status}") for status in (201, 204, 301, 302, 404, 405, 411, 413, 414, 501)),
    ],
)  # fmt: skip
def test_every_other_answer_is_an_error_by_its_cause(status, body, error, words):
    """Each known answer becomes the one error that says what to do, in the target's own words."""
    with pytest.raises(PanosError) as raised:
        read_response(status, body)
    assert type(raised.value) is error
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("body", "denied"),
    [
        (front_end(403, ROLE), True),
        (management_server("x", 22, "unauth"), False),
        (management_server("Operation not allowed on a passive device", 15), False),
    ],
)
def test_only_the_missing_right_is_marked(body, denied):
    """The 403 that a commit gives, and a role without the right, is told from a session that timed out."""
    with pytest.raises(Busy) as raised:
        read_response(403, body)
    assert raised.value.is_denied is denied


@pytest.mark.parametrize(
    ("status", "body", "is_denied"),
    [
        (200, management_server("Unauthorized request", 16, "unauth"), True),
        (200, management_server("Unauthorized", 16), True),
        (200, management_server("Invalid Credential", 16), False),
        (403, front_end(403, "Invalid Credential"), False),
        (400, front_end(400, "Key Expired: LUFRPT has expired."), False),
        (200, b'<response status="unauth"/>', False),
        (403, front_end(403, "Forbidden"), False),
        (401, b"", False),
    ],
)
def test_a_right_that_is_missing_is_told_from_a_bad_key(status, body, is_denied):
    """What a role may not do is marked; a key that is wrong, has expired or is refused without a reason is not."""
    with pytest.raises(Unauthorized) as raised:
        read_response(status, body)
    assert raised.value.is_denied is is_denied
    assert raised.value.reworded("other words").is_denied is is_denied


def test_the_innermost_words_win():
    """Words are taken from where the dialects keep them, the most telling place first, in one line."""
    body = b"<response><msg>out <line>er\n</line> </msg><result><msg>other</msg></result></response>"
    assert read_message(etree.fromstring(body)) == "er"
    assert read_message(etree.fromstring(b"<response><msg> \n </msg></response>")) == ""


def test_words_are_short_and_printable():
    """What goes into an error is cut, and holds nothing that moves a terminal's cursor."""
    with pytest.raises(BadRequest) as raised:
        read_response(200, management_server("a&#9;b\u202ec\x9bd" + "x" * LONGEST_MESSAGE))
    words = str(raised.value)
    assert words.startswith("a b?c?dxx")
    assert len(words) == LONGEST_MESSAGE
    assert words.isprintable()


# ---- hostile answers ---------------------------------------------------------------------------------------------

LAYERS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<!DOCTYPE response [<!ENTITY l0 "lol">{LAYERS}]>'


def external(file):
    """Make a document type that names a file."""
    return f'<!DOCTYPE response [<!ENTITY f SYSTEM "{file.as_uri()}">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp037"])
@pytest.mark.parametrize(
    "make",
    [
        lambda _: BOMB + '<response status="success"><result>&l9;</result></response>',
        lambda _: BOMB + '<response status="&l9;"/>',
        lambda file: external(file) + '<response status="success"><result>&f;</result></response>',
        lambda file: external(file) + '<response status="error"><msg>&f;</msg></response>',
        lambda file: f'<!DOCTYPE response SYSTEM "{file.as_uri()}"><response status="success"/>',
        lambda file: (
            f'<!DOCTYPE r [<!ENTITY % p SYSTEM "{file.as_uri()}"> %p;]><response status="error"><msg/></response>'
        ),
        lambda _: '<!DOCTYPE response><response status="success"/>',
    ],
    ids=["bomb", "bomb in an attribute", "entity", "entity in an error", "subset", "parameter", "bare"],
)
def test_a_document_type_is_refused(tmp_path, make, encoding):
    """No entity is resolved and no file is read, in whatever encoding a document type comes."""
    (tmp_path / "secret").write_text("canary")
    declaration = f'<?xml version="1.0" encoding="{encoding.removesuffix("-be")}"?>'
    with pytest.raises(BadReply) as raised:
        read_response(200, (declaration + make(tmp_path / "secret")).encode(encoding))
    assert "canary" not in str(raised.value)


HUGE = {
    "deep": b"<response status='success'>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</response>",
    "long text": b"<response status='success'>" + b"x" * 11_000_000 + b"</response>",
    "long name": b"<" + b"x" * 100_000 + b"/>",
    "long attribute": b"<response status='" + b"x" * 11_000_000 + b"'/>",
    "unknown encoding": b'<?xml version="1.0" encoding="martian"?><response status="success"/>',
    "not that encoding": b'<?xml version="1.0" encoding="UTF-8"?><response status="success">\xff\xfe</response>',
    "zero byte": b'<response status="success">\0</response>',
    "control character": b'<response status="success">\x1b[2J</response>',
    "comment alone": b"<!-- <response status='success'/> -->",
    "reference to nothing": b'<response status="success">&nbsp;</response>',
    "surrogate reference": b'<response status="success">&#xD800;</response>',
    "many attributes": b"<response " + b" ".join(b"a%d=''" % n for n in range(50_000)) + b"/>",
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE)
def test_what_no_device_says_is_a_bad_reply(body):
    """Answers too large, too deep or malformed end as BadReply, with a short message."""
    with pytest.raises(BadReply) as raised:
        read_response(200, body)
    assert len(str(raised.value)) < 2 * LONGEST_MESSAGE


@given(st.integers(100, 599), st.binary() | st.text().map(str.encode))
def test_random_bytes_are_a_panos_error(status, body):
    """Whatever bytes come, an error of ours comes out."""
    with pytest.raises(PanosError):
        read_response(status, body)


NAMES = st.sampled_from(
    ["response", "result", "msg", "line", "uid-response", "payload", "login", "entry", "ip", "user", "timeout", "key"]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["status", "code", "name", "ip", "message"]),
    st.sampled_from(["success", "error", "failed", "unauth", "22", "16", "192.0.2.7", "", "9" * 5000])
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"), max_size=5),
    max_size=3,
)
TEXTS = st.sampled_from(
    [None, "", " ", "192.0.2.7", "jdoe", "0", "-1", "Never", "9" * 5000, "not authorized for user role"]
)


def make_element(name, attributes, text, children):
    """Make an element with these parts."""
    element = etree.Element(name, attributes)
    element.text = text
    element.extend(children)
    return element


ELEMENTS = st.recursive(
    st.builds(make_element, NAMES, ATTRIBUTES, TEXTS, st.just([])),
    lambda children: st.builds(make_element, NAMES, ATTRIBUTES, TEXTS, st.lists(children, max_size=4)),
    max_leaves=12,
)


@given(st.sampled_from([200, 400, 401, 403]), ATTRIBUTES, st.lists(ELEMENTS, max_size=3))
def test_any_response_is_read_or_refused(status, attributes, children):
    """Of any response element, each reader makes a value or raises an error of ours."""
    body = etree.tostring(make_element("response", attributes, None, children))
    for read in (lambda response: read_rejections(response, ()), read_mappings, read_key):
        try:
            read(read_response(status, body))
        except PanosError as error:
            assert str(error)  # noqa: PT017 (most answers are errors, and some are not)


# ---- requests ----------------------------------------------------------------------------------------------------


def test_a_request_shows_no_parameter():
    """What a request carries, a password among it, is not in its representation."""
    request = make_keygen("admin", "correct horse")
    assert request.form == {"type": "keygen", "user": "admin", "password": "correct horse"}
    assert repr(request) == "Request(type='keygen')"


# What tempts a quoting by kinds of characters: its own signs, what it would make of them, UTF-8 of every length.
TEMPTING = st.text(st.sampled_from("% +&=/\\<>\"'~_.-25aF\t\0\x7f\x80é€\U0001f600"))


@given(st.lists(st.tuples(TEMPTING | st.text(), TEMPTING | st.text()), max_size=4))
def test_a_form_goes_out_as_any_form_does(parameters):
    """The bytes of a form are those that the standard library makes of it."""
    request = Request("op", tuple(parameters))
    assert request.body == urlencode(request.form).encode()


def test_a_vsys_is_named_only_when_there_is_one():
    """An operational command goes to a vsys, or to the device."""
    assert make_op("<show/>", "vsys2") == Request("op", (("cmd", "<show/>"), ("vsys", "vsys2")))
    assert make_op("<show/>").form == {"type": "op", "cmd": "<show/>"}


def test_a_key_is_read_from_keygen_s_own_dialect():
    """The key comes without the blanks round it; an answer without one is a bad reply."""
    body = b"<response status = 'success'><result><key> LUFRPT1+/=== \n</key></result></response>"
    assert read_key(read_response(200, body)) == "LUFRPT1+/==="
    with pytest.raises(BadReply):
        read_key(read_response(200, b'<response status="success"><result><key/></result></response>'))


def test_an_answer_without_end_is_not_kept():
    """An answer that is far too long is none, and is not read to its end."""
    pieces = iter([b"x" * 2**22] * 10)
    with pytest.raises(BadReply, match="larger than 8 MiB"):
        read_whole(200, pieces)
    assert next(pieces, None) is not None
