"""Decides what a simulated PAN-OS firewall, or a Panorama with firewalls behind it, answers to a call of its API.

No sockets: a call comes in as data and the answer goes out as data.
"""

import secrets
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from uidsync.simulator import replies
from uidsync.simulator.call import PATHS, Call
from uidsync.simulator.configuration import Configuration
from uidsync.simulator.counters import Counters
from uidsync.simulator.faults import Fault, RequestType, make_objection, refuses
from uidsync.simulator.logs import Entries, FilterError, Kept, at, read_filter, search
from uidsync.simulator.logs import show as show_entry
from uidsync.simulator.message import MessageError, count_entries, raise_if_unknown, read_document, read_number
from uidsync.simulator.operations import Device, HaState, operate
from uidsync.simulator.replies import Identity
from uidsync.simulator.table import Table
from uidsync.simulator.understanding import OrderError
from uidsync.simulator.vpn import Vpn

XML = "application/xml; charset=UTF-8"
Passive = Literal["stores", "refuses", "ignores"]
TAKES_MESSAGES = frozenset({"off", "active", "active-primary", "active-secondary"})
LogType = Literal[
    "traffic", "threat", "config", "system", "hipmatch", "globalprotect", "wildfire", "url", "data", "corr",
    "corr-detail", "corr-categ", "userid", "auth", "gtp", "external", "iptag", "decryption",
]  # fmt: skip
LOG_TYPES, TYPES = frozenset(get_args(LogType)), frozenset(get_args(RequestType))
MOST_LOGS = 5000
DEFAULT_LOGS = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    body: bytes
    status: int = 200
    content_type: str = XML
    headers: tuple[tuple[str, str], ...] = ()


NOT_FOUND = Answer(b"<html><body>404 Not Found</body></html>", 404, "text/html")


@dataclass(slots=True)
class Request:
    """What is remembered of a call, for those who ask afterwards; `entries` and `sections` of a `uid-message` only."""

    at: float
    method: str
    path: str
    content_type: str
    key_place: str
    type: str
    vsys: str | None
    target: str | None
    entries: int | None = None
    sections: dict[str, int] = field(default_factory=dict)
    rejected: int | None = None
    status: int | None = None
    fault: str | None = None


@dataclass(slots=True)
class LogJob:
    """A query of the log that is at work until it was asked for `polls` times; None is for ever."""

    log_type: str
    words: str
    wanted: int
    skip: int
    forward: bool
    polls: int | None
    was_asked: bool = False


@dataclass(slots=True)
class Settings:
    """How the device is set up; all of it may change while it runs.

    `vsys` names the virtual systems that exist, None is any; `types` what the administrator's role allows. What a unit
    of a pair does with a message while it is not active is not known of real ones: it `stores`, `refuses` or `ignores`.
    A log job is at work for `log_polls` questions, None is for ever; the next `log_losses` are gone when they are asked
    for, and one of more than `log_most` entries breaks off. The clock shows the time of `zone`, `skew` seconds ahead.
    """

    api_key: str
    username: str = "admin"
    password: str = "admin"  # noqa: S105 - the device's well-known default
    vsys: tuple[str, ...] | None = None
    types: frozenset[str] = TYPES
    ha: HaState = "off"
    passive: Passive = "stores"
    key_expired: bool = False
    log_polls: int | None = 0
    log_losses: int = 0
    log_most: int = MOST_LOGS
    zone: str = "UTC"
    skew: float = 0
    identity: Identity = field(default_factory=Identity)


