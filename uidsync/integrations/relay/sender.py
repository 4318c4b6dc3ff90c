"""Sends what waits in the queue, within the quota, and does with each alert what the tenant's answer says."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from uidsync.integrations.relay.answers import ACCEPTED, DENIED, DENIED_WAIT, REFUSED, Answer, choose_wait
from uidsync.integrations.relay.batches import BY_DEDUCTION, Outgoing, Verdict, choose, deduce, judge, roll_up
from uidsync.integrations.relay.lock import QueueError
from uidsync.integrations.relay.mapping import FindPerson, Rules, name_people, read_alert
from uidsync.integrations.relay.queue import REFUSED as DEAD
from uidsync.integrations.relay.queue import Queue, Update, Waiting
from uidsync.integrations.relay.quota import Quota, place_in_time
from uidsync.integrations.relay.reading import Unreadable
from uidsync.integrations.relay.tenant import Tenant

PAUSE = 0.25  # seconds between updates: a tenant takes ten requests a second from all of its clients together
DISK_WAIT = 2.0  # seconds after the queue could not be written; the health is looked at less often
SLICE = 1.0  # seconds after which a wait shows that the sender is alive
LOOK = 10  # updates' worth of alerts that are looked at together
QUOTA, RULES = Quota(), Rules()


class Settings(Struct, frozen=True):
    """How alerts are sent."""

    quota: Quota = QUOTA
    update_size: int = 60
    poll_every: float = 2.0
    max_age: timedelta = timedelta(days=7)
    storm: int = 0
    rules: Rules = RULES
    find_person: FindPerson | None = None
    hold: float = 0.0  # seconds that each alert waits, for its people to be found


class Sender:
    """A thread that sends until it is stopped. `tell` is told of every update that was taken."""

    def __init__(
        self,
        queue: Queue,
        tenant: Tenant,
        settings: Settings,
        log: FilteringBoundLogger,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._queue = queue
        self._tenant = tenant
        self._settings = settings
        self._log = log
        self._tell = tell
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender")
        self._suspects: tuple[int, ...] = ()
        self._owed: list[tuple[Verdict, str]] = []  # what became of alerts, and the disk did not take yet
        self._refusal = ""  # the words of the last update that was refused
        self._refused = 0.0  # alerts of that update; too many to deduce from if it was too large
        self._refusals = 0  # updates, since the last that was taken
        self._failures = 0  # in a row
        self._is_well = False
        self.alive_at = time.monotonic()
        self.bug: BaseException | None = None
        now, monotonic = time.time(), time.monotonic()
        with suppress(QueueError):  # on a full disk the next start does it; until then they count as answered now
            queue.forget_unanswered(now)
        self._sent: list[tuple[float | None, int]] = [
            (place_in_time(at, now, monotonic), alerts) for at, alerts in queue.recall_sent()
        ]

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the request in flight, and end."""
        self._stopping.set()
        if self._thread.ident:
            self._thread.join()
        self._tenant.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wait(self._step_or_wait())
        except BaseException as bug:  # noqa: BLE001 (whoever waits for the relay ends it with this)
            self.bug = bug
            self._log.error("sender.broken", error=type(bug).__name__, hint="a bug: -vv shows where", exc_info=bug)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.is_set():
            self.alive_at = time.monotonic()
            self._stopping.wait(min(left, SLICE))
        self.alive_at = time.monotonic()

    def _step_or_wait(self) -> float:
        try:
            return self._step()
        except QueueError:  # the queue has the words, and the health tells them
            return DISK_WAIT

    def _step(self) -> float:
        """Send one update if there is one to send, and return how many seconds to wait after it."""
        self._settle_owed()
        now = time.time()
        age = self._settings.max_age
        if expired := self._queue.expire(now - age.total_seconds(), f"it waited longer than {age}", now):
            self._log.warning("alerts.expired", alerts=expired)
        waiting = self._queue.read_first(self._settings.update_size * LOOK, now - self._settings.hold)
        outgoing = roll_up(self._make(waiting), self._settings.storm)
        most = min(self._settings.update_size, self._count_left())
        batch = choose(outgoing, self._suspects, most) if most else []
        if not batch:
            return self._settings.poll_every
        answer = self._send(batch)
        verdict = judge(batch, self._suspects, answer.kind)
        self._suspects = verdict.suspects
        self._owed.append((verdict, answer.words))
        if answer.kind == REFUSED:
            self._refused, self._refusal = math.inf if answer.is_too_large else len(batch), answer.words
        if answer.kind == ACCEPTED and (guilty := deduce(outgoing, self._suspects, self._refused)):
            self._owed.append((Verdict(dead=guilty.ids), f"{BY_DEDUCTION}: {self._refusal}"))
            self._suspects = ()
        self._settle_owed()
        return self._follow(answer, is_more=self._queue.length > 0)

    def _make(self, waiting: Sequence[Waiting]) -> list[Outgoing]:
        """Make alerts of what waits; what cannot be made into one is dead."""
        outgoing = []
        for each in waiting:
            received = datetime.fromtimestamp(each.received, UTC)
            try:
                alert = read_alert(each.body, self._settings.rules, received)
            except Exception as bug:  # noqa: BLE001 (one alert must not hold up all that come after it)
                self._log.error("alert.broken", error=type(bug).__name__, hint="a bug: -vv shows where", exc_info=bug)
                alert = Unreadable(f"a bug: {type(bug).__name__}")
            if isinstance(alert, Unreadable):
                self._queue.settle((), (each.id,), DEAD, alert.reason, time.time())
                continue
            outgoing.append(Outgoing((each.id,), alert))
        return outgoing

    def _count_left(self) -> int:
        now = time.monotonic()
        self._sent = [(at, alerts) for at, alerts in self._sent if self._settings.quota.counts(at, now)]
        return self._settings.quota.count_left(self._sent, now)

    def _send(self, batch: Sequence[Outgoing]) -> Answer:
        alerts = [each.alert for each in batch]
        if find := self._settings.find_person:
            alerts = [name_people(alert, find) for alert in alerts]
        note = self._queue.begin_sending(len(batch))
        self._sent.append((None, len(batch)))
        self.alive_at = time.monotonic()
        answer = self._tenant.insert([alert.content for alert in alerts])
        self._sent[-1] = (time.monotonic(), len(batch))
        self._log.debug("update.answered", answer=answer.kind, alerts=[alert.content for alert in alerts])
        self._failures = 0 if answer.kind in {ACCEPTED, REFUSED} else self._failures + 1
        self._refusals = 0 if answer.kind == ACCEPTED else self._refusals + (answer.kind == REFUSED)
        in_a_row = self._refusals if answer.kind == REFUSED else self._failures
        now = time.time()
        update = Update(now, len(batch), answer.kind, answer.words, answer.advice, in_a_row)
        with suppress(QueueError):  # a note without its end counts for longer, which does no harm
            self._queue.end_sending(note, update, now - 2 * self._settings.quota.seconds)
        return answer

    def _settle_owed(self) -> None:
        """Write what became of alerts. Nothing more is sent until that is on disk, lest it is sent again and again."""
        while self._owed:
            verdict, words = self._owed[0]
            if verdict.delivered or verdict.dead:
                self._queue.settle(verdict.delivered, verdict.dead, DEAD, words, time.time())
            if verdict.dead:
                self._log.warning(
                    "alert.refused", alerts=len(verdict.dead), message=words, hint="uidsync relay dead list"
                )
            self._owed.pop(0)

    def _follow(self, answer: Answer, *, is_more: bool) -> float:
        """Tell what the answer was, and return how long to wait after it."""
        was_well, self._is_well = self._is_well, answer.kind in {ACCEPTED, REFUSED}
        if answer.kind == ACCEPTED:
            self._tell("xdrclient - successful call to insert_parsed_alerts")
            if not was_well:
                self._log.info("tenant.well", tenant=self._tenant.base)
            return PAUSE if is_more else self._settings.poll_every
        if answer.kind == REFUSED:
            self._log.info("update.refused", message=answer.words)
            return PAUSE
        is_denied = answer.kind == DENIED
        chance = random.random()  # noqa: S311 (it spreads clients, and hides nothing)
        wait = DENIED_WAIT if is_denied else choose_wait(self._failures, answer.retry_after, chance)
        hint = {"hint": answer.advice} if answer.advice else {}
        (self._log.error if is_denied else self._log.warning)(
            "update.failed", message=answer.words, waits=round(wait, 1), **hint
        )
        return wait
