"""Reads an answer of any size as it comes, such as a mapping table or a log, and forgets what was read.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from http import HTTPStatus
from itertools import chain, islice
from typing import NoReturn

from lxml import etree

from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import read_response

Path = tuple[str, ...]

REFUSAL_PIECES = 64  # pieces of an unexpected answer that are read: its words come first


def read_elements(
    status: int, pieces: Iterator[bytes], what: str, forgotten: Path, most: int
) -> Iterator[tuple[Path, etree._Element]]:
    """Yield every element of an answer as it ends, with its path; `status` is the HTTP status, `what` is for errors.

    Elements at the depth of `forgotten` are dropped after they were yielded, with their elder siblings. At most `most`
    elements are kept. Raises what `read_response` raises for a refusal, and BadReply for an answer that breaks off. So
    read to the end: part of an answer is no answer.
    """
    if status != HTTPStatus.OK:
        _raise_refusal(status, pieces, what)
    parser = etree.XMLPullParser(("start", "end"), resolve_entities=False, no_network=True, load_dtd=False)
    path: list[str] = []
    kept = 0
    try:
        for piece in pieces:
            parser.feed(piece)
            for event, element in parser.read_events():
                if event == "start":
                    if not path and not _is_success(element):
                        _raise_refusal(status, chain([piece], pieces), what)
                    path.append(str(element.tag))
                    kept += 1
                    if kept > most:
                        raise BadReply(f"the {what} holds more than any that PAN-OS gives")
                    continue
                yield tuple(path), element
                if len(path) == len(forgotten):
                    _forget(element)
                    kept = len(path)
                path.pop()
        parser.close()
    except (etree.XMLSyntaxError, ValueError):
        raise BadReply(f"the {what} is broken off, or not XML") from None


def read_named(
    status: int, pieces: Iterator[bytes], what: str, paths: Collection[Path], forgotten: Path, most: int
) -> Iterator[tuple[Path, etree._Element]]:
    """Yield only the elements of these paths, as `read_elements` does, in a fifth of the time.

    Of no more than `most` elements is anything kept: they are counted by the signs of markup that they begin with.
    """
    if status != HTTPStatus.OK:
        _raise_refusal(status, pieces, what)
    root, *_ = forgotten
    tags = {path[-1] for path in paths}
    parser = etree.XMLPullParser(("start", "end"), tag=[root, *tags], resolve_entities=False, no_network=True)
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
                if path not in paths:
                    continue
                yield path, element
                if path == forgotten:
                    _forget(element)
                    kept = 0
            if kept > most:
                raise BadReply(f"the {what} holds more than any that PAN-OS gives")
        parser.close()
    except (etree.XMLSyntaxError, ValueError):
        raise BadReply(f"the {what} is broken off, or not XML") from None


def _raise_refusal(status: int, pieces: Iterator[bytes], what: str) -> NoReturn:
    read_response(status, b"".join(islice(pieces, REFUSAL_PIECES)))
    raise BadReply(f"the answer is not a {what}")


def _is_success(root: etree._Element) -> bool:
    return root.tag == "response" and root.get("status") == "success" and not root.getroottree().docinfo.doctype


def _forget(element: etree._Element) -> None:
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]
