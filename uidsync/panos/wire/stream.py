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
ROOT = "response"

REFUSAL_PIECES = 64  # pieces of an unexpected answer that are read: its words come first


def read_elements(
    status: int, pieces: Iterator[bytes], what: str, tags: Collection[str], forgotten: Collection[Path], most: int
) -> Iterator[tuple[Path, etree._Element]]:
    """Yield the elements of these tags, and the root, as they end, with their paths.

    Elements at a path in `forgotten` are dropped after they were yielded, with their elder siblings. The rest is kept
    whole; its markup may have at most `most` signs. `status` is the HTTP status, and `what` is for errors. Raises what
    `read_response` raises for a refusal, and BadReply for an answer that breaks off. Read to the end: part of an answer
    is no answer.
    """
    if status != HTTPStatus.OK:
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
                    _forget(element)
                    kept = 0
            if kept > most:
                raise BadReply(f"the {what} holds more than any that PAN-OS gives")
        parser.close()
    except (etree.XMLSyntaxError, ValueError):
        raise BadReply(f"the {what} is broken off, or not XML") from None
    if not is_known:
        raise BadReply(f"the answer is not a {what}")


def _raise_refusal(status: int, pieces: Iterator[bytes], what: str) -> NoReturn:
    read_response(status, b"".join(islice(pieces, REFUSAL_PIECES)))
    raise BadReply(f"the answer is not a {what}")


def _is_success(root: etree._Element) -> bool:
    return root.tag == ROOT and root.get("status") == "success" and not root.getroottree().docinfo.doctype


def _forget(element: etree._Element) -> None:
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]
