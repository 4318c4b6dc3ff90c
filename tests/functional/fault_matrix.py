"""What can be wrong with a target, one row per fault: how it is made, what is reported, what it costs, what repairs it.

Each faulty target is due 30 logins, in three messages of ten. Faults that end alike stand together: their group says
which status, kind of error and exit code they have, and how long they take at most; what tells them apart stands in
their rows. Data alone: test_fault_matrix.py proves every row, and that docs/faults.md says the same.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.limits import HOLD
from uidsync.deliver.refusals import ALL_REFUSED
from uidsync.deliver.workers import GRACE
from uidsync.panos.wire.retries import ATTEMPTS, RetryPolicy

ENTRIES, BATCH = 30, 10
DEADLINE = 12.0 if HOLD else 120.0  # seconds, `sync.deadline` of these runs; short where its end is proven

# Seconds for one target, at most: where nothing is waited for, which on an idle machine takes a tenth of that; and
# where tries are spread over the time there is.
AT_ONCE, IN_TIME = DEADLINE / 2, DEADLINE + GRACE

# What is reported of the 30: delivered, rejected, failed, not tried.
DONE, STOPPED, ALL_FAILED, LATER = (30, 0, 0, 0), (0, 0, 10, 20), (0, 0, 30, 0), (10, 0, 10, 10)
TWO_FAILED = (10, 0, 20, 0)  # both that were in flight
MANY = 99  # tries, retries included: as many as there is time for
FULL = "--full"  # what repairs where the ledger cannot know that there is anything to do


@dataclass(frozen=True, slots=True)
class Made:
    """How a fault is made: orders to the simulated target, arguments it starts with, keys of the configuration.

    A path among the keys is one in the test's own directory.
    """

    orders: tuple[dict, ...] = ()
    options: dict = field(default_factory=dict)
    keys: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Faults that end alike, in the words of docs/faults.md; the exit code is that of a run without a worse fault."""

    faults: str
    target: str
    status: Literal["complete", "incomplete"]
    error: str | None
    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """A fault: its name, how it is made, and what it costs.

    `said` is what is reported of the 30 logins, `holds` how many of them the target really has, `tries` how many
    messages went out, `repair` how many the next run sends to put all right once the fault is over.
    """

    name: str
    made: Made
    said: tuple[int, int, int, int]
    holds: int
    tries: int
    repair: int | Literal["--full"]


def fault(name, **options):
    """Have the target obey a fault."""
    return Made(({"do": "fault", "name": name, **options},))


def hang(name, request_timeout="3s", **options):
    """Have the target obey a fault that keeps a caller waiting, and the caller wait so long for an answer."""
    return Made(({"do": "fault", "name": name, **options},), keys={"request_timeout": request_timeout})


def order(name, **options):
    """Give the target an order."""
    return Made(({"do": name, **options},))


def config(**keys):
    """Configure the target wrongly."""
    return Made(keys=keys)


def telling(how, name, **options):
    """Have an agent obey a fault and answer, for else nobody hears of it."""
    return Made(({"do": "agent", "reply": how}, {"do": "fault", "name": name, **options}))


def certified(keys, version="1.3", *, asks="demanded"):
    """Have an agent that asks for our certificate under one version of TLS, and configure another or none."""
    return Made(options={"client_certificate": asks, "tls_versions": [version, version]}, keys=keys)


ELSEWHERE = "(another firewall)"  # where redirects lead to; filled in when they are made
NOWHERE, OTHER_KEY = Path("nowhere"), Path("foreign/client-key.pem")
NONE = {"client_cert_file": ""}
OTHER = {"client_cert_file": Path("foreign/client.pem"), "client_key_file": OTHER_KEY}
TRIES = f"after up to {ATTEMPTS} tries in {RetryPolicy().seconds:.0f} s"