@dataclass(slots=True)
class Firewall:
    """A device: its settings, what was asked of it, its tables and tunnels.

    Its own are under None, those of firewalls behind it under their serials.
    """

    settings: Settings
    tables: dict[str | None, Table]
    now: Callable[[], float]
    lock: threading.Lock
    counters: Counters
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=20_000))
    jobs: dict[str, LogJob] = field(default_factory=dict)
    logs: dict[str, Kept] = field(default_factory=lambda: defaultdict(Entries))
    vpns: dict[str | None, Vpn] = field(default_factory=lambda: defaultdict(Vpn))
    configuration: Configuration = field(default_factory=Configuration)
    _last_job: int = 0
    _last_entry: int = 0

    def note(self, call: Call) -> Request:
        """Remember a call."""
        parameters = call.parameters
        request = Request(
            self.now(), call.method, call.path, call.content_type, call.key_place, call.type,
            parameters.get("vsys"), parameters.get("target"),
        )  # fmt: skip
        with self.lock:
            self.requests.append(request)
        return request

    def answer(self, call: Call, request: Request, fault: Fault | None) -> Answer:
        """Answer a call and write into `request` what came of it."""
        with self.lock:
            answer = self._answer(call, request, fault)
            request.status = answer.status
            return answer

    def _answer(self, call: Call, request: Request, fault: Fault | None) -> Answer:
        if call.path.partition("?")[0] not in PATHS:
            return NOT_FOUND
        return _verdict(fault, call) or self._refusal(call) or self._carry_out(call, request, fault)

    def _carry_out(self, call: Call, request: Request, fault: Fault | None) -> Answer:
        if call.type == "keygen":
            return self._keygen(call)
        table = self.tables[call.parameters.get("target")]
        match call.type:
            case "user-id":
                return self._stand_by() or self._user_id(call, table, request, fault)
            case "op":
                return Answer(told) if (told := self.configuration.show_job(call.document)) else self._op(call, table)
            case "log":
                return self._log(call)
            case "config" | "commit":
                return Answer(self.configuration.answer(call.parameters))
        return Answer(replies.version(self.settings.identity))

    def _refusal(self, call: Call) -> Answer | None:
        """Return what a call is turned away with before anyone looks at what it asks."""
        if call.type == "keygen":
            return None
        if (refusal := self._authenticate(call)) is not None:
            return refusal
        if call.type not in TYPES:
            return _front_end_error(400, f"Illegal value for parameter type [{call.type}].")
        if call.type not in self.settings.types:
            return Answer(replies.role_missing(call.type), 403)
        return self._misdirected(call)

    def _misdirected(self, call: Call) -> Answer | None:
        """Refuse what is meant for a firewall or a vsys that is not there; how devices word that is not published."""
        target, vsys, known = call.parameters.get("target"), call.parameters.get("vsys"), self.settings.vsys
        if target not in self.tables:
            return Answer(replies.error(f"{target} is not connected"))
        if vsys is not None and known is not None and vsys not in known:
            return Answer(replies.error(f"{vsys} is not a valid vsys"))
        return None

    def _keygen(self, call: Call) -> Answer:
        given = call.parameters.get("user"), call.parameters.get("password")
        if given != (self.settings.username, self.settings.password):
            return Answer(replies.INVALID_KEY, 403)
        if self.settings.key_expired:
            self.settings.api_key, self.settings.key_expired = new_key(), False
        return Answer(replies.key(self.settings.api_key))

    def _authenticate(self, call: Call) -> Answer | None:
        if call.key is None and call.basic == (self.settings.username, self.settings.password):
            return None
        if call.key is None or not secrets.compare_digest(call.key.encode(), self.settings.api_key.encode()):
            return Answer(replies.INVALID_KEY, 403)
        return Answer(replies.SESSION_TIMED_OUT) if self.settings.key_expired else None

    def _stand_by(self) -> Answer | None:
        """Return what a unit that is not active says to a message that it does not store."""
        if self.settings.ha in TAKES_MESSAGES or self.settings.passive == "stores":
            return None
        if self.settings.passive == "ignores":
            return Answer(replies.EMPTY)
        return Answer(replies.error("Operation not allowed on a passive device", 15))

    def _user_id(self, call: Call, table: Table, request: Request, fault: Fault | None) -> Answer:
        if call.document is None:
            return _front_end_error(400, 'Parameter "cmd" is required')
        message = read_document(call.document)
        if message is None:
            return Answer(replies.error("uid-message: Malformed Request", 18))
        request.sections = count_entries(message)
        request.entries = sum(request.sections.values())
        if request.entries:
            self.counters.count("messages")
        if fault is not None and fault.name == "refuse_message" and refuses(fault, message):
            return Answer(replies.error("uid-message: refused as asked"))
        vsys = call.parameters.get("vsys") or (self.settings.vsys or ("vsys1",))[0]
        try:
            raise_if_unknown(request.sections, takes_user_tags=self.settings.identity.takes_user_tags)
            rejected = table.apply(message, vsys, self.now(), make_objection(fault))
        except MessageError as error:
            return Answer(replies.error(f"uid-message: {error}"))
        request.rejected = sum(map(len, rejected.values()))
        if fault is not None and fault.name == "answers_result_empty" and not request.rejected:
            return Answer(replies.EMPTY)
        return Answer(replies.applied(rejected))

    def _op(self, call: Call, table: Table) -> Answer:
        if call.document is None:
            return _front_end_error(400, 'Parameter "cmd" is required')
        settings, target = self.settings, call.parameters.get("target")
        place = self.vpns[target], settings.ha, call.parameters.get("vsys")
        shown = datetime.fromtimestamp(self.now() + settings.skew, ZoneInfo(settings.zone))
        behind = tuple(filter(None, self.tables)) if target is None else ()
        return Answer(operate(call.document, Device(settings.identity, table, *place, self.now(), shown, behind)))

    def _log(self, call: Call) -> Answer:
        match call.parameters.get("action"):
            case "get":
                return self._get_job(call.parameters.get("job-id", ""))
            case "finish":
                return self._finish_job(call.parameters.get("job-id", ""))
            case None if call.parameters.get("log-type") in LOG_TYPES:
                return self._enqueue(call)
        return _front_end_error(400, "Illegal value for parameter log-type or action.")

    def _enqueue(self, call: Call) -> Answer:
        wanted = read_number(given := call.parameters.get("nlogs"), DEFAULT_LOGS)
        if not wanted or wanted > MOST_LOGS:
            text = f"Illegal value for parameter nlogs [{given}]. Should be between 1 to {MOST_LOGS}"
            return _front_end_error(400, text)
        words = call.parameters.get("query", "")
        try:
            read_filter(words)
        except FilterError:
            return Answer(replies.error(f"query: {words} is not understood"))  # the words of devices are not published
        skip, forward = read_number(call.parameters.get("skip"), 0) or 0, call.parameters.get("dir") == "forward"
        self._last_job += 1
        log_type = call.parameters["log-type"]
        self.jobs[str(self._last_job)] = LogJob(log_type, words, wanted, skip, forward, self.settings.log_polls)
        return Answer(replies.job_enqueued(self._last_job))

    def _get_job(self, number: str) -> Answer:
        job = self.jobs.get(number)
        if job is not None and self.settings.log_losses:
            self.settings.log_losses -= 1
            job = self.jobs.pop(number) and None
        if job is None:
            return Answer(replies.error(f"job {number} not found", 7))
        if job.polls != 0:
            job.polls = None if job.polls is None else job.polls - 1
            state, job.was_asked = "ACT" if job.was_asked else "PEND", True
            return Answer(replies.job_at_work(number, state, self.now()))
        del self.jobs[number]  # a job is gone once it was fetched
        answer = replies.job(number, self._search(job), self.now())
        return Answer(answer[: len(answer) // 2] if job.wanted > self.settings.log_most else answer)

    def _finish_job(self, number: str) -> Answer:
        if self.jobs.pop(number, None) is None:
            return Answer(replies.error(f"job {number} not found", 7))
        return Answer(replies.success("<msg><line>job finished</line></msg>"))

    def _search(self, job: LogJob) -> list[str]:
        """Return what a job finds, as XML. It searches all there is: the log API knows no `target`."""
        kept = self._list_user_ids() if job.log_type == "userid" else self.logs[job.log_type]
        found = search(job.log_type, kept, job.words, skip=job.skip, wanted=job.wanted, forward=job.forward)
        return [show_entry(job.log_type, fields) for fields in found]

    def _list_user_ids(self) -> Entries:
        found = Entries()
        for serial, table in self.tables.items():
            for record in table.log:
                identity = self.settings.identity
                found.add(replies.log_fields(record, serial or identity.serial, identity))
        return found

    def add_log(self, log_type: str, entries: Iterable[dict[str, str]]) -> None:
        """Put entries into a log: what they do not say is as the sample has it, received now, numbered on."""
        kept = self.logs[log_type]
        if not isinstance(kept, Entries):
            raise OrderError(f"{log_type} is flooded: log-flood with the count 0 empties it")
        for entry in entries:
            self._last_entry += 1
            received = entry.get("receive_time", at(self.now()))
            identity = self.settings.identity
            known = {
                "logid": str(self._last_entry),
                "receive_time": received,
                "serial": identity.serial,
                "seqno": str(self._last_entry),
                "time_generated": received,
                "device_name": identity.hostname,
            }
            kept.add(known | entry)


def new_key() -> str:
    """Make an API key that looks like a device's: base64, with padding."""
    return f"LUFRPT1{secrets.token_urlsafe(33)}=="


def _front_end_error(status: int, text: str) -> Answer:
    return Answer(replies.front_end_error(status, text), status)


def _verdict(fault: Fault | None, call: Call) -> Answer | None:
    """Return what a fault has the device answer to every call that it concerns."""
    if fault is None:
        return None
    if fault.name in {"role_missing", "commit_window"}:
        return Answer(replies.role_missing(call.type), 403)
    return VERDICTS.get(fault.name)


VERDICTS = {
    "invalid_key": Answer(replies.INVALID_KEY, 403),
    "invalid_key_old": Answer(replies.INVALID_KEY_OLD),
    "session_timed_out": Answer(replies.SESSION_TIMED_OUT),
    "unauthorized_16": Answer(replies.UNAUTHORIZED),
}
