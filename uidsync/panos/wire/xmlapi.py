"""The XML API of PAN-OS: requests as data, replies as an element or an error.

Pure: no I/O. Sources: "PAN-OS XML API Request Types" and "PAN-OS XML API Error Codes" of the vendor's API guide;
two dialects of errors are known from captures, the web front end's (`status = 'error' code = '403'`,
`<result><msg>`) and the management server's (`status="error"`, `<msg><line>`).
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Iterator
from functools import cached_property, lru_cache
from itertools import chain
from typing import NoReturn

from lxml import etree
from msgspec import Struct
from msgspec.structs import replace

from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, Unauthorized
from uidsync.spelling import make_printable

SESSION_TIMED_OUT, OPERATION_DENIED = "22", "15"
ROLE_LACKS_RIGHT = "16"  # "the API role does not have access rights to run this query"
DENIED = frozenset({ROLE_LACKS_RIGHT, "401", "403"})
# Request timeout, too many requests, internal error, bad gateway, service unavailable, gateway timeout.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
OK, BAD_REQUEST, FORBIDDEN = 200, 400, frozenset({401, 403})
DOCTYPE_REFUSED = "the answer declares a document type, which PAN-OS does not"
BAD_KEY = ("invalid credential", "key expired")  # the first in a 403, and in a 200 of old releases; the other in a 400
# A management plane that is starting, and a Panorama that has lost the firewall: both pass. How they are worded is not
# published; users' names are not to be taken for it.
NOT_NOW = re.compile(r"not ready to process|^\w+ (is )?not connected\b", re.IGNORECASE)
# Tags and attributes: the answer to a batch in which every entry is rejected has 500, and each takes a parser some 200
# bytes, so that 8 MiB of nothing else would take 300.
MOST_MARKUP = 20_000
# Of an answer of any size, since an element was forgotten: a list that lies deeper than the known ones is kept whole.
MOST_KEPT = 100_000
# What a form carries as it is, and what nearly every message has of the rest; a percent sign comes before all others.
_KEPT, _COMMON = f"{string.ascii_letters}{string.digits}_.-~ ".encode(), b'%<>"=/\\:'
LONGEST_MESSAGE = 2000  # characters of a target's own words that go into an error; whoever shows them cuts them
ROOT = "response"
LARGEST_ANSWER = 8 * 2**20  # bytes: far above a batch in which every entry is rejected with a page of words

Path = tuple[str, ...]  # the names of an element's ancestors, and its own


class Request(Struct, frozen=True, dict=True):
    """One call of the API: its type and parameters, without key and address.

    The right that an administrator's role must have for it bears the type's name.
    """

    type: str
    parameters: tuple[tuple[str, str], ...] = ()
    secret: str = ""  # a parameter that must not come back in anybody's words

    def __repr__(self) -> str:
        return f"Request(type={self.type!r})"

    @property
    def form(self) -> dict[str, str]:
        """The form to post."""
        return {"type": self.type, **dict(self.parameters)}

    @cached_property
    def body(self) -> bytes:
        """The form as it goes over the wire."""
        return b"&".join(b"%s=%s" % (_quote(name), _quote(value)) for name, value in self.form.items())

    @property
    def text(self) -> str:
        """What is asked or told, as one text."""
        return "\n".join(value for _, value in self.parameters)


def _quote(text: str) -> bytes:
    """Quote as `urllib.parse.quote_plus` does, at a seventh of its price for a message of a hundred entries.

    It goes through the kinds of characters to replace, of which a message has a dozen, and not through each of them.
    """
    quoted = text.encode()
    for code in (*_COMMON, *set(quoted.translate(None, _KEPT + _COMMON))):
        quoted = quoted.replace(b"%c" % code, b"%%%02X" % code)
    return quoted.replace(b" ", b"+")


def make_op(cmd: str, vsys: str = "") -> Request:
    """Make an operational command, such as `<show><system><info/></system></show>`."""
    return Request("op", (("cmd", cmd), *((("vsys", vsys),) if vsys else ())))


def address_to(request: Request, serial: str) -> Request:
    """Name the firewall behind Panorama that a request is for; without a serial, the host that is asked answers."""
    return replace(request, parameters=(*request.parameters, ("target", serial))) if serial else request


SYSTEM_INFO = make_op("<show><system><info></info></system></show>")


def make_keygen(user: str, password: str) -> Request:
    """Make the request for an API key; its reply is read by `read_key`."""
    return Request("keygen", (("user", user), ("password", password)), secret=password)


def read_key(response: etree._Element) -> str:
    """Return the API key of a keygen reply, or raise BadReply."""
    key = (response.findtext("result/key") or "").strip()
    if not key:
        raise BadReply("the answer to keygen holds no key")
    return key


# A firewall gives every message that it accepts the same answer. To read the last one again costs as much as to make
# the message.
@lru_cache(1)
def read_response(status: int, body: bytes) -> etree._Element:
    """Return the `response` element of an answer that PAN-OS gave, or raise. Others may get the same: do not change it.

    `status` is the HTTP status. An answer with `status="error"` that lists entries (a `uid-response`) is returned, too:
    it is normal traffic, and the sender of the entries knows how to read it.

    Raises Busy, Unauthorized, BadRequest or BadReply.
    """
    if status in TRANSIENT:
        raise Busy(f"answers HTTP {status}")
    if status not in {OK, BAD_REQUEST, *FORBIDDEN}:
        raise BadReply(f"answers HTTP {status}, which PAN-OS does not")
    try:
        response = parse(body, ROOT)
    except BadReply:
        if status in FORBIDDEN:
            raise Unauthorized(f"answers HTTP {status}") from None
        raise
    match response.get("status"):
        case "success" if status == OK:
            return response
        case "error" | "failed" if response.find(".//uid-response//entry") is not None:
            return response
        case "unauth" if response.get("code") == SESSION_TIMED_OUT:
            raise Busy("the session timed out")
        case "unauth":
            lacks_right = response.get("code") == ROLE_LACKS_RIGHT
            raise Unauthorized(read_message(response) or "unauthorized request", is_denied=lacks_right)
        case "success" | "error" | "failed":
            raise _read_refusal(status, response)
        case other:
            raise BadReply(f"the answer's status is {_shorten(repr(other))}")


def read_whole(status: int, pieces: Iterator[bytes]) -> etree._Element:
    """Return the `response` element of an answer that comes in pieces, as `read_response` does; a large one is none."""
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise BadReply(f"the answer is larger than {LARGEST_ANSWER // 2**20} MiB")
    return read_response(status, bytes(body))


def _read_refusal(status: int, response: etree._Element) -> Busy | Unauthorized | BadRequest:
    message = read_message(response) or f"HTTP {status} without a reason"
    if "not authorized for user role" in message.lower():
        return Busy(message, is_denied=True)
    is_taken_over = response.get("code") == OPERATION_DENIED and "passive" in message.lower()  # a member of a pair
    if is_taken_over or NOT_NOW.search(message):
        return Busy(message)
    is_bad_key = any(words in message.lower() for words in BAD_KEY)
    if is_bad_key or status in FORBIDDEN or response.get("code") in DENIED:
        return Unauthorized(message, is_denied=not is_bad_key and response.get("code") == ROLE_LACKS_RIGHT)
    return BadRequest(message)


def read_message(response: etree._Element) -> str:
    """Return the target's own words from wherever a dialect keeps them, or the empty string."""
    for path in ("msg/line/line", "msg/line", "result/msg/line", "result/msg", "msg"):
        lines = [" ".join("".join(line.itertext()).split()) for line in response.iterfind(path)]
        if any(lines):
            return _shorten("; ".join(line for line in lines if line))
    return ""


