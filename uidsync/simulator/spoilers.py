"""Knows what stands in the place of a firewall's answer, or is left of it, under the faults that are content.

Pure. Faults of the connection (resets, silence, dripping) are the server's.
"""

import gzip
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from uidsync.simulator import replies
from uidsync.simulator.faults import Fault
from uidsync.simulator.firewall import Answer

MEGABYTE = b" " * 1_048_576
HTML = "text/html; charset=UTF-8"
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Login</title></head><body><form>Username</form></body></html>"
TAG = b'<a b="" c="" d="" e="" f=""/>'
BOMB_LAYERS = 9  # each ten times the one below: a billion


def page(status: int) -> Answer:
    """Make the page that a web server or a proxy puts before an error."""
    return Answer(
        b"<html><head><title>%d</title></head><body><center>nginx</center></body></html>" % status, status, HTML
    )


def substitute(fault: Fault, port: int, key: str) -> Answer | None:
    """Return what comes instead of an answer to a call with this key, None when nothing whole does."""
    if fault.name == "echoed_key":
        return Answer(replies.front_end_error(403, f"Invalid Credential {key}"), 403)
    make = SUBSTITUTES.get(fault.name)
    return make(fault, port) if make else None


def damage(fault: Fault, answer: Answer) -> Answer:
    """Return what a fault leaves of an answer."""
    match fault.name:
        case "truncated_xml":
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        case "wrong_content_type":
            return replace(answer, content_type=HTML)
        case "stray_cdata_end":
            head, end, tail = answer.body.rpartition(b"</response>")
            return replace(answer, body=head + b"]]>" + end + tail)
    return answer


def make_odd(form: str, answer: bytes) -> bytes:
    """Return an agent's answer in a form that nobody has published."""
    if form == "half":
        return answer[: len(answer) // 2]
    return ODD_ANSWERS[form]


@cache
def _zipped_megabyte() -> bytes:
    return gzip.compress(MEGABYTE)  # members of a gzip stream may simply follow each other


def _make_entity_bomb(encoding: str) -> bytes:
    layers = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, BOMB_LAYERS + 1))
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE response [<!ENTITY l0 "lol">{layers}]>'
        f'<response status="success"><result>&l{BOMB_LAYERS};</result></response>'
    ).encode(encoding)


def _gzip_bomb(fault: Fault, _port: int) -> Answer:
    body = _zipped_megabyte() * int(fault.number("megabytes", 1024))
    return Answer(body, headers=(("Content-Encoding", "gzip"),))


def _make_tags(fault: Fault, _port: int) -> Answer:
    tags = TAG * (int(fault.number("megabytes", 7)) * len(MEGABYTE) // len(TAG))
    return Answer(b'<response status="success"><result>' + tags + b"</result></response>")


def _redirect(fault: Fault, port: int) -> Answer:
    location = fault.text("location", f"https://127.0.0.1:{port}/php/login.php")
    return Answer(b"", int(fault.number("status", 302)), HTML, (("Location", location),))


EXTERNAL_ENTITY = (
    b'<!DOCTYPE response [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
    b'<response status="success"><result>&file;</result></response>'
)
SUBSTITUTES: dict[str, Callable[[Fault, int], Answer]] = {
    "empty_body": lambda _fault, _port: Answer(b""),
    "html_200": lambda _fault, _port: Answer(LOGIN_PAGE, 200, HTML),
    "html_502": lambda _fault, _port: page(502),
    "html_503": lambda _fault, _port: page(503),
    "busy_429": lambda fault, _port: replace(page(429), headers=(("Retry-After", fault.text("retry_after", "1")),)),
    "gzip_bomb": _gzip_bomb,
    "entity_bomb": lambda fault, _port: Answer(_make_entity_bomb(fault.text("encoding", "utf-8"))),
    "external_entity": lambda _fault, _port: Answer(EXTERNAL_ENTITY),
    "tags_alone": _make_tags,
    "redirect": _redirect,
}
ODD_ANSWERS = {
    "bytes": bytes(range(256)),
    "json": b'{"status": "success"}',
    "page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + LOGIN_PAGE,
    "http-head": b"HTTP/1.1 200 OK\r\n\r\n",
    "entities": _make_entity_bomb("utf-8"),
    "code-0": b"<uid-response><version>2.0</version><code>0</code><message>ok</message></uid-response>",
    "code-1": b"<uid-response><version>2.0</version><code>1</code><message>no such thing</message></uid-response>",
}
