"""Takes out of a target's words what must not be shown: secrets, and the names and addresses of people.

Words enter in two places, the client of the XML API and the agent, and are masked there: whatever is logged or reported
later holds none.

Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from urllib.parse import quote, quote_plus

from uidsync.panos import Address, bare_name

LONGEST_WORDS = 300  # characters of a target's own words that are shown

# What may be an address in a target's words, alone or with something stuck to it; "ip:192.0.2.1" is like both.
LIKE_IPV4, LIKE_IPV6 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}"), re.compile(r"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*")
# What names a person whoever it is: by a domain before the name, which is left, or a realm behind it.
LIKE_DOMAIN_USER, LIKE_USER_REALM = (
    re.compile(r"(?<=\w)\\+[^\s\\,;:'\"()<>…]+"),
    re.compile(r"[^\s,;:'\"()<>=]+(?=@\w)"),
)
NO_LETTERS = re.compile(r"[\W_]+")
NAMED = re.compile(r"\b(?:name|user)=\"([^\"]*)\"")  # in a message that we sent


def make_mask(sent: str, secrets: Collection[str] = ()) -> Callable[[str], str]:
    """Make what masks a target's words: without the names and addresses in what was sent to it, and without secrets.

    What is a name by its form goes, too. Long words are cut. Each text is masked once: an answer repeats them.
    """
    from html import escape, unescape  # noqa: PLC0415 (few runs mask words, and its table is large)

    names = {unescape(name) for name in NAMED.findall(sent)}
    ips = {ip for like_ip in (LIKE_IPV4, LIKE_IPV6) for text in like_ip.findall(sent) for ip in _read_ips(text)}

    @cache
    def mask(words: str) -> str:
        for secret in filter(None, secrets):
            for spelling in (secret, quote_plus(secret), quote(secret), quote(secret, safe=""), escape(secret)):
                words = words.replace(spelling, "[secret]")
        for like_ip in (LIKE_IPV4, LIKE_IPV6):
            words = like_ip.sub(lambda like: like[0] if ips.isdisjoint(_read_ips(like[0])) else "…", words)
        if found := list(_find_names(words, names)):
            pattern = "|".join(map(_spell, sorted(found, key=len, reverse=True)))
            words = re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", "…", words, flags=re.IGNORECASE)
        words = LIKE_USER_REALM.sub("…", LIKE_DOMAIN_USER.sub(r"\\…", words))
        # Cut when masked, lest half a name is left.
        return words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 1] + "…"

    return mask


def _find_names(words: str, names: Collection[str]) -> Iterator[str]:
    """Yield the names that may stand in some words: few do, and a pattern of all takes longer to make than to use."""
    letters = _keep_letters(words)
    for name in names:
        yield from (form for form in (name, bare_name(name)) if form.strip() and _keep_letters(form) in letters)


def _keep_letters(text: str) -> str:
    """Return the letters and digits alone, as patterns compare them."""
    return NO_LETTERS.sub("", text.casefold()).replace("\N{LATIN SMALL LETTER DOTLESS I}", "i")


def _spell(name: str) -> str:
    """Return a pattern for a name as it stands in words that were made printable, their blanks collapsed."""
    return r"\s+".join("".join(re.escape(c) if c.isprintable() else "." for c in part) for part in name.split())


def _read_ips(text: str) -> Iterator[Address]:
    for spelling in (text, text.rstrip(":"), text.strip(":")):
        with suppress(ValueError):
            yield ip_address(spelling)
