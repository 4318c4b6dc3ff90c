"""Reads an API call out of an HTTP request, in every form that clients in the field use.

Pure. Parameters come in the query, in a urlencoded body or as parts of a multipart body; the message may also be the
body itself.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

PATHS = {"/api", "/api/", "/esp/restapi.esp"}

KeyPlace = Literal["none", "header", "query", "body", "basic"]


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the API: its parameters, decoded once, and where its key stood."""

    method: str
    path: str
    content_type: str
    parameters: Mapping[str, str]
    document: bytes | None
    key: str | None
    key_place: KeyPlace
    basic: tuple[str, str] | None = None

    @property
    def type(self) -> str:
        """The kind of request: user-id, op, keygen, ..."""
        return self.parameters.get("type", "")


def read_call(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Call:
    """Read a request; `headers` may be asked in any case. Raise ValueError when the URL or the form is none."""
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    content_type = headers.get("Content-Type") or ""
    form, document = _read_body(content_type, body)
    parameters = query | form
    if document is None and "cmd" in parameters:
        document = parameters["cmd"].encode()
    basic = _read_basic(headers.get("Authorization") or "")
    key, place = _find_key(headers, query, form)
    return Call(
        method, target, content_type, parameters, document, key, "basic" if key is None and basic else place, basic
    )


def _find_key(
    headers: Mapping[str, str], query: Mapping[str, str], form: Mapping[str, str]
) -> tuple[str | None, KeyPlace]:
    if (key := headers.get("X-PAN-KEY")) is not None:
        return key, "header"
    if "key" in form:
        return form["key"], "body"
    return (query["key"], "query") if "key" in query else (None, "none")


def _read_body(content_type: str, body: bytes) -> tuple[dict[str, str], bytes | None]:
    """Return the form's fields, and the document when it came as a file or as the whole body."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _read_parts(content_type, body)
    if kind in {"text/xml", "application/xml"}:
        return {}, body
    # What names no type, or another one, is read as the form that most clients send.
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100)), None


def _read_parts(content_type: str, body: bytes) -> tuple[dict[str, str], bytes | None]:
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode("utf-8", "replace") + b"\r\n\r\n" + body
    )
    form, document = {}, None
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        if name == "file":
            document = content
        else:
            form[str(name)] = content.decode("utf-8", "replace").rstrip("\r\n")
    return form, document


def _read_basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = b64decode(credentials, validate=True).decode().partition(":")
    except (Base64Error, UnicodeDecodeError):
        return None
    return user, password