UNREACHABLE = Group(
    "connection refused, packets dropped, no answer, connection reset, one byte a second, unknown name",
    f"`Unreachable` {TRIES}; its remaining messages are not tried",
    *("incomplete", "Unreachable", 1, IN_TIME),
)
NOT_TLS = Group(
    "the target does not speak TLS, or shares no version or cipher with us",
    "`Unreachable` at once; its remaining messages are not tried",
    *("incomplete", "Unreachable", 1, AT_ONCE),
)
UNTRUSTED = Group(
    "its certificate has a wrong CA, name or fingerprint, or has expired; our client certificate is missing or wrong",
    "`Untrusted` at once; its remaining messages are not tried",
    *("incomplete", "Untrusted", 1, AT_ONCE),
)
UNAUTHORIZED = Group(
    "a wrong API key; a secret that cannot be read",
    "`Unauthorized` at once; its remaining messages are not tried",
    *("incomplete", "Unauthorized", 1, AT_ONCE),
)
DENIED = Group(
    "the role lacks the right (a commit in progress looks the same)",
    f"`Unauthorized` {TRIES}; its remaining messages are not tried",
    *("incomplete", "Unauthorized", 1, IN_TIME),
)
BUSY = Group(
    "502, 503, 429 or a session timeout, for the whole run",
    f"`Busy` {TRIES}, or at once if it asks for more time than is left; its remaining messages are not tried",
    *("incomplete", "Busy", 1, IN_TIME),
)
PASSING = Group(
    "the same, or a commit, for a short time; one lost answer",
    "complete: retried until it works",
    *("complete", None, 0, IN_TIME),
)
BAD_REPLY = Group(
    "an HTML page, nothing, half an answer, an endless answer, an XML bomb, an XML entity, a redirect",
    "`BadReply` for each message; redirects are not followed",
    *("incomplete", "BadReply", 1, AT_ONCE),
)
ODD = Group(
    "wrong content type, stray `]]>`, an empty result; no answer from an agent, or any that is not an error",
    "complete",
    *("complete", None, 0, AT_ONCE),
)
REJECTED = Group(
    "some entries are rejected, or a message is refused because of one entry",
    "all other entries are delivered; the rejected ones are tried again later, with a warning until then",
    *("incomplete", None, 1, AT_ONCE),
)
FULL_UP = Group(
    "every entry is rejected, for example by a full table",
    "`BadRequest` for every entry; nothing was accepted, so all are due again",
    *("incomplete", "BadRequest", 1, AT_ONCE),
)
REFUSING = Group(
    "every message is refused",
    f"`TargetError` after {ALL_REFUSED} single entries; the rest is not tried",
    *("incomplete", "TargetError", 1, AT_ONCE),
)
SILENT = Group(
    "an agent drops messages silently",
    "looks complete; repaired by `--full`, or after half of `mapping_timeout`",
    *("complete", None, 0, AT_ONCE),
)

