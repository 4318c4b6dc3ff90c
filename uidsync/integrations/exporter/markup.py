"""Makes HTML of texts, marks, moments and tables.

Looks at no clock. A text stays a text, whoever's words it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from lxml import etree

from uidsync.integrations.exporter.verdict import Verdict, describe_age, describe_moment
from uidsync.spelling import make_printable

# A URL, a moment, what has dots or colons between digits, and a number with its unit, each with the sign that ends it:
# otherwise a line could begin with a comma. What is too long for any line is broken all the same.
WHOLE = re.compile(
    r"(https?://[^\s,;]{1,40}|(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d UTC[,;.]?"
    r"|[0-9A-Fa-f]{1,4}(?:[.:]{1,2}[0-9A-Fa-f]{1,4}){2,}|(?:\bin )?(?<![\w.:-])\d[\d,.]* [A-Za-z]+(?: ago)?[,;.]?)"
)
Element = etree._Element  # noqa: SLF001 (the library's own name for it)
Child = Element | str


def tag(kind: str, /, *children: Child | None, **attributes: str) -> Element:
    """Make an element. Texts stay texts, without the characters that no document can hold."""
    element = etree.Element(
        kind, {key.rstrip("_").replace("_", "-"): make_printable(text) for key, text in attributes.items()}
    )
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif child and len(element):
            element[-1].tail = (element[-1].tail or "") + make_printable(child)
        elif child:
            element.text = (element.text or "") + make_printable(child)
    return element


def mark(verdict: Verdict, href: str = "") -> Element:
    """Show a verdict: by its sign, its words, which may be a link, and its colour."""
    sign = tag("span", verdict.mark.value, aria_hidden="true")
    words = tuple(keep_whole(verdict.words))
    linked = (tag("a", *words, href=href),) if href else words
    return tag("span", sign, " ", *linked, class_=f"mark {verdict.mark.name.lower()}")


def keep_whole(text: str) -> Iterator[Child]:
    """Return a text whose addresses, moments and numbers with units are not broken in the middle."""
    for place, part in enumerate(WHOLE.split(text)):
        yield tag("span", part, class_="whole") if place % 2 else part


def hold(cell: Child) -> Child:
    """Return a cell as one element: the parts of a text do not move away from each other."""
    return tag("span", *keep_whole(cell)) if isinstance(cell, str) and cell else cell


def moment_of(moment: datetime | None, now: datetime, otherwise: str = "never") -> Child:
    """Show a moment, and how far away it is."""
    if moment is None:
        return otherwise
    words = f"{describe_moment(moment, now)}, {describe_age(moment, now)}"
    return tag("time", *keep_whole(words), datetime=f"{moment:%Y-%m-%dT%H:%M:%SZ}")


def number_of(count: float | None) -> str:
    """Return a number as people write it; what is not known is a dash."""
    return "-" if count is None else f"{count:,.0f}"


def draw_table(heads: Sequence[str], rows: Iterable[Sequence[Child]], numbers: Sequence[str] = ()) -> Element:
    """Draw a table, of which a narrow screen makes a list: each cell knows its head."""
    kinds = {head: {"class_": "number"} if head in numbers else {} for head in heads}
    return tag(
        "table",
        tag("thead", tag("tr", *(tag("th", head, scope="col", **kinds[head]) for head in heads))),
        tag(
            "tbody",
            *(
                tag(
                    "tr",
                    *(
                        tag("td", hold(cell), data_head=head, **kinds[head])
                        for head, cell in zip(heads, row, strict=True)
                    ),
                )
                for row in rows
            ),
        ),
    )
