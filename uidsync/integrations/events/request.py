"""Knows what may be asked of events beside how it is told: which logs and whose, when, and what goes together."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer
from msgspec import Struct

from uidsync.integrations.events.choice import Choice
from uidsync.integrations.events.config import EventsConfig
from uidsync.integrations.events.filters import check_value
from uidsync.integrations.events.queries import Wish, choose_queries
from uidsync.refusal import Refusal, read_option


class Window(Struct, frozen=True):
    """From when to when; None begins where the last reading of a log ended, or else so long before the end."""

    since: datetime | None
    until: datetime
    span: timedelta


class Question(Struct, frozen=True):
    """Which events are asked for, as options say it."""

    log_type: Annotated[
        str,
        typer.Option("--log-type", metavar="LOG", help="Read another log than threat: traffic, url, auth and others."),
    ] = ""
    query: Annotated[
        str, typer.Option("--query", metavar="FILTER", help="A filter as the Monitor tab takes it, in parentheses.")
    ] = ""
    threat_id: Annotated[
        str, typer.Option("--threat-id", metavar="NUMBER", help="Only this threat, whatever its name is now.")
    ] = ""
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="Only the firewall of this name behind a Panorama.")
    ] = ""
    nat: Annotated[
        str, typer.Option("--nat", metavar="ADDRESS:PORT", help="Show who was behind a translated source address.")
    ] = ""
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Only events of this person, at any address they had.")
    ] = ""
    no_who: Annotated[bool, typer.Option("--no-who", help="Show the firewalls' users without asking the NAC.")] = False

    def make_wish(self, names: tuple[str, ...]) -> Wish:
        """Return what is asked of the logs, with these named queries."""
        return Wish(names, self.log_type, self.query, self.threat_id, self.nat)


class Request(Struct, frozen=True):
    """What somebody asks for."""

    table: EventsConfig
    wish: Wish
    question: Question
    choice: Choice
    window: Window

    @property
    def needs_memory(self) -> bool:
        """Whether what earlier reports told matters to this one."""
        return self.choice.says_what_is_new or self.window.since is None

    def raise_if_odd(self) -> None:
        """Refuse what cannot be asked for, before anything is read. Raises Refusal."""
        asked, choice = self.question, self.choice
        choice.raise_if_odd()
        choose_queries(self.wish, self.table)
        if asked.device:
            read_option("--device", check_value, asked.device)
        if asked.no_who and (asked.user or choice.kind in {"people", "agreement"}):
            what = "--user" if asked.user else "--agreement" if choice.agreement else "--by user"
            raise Refusal(f"leave it out: {what} needs the NAC", "--no-who")
        if asked.user and self.window.since is None:  # the addresses of a person are those of a certain time
            raise Refusal("with --user, give a beginning, or --last 7d", "--since")