# fmt: off
FIREWALLS = {
    UNREACHABLE: (
        #   fault                          how it is made                                   said      holds tries repair
        Row("connection refused",          fault("refuse"),                                 STOPPED,     0, MANY, 3),
        Row("black hole",                  hang("black_hole"),                              STOPPED,     0, MANY, 3),
        Row("closed after accept",         fault("close_after_accept"),                     STOPPED,     0, MANY, 3),
        Row("silence instead of TLS",      hang("silent_handshake"),                        STOPPED,     0, MANY, 3),
        Row("accepted, never answered",    hang("accepted_never_answered"),                 STOPPED,     0, MANY, 3),
        Row("never answered, but applied", hang("accepted_never_answered", applied=True),   STOPPED,    10, MANY, 3),
        Row("reset before the answer",     fault("reset_before_answer"),                    STOPPED,     0, MANY, 3),
        Row("closed before the answer",    fault("close_before_answer"),                    STOPPED,     0, MANY, 3),
        Row("reset in the answer",         fault("reset_in_answer"),                        STOPPED,    10, MANY, 3),
        Row("closed in the answer",        fault("close_in_answer"),                        STOPPED,    10, MANY, 3),
        Row("a byte a second",             hang("drip", interval=1),                        STOPPED,    10, MANY, 3),
        Row("a head without end",          fault("endless_head"),                           STOPPED,     0, MANY, 3),
        Row("an unknown name",             config(host="firewall.invalid"),                 STOPPED,     0, MANY, 3),
        Row("gone in the middle",          fault("reset_before_answer", after=1),           LATER,      10, MANY, 2),
    ),
    NOT_TLS: (
        Row("plain HTTP instead of TLS",   fault("not_tls"),                                STOPPED,     0,    1, 3),
    ),
    UNTRUSTED: (
        Row("wrong CA",                    order("certificate", kind="foreign"),            STOPPED,     0,    1, 3),
        Row("expired certificate",         order("certificate", kind="expired"),            STOPPED,     0,    1, 3),
        Row("wrong host name",             order("certificate", kind="wrong-host"),         STOPPED,     0,    1, 3),
        Row("wrong fingerprint",           config(ca_file="", fingerprint_sha256="0" * 64), STOPPED,     0,    1, 3),
    ),
    UNAUTHORIZED: (
        Row("wrong key",                   order("key", value="another"),                   STOPPED,     0,    1, 3),
        Row("wrong key, an old release",   fault("invalid_key_old"),                        STOPPED,     0,    1, 3),
        Row("wrong key, and sent back",    fault("echoed_key"),                             STOPPED,     0,    1, 3),
        Row("unauthorized (16)",           fault("unauthorized_16"),                        STOPPED,     0,    1, 3),
        Row("key file missing",            config(api_key_file=NOWHERE),                    STOPPED,     0,    0, 3),
    ),
    DENIED: (
        Row("role without the right",      fault("role_missing"),                           STOPPED,     0, MANY, 3),
        Row("right taken away mid-run",    fault("role_missing", after=1),                  TWO_FAILED, 10, MANY, 2),
    ),
    BUSY: (
        Row("502",                         fault("html_502"),                               STOPPED,     0, MANY, 3),
        Row("503",                         fault("html_503"),                               STOPPED,     0, MANY, 3),
        Row("429, come in an hour",        fault("busy_429", retry_after=3600),             STOPPED,     0,    1, 3),
        Row("session timed out (22)",      fault("session_timed_out"),                      STOPPED,     0, MANY, 3),
        Row("session timed out mid-run",   fault("session_timed_out", after=1),             LATER,      10, MANY, 2),
    ),
    PASSING: (
        Row("502, twice",                  fault("html_502", times=2),                      DONE,       30,    5, 0),
        Row("503, twice",                  fault("html_503", times=2),                      DONE,       30,    5, 0),
        Row("429, come in a second",       fault("busy_429", times=2, retry_after=1),       DONE,       30,    5, 0),
        Row("a commit",                    fault("commit_window", times=2),                 DONE,       30,    5, 0),
        Row("a commit mid-run",            fault("commit_window", times=2, after=1),        DONE,       30,    5, 0),
        Row("session timed out, once",     fault("session_timed_out", times=1, after=1),    DONE,       30,    4, 0),
        Row("answer lost, not applied",    fault("reset_before_answer", times=1),           DONE,       30,    4, 0),
        Row("answer lost, applied",        fault("reset_before_answer", times=1, applied=True), DONE,   30,    4, 0),
    ),
    BAD_REPLY: (
        Row("a page with 200",             fault("html_200"),                               ALL_FAILED,  0,    3, 3),
        Row("empty body",                  fault("empty_body"),                             ALL_FAILED,  0,    3, 3),
        Row("empty body, but applied",     fault("empty_body", applied=True),               ALL_FAILED, 30,    3, 3),
        Row("truncated XML",               fault("truncated_xml"),                          ALL_FAILED, 30,    3, 3),
        Row("a body without end",          fault("endless_body"),                           ALL_FAILED,  0,    3, 3),
        Row("gzip bomb",                   fault("gzip_bomb"),                              ALL_FAILED,  0,    3, 3),
        Row("entity bomb",                 fault("entity_bomb"),                            ALL_FAILED,  0,    3, 3),
        Row("entity bomb in UTF-16",       fault("entity_bomb", encoding="utf-16"),         ALL_FAILED,  0,    3, 3),
        Row("external entity",             fault("external_entity"),                        ALL_FAILED,  0,    3, 3),
        Row("7 MiB of tags alone",         fault("tags_alone", applied=True),               ALL_FAILED, 30,    3, 3),
        Row("redirect to its own login",   fault("redirect"),                               ALL_FAILED,  0,    3, 3),
        Row("redirect elsewhere (302)",    fault("redirect", location=ELSEWHERE),           ALL_FAILED,  0,    3, 3),
        Row("redirect elsewhere (307)",    fault("redirect", location=ELSEWHERE, status=307), ALL_FAILED,  0,    3, 3),
        Row("redirect elsewhere (308)",    fault("redirect", location=ELSEWHERE, status=308), ALL_FAILED,  0,    3, 3),
    ),
    ODD: (
        Row("wrong content type",          fault("wrong_content_type"),                     DONE,       30,    3, 0),
        Row("stray ]]>",                   fault("stray_cdata_end"),                        DONE,       30,    3, 0),
        Row("an empty result",             fault("answers_result_empty"),                   DONE,       30,    3, 0),
    ),
    REJECTED: (
        Row("every tenth entry rejected",  fault("reject_every", every=10),          (27, 3, 0, 0),     27,    3, FULL),
        Row("a message refused for one",   fault("refuse_message", text="user07"),   (29, 1, 0, 0),     29,    9, FULL),
    ),
    FULL_UP: (
        Row("every entry rejected",        fault("reject_every", every=1),           (0, 0, 30, 0),      0,    3, 3),
    ),
    REFUSING: (
        Row("every message is refused",       fault("refuse_message"),                         STOPPED,     0,   19, 3),
    ),
}