def parse(body: bytes, tag: str = "") -> etree._Element:
    """Parse one answer, or raise BadReply. Its root must have this tag, if one is named.

    Hostile XML stays inert: no entity is resolved, nothing is fetched, and a document type is refused outright. A
    stray `]]>`, which some releases leave in their text, is tolerated.
    """
    if not body.strip():
        raise BadReply("the answer is empty")
    if body.count(b"<") + body.count(b"=") > MOST_MARKUP:
        raise BadReply("the answer holds more than any that PAN-OS gives")
    if b"<!DOCTYPE" in body:
        raise BadReply(DOCTYPE_REFUSED)
    if b"<![CDATA[" not in body:
        body = body.replace(b"]]>", b"]]&gt;")
    try:
        root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
    except etree.XMLSyntaxError as error:
        raise BadReply(f"the answer is not XML ({_shorten(error.msg or 'syntax error')})") from None
    if root.getroottree().docinfo.doctype:  # written in another encoding
        raise BadReply(DOCTYPE_REFUSED)
    if tag and root.tag != tag:
        raise BadReply(f"the answer is <{_shorten(str(root.tag))}>, not <{tag}>")
    return root


def read_seconds(text: str | None) -> int | None:
    """Read the seconds left. How XML spells "never" is not known: anything but a positive number means it."""
    text = (text or "").strip()
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) > 0 else None  # ten digits are 300 years


def _shorten(text: str) -> str:
    text = make_printable(text, "?")
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def read_elements(
    status: int, pieces: Iterator[bytes], what: str, tags: Collection[str], forgotten: Collection[Path]
) -> Iterator[tuple[Path, etree._Element]]:
    """Read an answer of any size as it comes: yield the elements of these tags, and the root, as they end.

    Each comes with its path. Elements at a path in `forgotten` are dropped after they were yielded, with their elder
    siblings. The rest is kept whole. `status` is the HTTP status, and `what` is for errors. Raises what `read_response`
    raises for a refusal, and BadReply for an answer that breaks off. Read to the end: part of an answer is no answer.
    """
    if status != OK:
        _raise_refusal(status, pieces, what)
    # The parser looks for the tags: to hand over every element takes five times as long.
    parser = etree.XMLPullParser(
        ("start", "end"), tag=[ROOT, *tags], resolve_entities=False, no_network=True, load_dtd=False
    )
    kept, is_known = 0, False
    try:
        for piece in pieces:
            parser.feed(piece)
            kept += piece.count(b"<")
            for event, element in parser.read_events():
                if event == "start":
                    if not is_known and (element.getparent() is not None or not _is_success(element)):
                        _raise_refusal(status, chain([piece], pieces), what)
                    is_known = True
                    continue
                path = (*reversed([str(above.tag) for above in element.iterancestors()]), str(element.tag))
                yield path, element
                if path in forgotten:
                    element.clear()
                    while (parent := element.getparent()) is not None and element.getprevious() is not None:
                        del parent[0]
                    kept = 0
            if kept > MOST_KEPT:
                raise BadReply(f"the {what} holds more than any that PAN-OS gives")
        parser.close()
    except (etree.XMLSyntaxError, ValueError):
        raise BadReply(f"the {what} is broken off, or not XML") from None
    if not is_known:
        raise BadReply(f"the answer is not a {what}")


def _raise_refusal(status: int, pieces: Iterator[bytes], what: str) -> NoReturn:
    read_whole(status, pieces)
    raise BadReply(f"the answer is not a {what}")


def _is_success(root: etree._Element) -> bool:
    return root.tag == ROOT and root.get("status") == "success" and not root.getroottree().docinfo.doctype
