"""Tags of users and of addresses: a target that takes them, by the firewall that has them.

An entry is a login or a logout whose subject has tags; its `user` is those tags, joined. Sources: "PAN-OS XML
API Labs, Registered Users and IPs" (grammar, seconds, unregister before register), public clients for the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from lxml import etree

from uidsync.panos import Subject, Tagged, join_tags, split_tags
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.messages import Entry, Login, Rejection, make_user_id, quote, read_rejections, wrap
from uidsync.panos.userid.table import ENTRY_PATH, XML_API, TableEntry
from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import Request, make_op, read_elements

PAGE = 500  # entries that a firewall lists at once
SETTLED = ("already exists, ignore", "does not exist, ignore unreg")  # what is as it should be

Taken = TypeVar("Taken")


def make_tag_message(entries: Sequence[Entry]) -> str:
    """Make the uid-message of one batch.

    Whether a tag that is there gets its new timeout is not documented. So each is unregistered and registered in one
    document, of which a firewall does the former first.
    """
    sections: dict[str, list[str]] = {
        name: [] for name in ("unregister-user", "unregister", "register-user", "register")
    }
    for entry in entries:
        subject = _take_tagged(entry.ip)
        which = "-user" if subject.kind == "user" else ""
        begin = f'<entry {subject.kind}="{quote(subject.name)}"><tag>'
        gone = {
            tag
            for tags in (entry.user, *(entry.replaces if isinstance(entry, Login) else ()))
            for tag in split_tags(tags)
        }
        sections[f"unregister{which}"].append(
            begin + "".join(f"<member>{quote(tag)}</member>" for tag in sorted(gone)) + "</tag></entry>"
        )
        if isinstance(entry, Login):
            opened = f'<member timeout="{entry.timeout * 60}">'
            members = "".join(f"{opened}{quote(tag)}</member>" for tag in split_tags(entry.user))
            sections[f"register{which}"].append(f"{begin}{members}</tag></entry>")
    return wrap("".join(f"<{name}>{''.join(parts)}</{name}>" for name, parts in sections.items() if parts))


def _take_tagged(subject: Subject) -> Tagged:
    if not isinstance(subject, Tagged):
        raise TypeError(subject)
    return subject


def make_show_tags(
    kind: Literal["user", "ip"], vsys: str, *, name: str = "", start: int = 1, limit: int = PAGE
) -> Request:
    """Make the request for the tags of a user or an address, or for a page of all of them."""
    page = f"<limit>{limit}</limit><start-point>{start}</start-point>"
    which = f"<{kind}>{quote(name)}</{kind}>" if name else f"<all>{page}</all>" if kind == "user" else page
    return make_op(f"<show><object><registered-{kind}>{which}</registered-{kind}></object></show>", vsys)


def read_tags(status: int, pieces: Iterator[bytes]) -> list[tuple[Tagged, list[str]]]:
    """Read a page of what has tags, and the tags of each. Raises what `read_elements` raises."""
    return [
        (_read_subject(element), [member.text or "" for member in element.iterfind("tag/member")])
        for path, element in read_elements(status, pieces, "list of tags", {"entry"}, {ENTRY_PATH})
        if path == ENTRY_PATH
    ]


def _read_subject(element: etree._Element) -> Tagged:
    user = element.get("user")
    return Tagged("user", user) if user is not None else Tagged("ip", element.get("ip") or "")


class TagTarget:
    """A firewall as a target of tags: those that begin with the prefix are ours, and no other is looked at.

    A firewall may show a name in another case than it was sent: `list_known` gives the subjects as we spell them.
    """

    def __init__(self, firewall: Firewall, prefix: str, list_known: Callable[[], Iterable[Subject]]) -> None:
        self._firewall = firewall
        self._prefix = prefix
        self._list_known = list_known

    @property
    def member(self) -> str:
        """The member of a pair that answers."""
        return self._firewall.member

    @property
    def attempts(self) -> int:
        """Messages that this thread has sent, those of mappings and of retries included."""
        return self._firewall.attempts

    def send(self, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        """Send one batch; return what the firewall rejects. Raises PanosError."""
        answer = self._firewall.call(make_user_id(make_tag_message(batch), self._firewall.vsys))
        return read_rejections(answer, batch, SETTLED)

    def ask(self, subject: Subject) -> tuple[TableEntry, ...]:
        """Read which of our tags a subject has. Raises PanosError."""
        tagged = _take_tagged(subject)
        request = make_show_tags(tagged.kind, self._firewall.vsys, name=tagged.name)
        found = self._firewall.read(request, read_tags, tries="unless_denied")
        return tuple(self._make_entries(found, lambda _: subject))

    def read_table(self, take: Callable[[Iterator[TableEntry]], Taken]) -> Taken:
        """Read all of our tags, page by page, and return what `take` makes of them. Raises PanosError.

        The mappings were read before: a right that is missing now is not the moment of a commit.
        """
        known = {str(subject): subject for subject in self._list_known()}
        folded = {name.casefold(): subject for name, subject in known.items()}

        def spell(shown: Tagged) -> Subject:
            """Take a name as it is, if it is known so: a firewall may have two that differ in case alone."""
            return known.get(str(shown)) or folded.get(str(shown).casefold(), shown)

        return take(self._make_entries(self._read_pages(), spell))

    def _read_pages(self) -> Iterator[tuple[Tagged, list[str]]]:
        kinds: tuple[Literal["user", "ip"], ...] = ("user", "ip")
        for kind in kinds:
            start, page, before = 1, PAGE, None
            while page == PAGE:
                request = make_show_tags(kind, self._firewall.vsys, start=start)
                found = self._firewall.read(request, read_tags, tries="unless_denied")
                if found == before:
                    raise BadReply(f"lists the same {PAGE} entries again from number {start} on")
                yield from found
                start, page, before = start + PAGE, len(found), found

    def _make_entries(
        self, found: Iterable[tuple[Tagged, Collection[str]]], spell: Callable[[Tagged], Subject]
    ) -> Iterator[TableEntry]:
        for shown, tags in found:
            if ours := sorted({tag for tag in tags if tag.startswith(self._prefix)}):
                yield TableEntry(spell(shown), "", XML_API, join_tags(ours), None)

    def close(self) -> None:
        """End the connections."""
        self._firewall.close()