AGENTS = {
    UNREACHABLE: (
        #   fault                          how it is made                                   said      holds tries repair
        Row("connection refused",          fault("refuse"),                                 STOPPED,     0, MANY, 3),
        Row("black hole",                  hang("black_hole"),                              STOPPED,     0, MANY, 3),
        Row("closed after accept",         fault("close_after_accept"),                     STOPPED,     0, MANY, 3),
        Row("not on its access list",      order("allow", addresses=["192.0.2.1"]),         STOPPED,     0, MANY, 3),
        Row("silence instead of TLS",      hang("silent_handshake"),                        STOPPED,     0, MANY, 3),
        Row("closed before the write",     fault("close_after_handshake"),                  STOPPED,     0, MANY, 3),
        Row("closed before a slow write",  fault("close_after_handshake", travels=0.1),     STOPPED,     0, MANY, 3),
        Row("reset in the message",        fault("close_in_message"),                       STOPPED,     0, MANY, 3),
        Row("reset after the message",     fault("reset_before_answer"),                    STOPPED,     0, MANY, 3),
        Row("an unknown name",             config(host="agent.invalid"),                    STOPPED,     0, MANY, 3),
        Row("gone in the middle",          fault("reset_before_answer", after=1),           LATER,      10, MANY, 2),
    ),
    NOT_TLS: (
        Row("plain HTTP instead of TLS",   fault("not_tls"),                                STOPPED,     0,    1, 3),
    ),
    UNTRUSTED: (
        Row("wrong CA",                    order("certificate", kind="foreign"),            STOPPED,     0,    1, 3),
        Row("expired certificate",         order("certificate", kind="expired"),            STOPPED,     0,    1, 3),
        Row("wrong host name",             order("certificate", kind="wrong-host"),         STOPPED,     0,    1, 3),
        Row("wrong fingerprint",           config(ca_file="", fingerprint_sha256="0" * 64), STOPPED,     0,    1, 3),
        Row("none of ours, TLS 1.2",       certified(NONE, "1.2"),                          STOPPED,     0,    1, 3),
        Row("none of ours, TLS 1.3",       certified(NONE, "1.3"),                          STOPPED,     0,    1, 3),
        Row("a wrong one of ours, TLS 1.2", certified(OTHER, "1.2"),                        STOPPED,     0,    1, 3),
        Row("a wrong one of ours, TLS 1.3", certified(OTHER, "1.3"),                        STOPPED,     0,    1, 3),
    ),
    UNAUTHORIZED: (
        Row("our key is missing",          config(client_key_file=NOWHERE),                 STOPPED,     0,    0, 3),
        Row("our key is another's",        config(client_key_file=OTHER_KEY),               STOPPED,     0,    0, 3),
        Row("HTTP 403",                    fault("http_status", status=403),                STOPPED,     0,    1, 3),
    ),
    BUSY: (
        Row("HTTP 503",                    fault("http_status", status=503),                STOPPED,     0, MANY, 3),
    ),
    PASSING: (
        Row("reset once",                  fault("reset_before_answer", times=1),           DONE,       30,    4, 0),
        Row("HTTP 503 once",               fault("http_status", status=503, times=1),       DONE,       30,    4, 0),
    ),
    BAD_REPLY: (
        Row("HTTP 404",                    fault("http_status", status=404),                ALL_FAILED,  0,    3, 3),
    ),
    ODD: (
        Row("no answer, stays open",       order("agent", reply="nothing", closes=False),   DONE,       30,    3, 0),
        Row("no answer, closes",           order("agent", reply="nothing", closes=True),    DONE,       30,    3, 0),
        Row("no answer, closes TCP alone", fault("close_without_goodbye"),                  DONE,       30,    3, 0),
        Row("XML, stays open",             order("agent", reply="xml", closes=False),       DONE,       30,    3, 0),
        Row("XML, closes",                 order("agent", reply="xml", closes=True),        DONE,       30,    3, 0),
        Row("HTTP, stays open",            order("agent", reply="http", closes=False),      DONE,       30,    3, 0),
        Row("HTTP, closes",                order("agent", reply="http", closes=True),       DONE,       30,    3, 0),
        Row("HTTP without a body",         fault("odd_answer", form="http-head"),           DONE,       30,    3, 0),
        Row("a page",                      fault("odd_answer", form="page"),                DONE,       30,    3, 0),
        Row("JSON",                        fault("odd_answer", form="json"),                DONE,       30,    3, 0),
        Row("bytes",                       fault("odd_answer", form="bytes"),               DONE,       30,    3, 0),
        Row("half an answer",              fault("odd_answer", form="half"),                DONE,       30,    3, 0),
        Row("entity bomb",                 fault("odd_answer", form="entities"),            DONE,       30,    3, 0),
        Row("code 0",                      fault("odd_answer", form="code-0"),              DONE,       30,    3, 0),
        Row("an answer without end",       fault("endless_answer"),                         DONE,       30,    3, 0),
        Row("a byte a second",             telling("xml", "drip", interval=1),              DONE,       30,    3, 0),
        Row("the message in an HTTP PUT",  config(framing="put"),                           DONE,       30,    3, 0),
        Row("no certificate asked for",    certified(NONE, asks="none"),                    DONE,       30,    3, 0),
    ),
    REJECTED: (
        Row("every tenth, said by XML",    telling("xml", "reject_every", every=10), (27, 3, 0, 0),     27,    3, FULL),
        Row("every tenth, said by HTTP",   telling("http", "reject_every", every=10),  (27, 3, 0, 0),   27,    3, FULL),
        Row("a message refused for one",   telling("xml", "refuse_message", text="user07"), (29, 1, 0, 0), 29, 9, FULL),
    ),
    REFUSING: (
        Row("every message is refused",       telling("xml", "refuse_message"),                STOPPED,     0,   19, 3),
        Row("code 1",                      fault("odd_answer", form="code-1"),              STOPPED,    10,   19, 3),
    ),
    SILENT: (
        Row("reads and forgets",           fault("accepted_never_answered"),                DONE,        0,    3, FULL),
        Row("reads, forgets and closes",   fault("close_before_answer"),                    DONE,        0,    3, FULL),
        Row("forgets the uncertified",     certified(NONE, asks="dropped"),                 DONE,        0,    3, FULL),
        Row("refuses, and says nothing",   fault("refuse_message"),                         DONE,        0,    3, FULL),
    ),
}
# fmt: on


def make_summary():
    """Return the table of docs/faults.md: a line per group of faults."""
    yield "| fault | that target | the others | exit code |"
    yield "|---|---|---|---|"
    for group in dict.fromkeys((*FIREWALLS, *AGENTS)):
        yield f"| {group.faults} | {group.target} | complete | {group.exit_code} |"
