"""The XML API of PAN-OS: requests as data, replies as an element or an error.

Pure: no I/O. Sources: "PAN-OS XML API Request Types" and "PAN-OS XML API Error Codes" of the vendor's API guide;
two dialects of errors are known from captures, the web front end's (`status = 'error' code = '403'`,
`<result><msg>`) and the management server's (`status="error"`, `<msg><line>`).
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from lxml import etree

from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, Unauthorized

SESSION_TIMED_OUT, OPERATION_DENIED = "22", "15"
ROLE_LACKS_RIGHT = "16"  # "the API role does not have access rights to run this query"
DENIED = frozenset({ROLE_LACKS_RIGHT, "401", "403"})
TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
DOCTYPE_REFUSED = "the answer declares a document type, which PAN-OS does not"
BAD_KEY = ("invalid credential", "key expired")  # the first in a 403, and in a 200 of old releases; the other in a 400
# A management plane that is starting, and a Panorama that has lost the firewall: both pass. How they are worded is not
# published; users' names are not to be taken for it.
NOT_NOW = re.compile(r"not ready to process|^\w+ (is )?not connected\b", re.IGNORECASE)
# Tags and attributes: the answer to a batch in which every entry is rejected has 500, and each takes a parser some 200
# bytes, so that 8 MiB of nothing else would take 300.
MOST_MARKUP = 20_000
# What a form carries as it is, and the two characters that are seen to apart.
_KEPT, _APART = f"{string.ascii_letters}{string.digits}_.-~".encode(), b"% "
LONGEST_MESSAGE = 2000  # characters of a target's own words that go into an error; whoever shows them cuts them


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the API: its type and parameters, without key and address.

    The right that an administrator's role must have for it bears the type's name.
    """

    type: str
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secret: str = field(default="", repr=False)  # a parameter that must not come back in anybody's words

    @property
    def form(self) -> dict[str, str]:
        """The form to post."""
        return {"type": self.type, **dict(self.parameters)}

    @property
    def body(self) -> bytes:
        """The form as it goes over the wire."""
        return b"&".join(b"%s=%s" % (_quote(name), _quote(value)) for name, value in self.form.items())

    @property
    def text(self) -> str:
        """What is asked or told, as one text."""
        return "\n".join(value for _, value in self.parameters)


def _quote(text: str) -> bytes:
    """Quote as `urllib.parse.quote_plus` does, at a seventh of its price for a message of a hundred entries.

    It goes through the kinds of characters to replace, of which a message has a dozen, and not through them all.
    """
    quoted = text.encode().replace(b"%", b"%25")
    for code in set(quoted.translate(None, _KEPT + _APART)):
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


def read_response(status: int, body: bytes) -> etree._Element:
    """Return the `response` element of an answer that PAN-OS gave, or raise.

    `status` is the HTTP status. An answer with `status="error"` that lists entries (a `uid-response`) is returned, too:
    it is normal traffic, and the sender of the entries knows how to read it.

    Raises Busy, Unauthorized, BadRequest or BadReply.
    """
    if status in TRANSIENT:
        raise Busy(f"answers HTTP {status}")
    if status not in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise BadReply(f"answers HTTP {status}, which PAN-OS does not")
    try:
        response = _parse_response(body)
    except BadReply:
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise Unauthorized(f"answers HTTP {status}") from None
        raise
    match response.get("status"):
        case "success" if status == HTTPStatus.OK:
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


def _parse_response(body: bytes) -> etree._Element:
    root = parse(body)
    if root.tag != "response":
        raise BadReply(f"the answer is <{_shorten(str(root.tag))}>, not <response>")
    return root


def _read_refusal(status: int, response: etree._Element) -> Busy | Unauthorized | BadRequest:
    message = read_message(response) or f"HTTP {status} without a reason"
    if "not authorized for user role" in message.lower():
        return Busy(message, denied=True)
    if response.get("code") == OPERATION_DENIED and "passive" in message.lower():
        return Busy(message)  # a member of a pair that another has taken over from
    if NOT_NOW.search(message):
        return Busy(message)
    is_bad_key = any(words in message.lower() for words in BAD_KEY)
    if is_bad_key or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or response.get("code") in DENIED:
        return Unauthorized(message, is_denied=not is_bad_key and response.get("code") == ROLE_LACKS_RIGHT)
    return BadRequest(message)


def read_message(response: etree._Element) -> str:
    """Return the target's own words from wherever a dialect keeps them, or the empty string."""
    for path in ("msg/line/line", "msg/line", "result/msg/line", "result/msg", "msg"):
        lines = [" ".join("".join(line.itertext()).split()) for line in response.iterfind(path)]
        if any(lines):
            return _shorten("; ".join(line for line in lines if line))
    return ""


def parse(body: bytes) -> etree._Element:
    """Parse one answer, or raise BadReply.

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
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise BadReply(f"the answer is not XML ({_shorten(error.msg or 'syntax error')})") from None
    except ValueError:
        raise BadReply("the answer is not XML") from None
    if root.getroottree().docinfo.doctype:  # written in another encoding
        raise BadReply(DOCTYPE_REFUSED)
    return root


def _shorten(text: str) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
