"""The log API: jobs to their end, entries of any form, and queries that carry nothing but an address."""

import re
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from ipaddress import IPv6Address, ip_address
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.panos import peer
from uidsync.cli.verify import show_user_id_log
from uidsync.panos.logs.events import (
    LogQuery,
    make_enqueue,
    make_user_id_query,
    read_job,
    read_job_number,
    read_user_id_event,
)
from uidsync.panos.logs.job import LONGEST_JOB, read_log
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.messages import Login, Logout
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, PanosError, Unauthorized, Unreachable
from uidsync.panos.wire.xmlapi import MOST_KEPT, read_response

ADA_AT, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.11")
ADA = Login(ADA_AT, "CAMPUS\\ada", 60)
FIELDS = {  # synthetic, from the vendor's list of fields and the sample line of a log: no `userid` entry was published
    "receive_time": "2026/11/21 09:33:35", "serial": "007200001056", "seqno": "7", "type": "USERID",
    "subtype": "login", "time_generated": "2026/11/21 09:33:34", "vsys": "vsys1", "ip": "192.0.2.1",
    "user": "campus\\ada", "datasourcename": "srv1.example.edu", "eventid": "0", "repeatcnt": "1", "timeout": "3600",
    "datasource": "xml-api", "datasourcetype": "unknown",
    "high_res_timestamp": "2026-11-21T09:33:34.393+01:00",
}  # fmt: skip


def write_log(entries, said=None, state="FIN"):
    """Write the answer of a job, with fields as they are given: text or XML."""
    rows = "".join(
        f'<entry logid="{n}">{"".join(f"<{key}>{text}</{key}>" for key, text in entry.items())}</entry>'
        for n, entry in enumerate(entries)
    )
    number = len(entries) if said is None else said
    return (
        f'<response status="success"><result><job><tenq>09:00:00</tenq><status>{state}</status><id>1</id></job>'
        f'<log><logs count="{number}" progress="100">{rows}</logs></log></result></response>'
    ).encode()


def read(body, size=64, status=200):
    """Read a job's answer that comes in pieces of a size."""
    return read_job(status, (body[place : place + size] for place in range(0, len(body), size)))


@pytest.fixture
def target(firewall, make_client):
    """Give the firewall as a target, with jobs that take no time."""
    yield Firewall(make_client(firewall), vsys="vsys1")
    firewall.do("log-jobs", polls=0)
    firewall.do("role", types=["user-id", "op", "log", "version"])


def log_requests(firewall):
    """Count the calls of the log API."""
    return sum(request["type"] == "log" for request in firewall.requests())


def test_the_log_proves_what_was_sent(firewall, target):
    """A login and a logout are read back, the newest first, with source and timeout, and nobody else's."""
    target.send([ADA, Login(OTHER, "CAMPUS\\grace", 60)])
    target.send([Logout(ADA.ip, ADA.user)])
    logout, login = target.read_user_id_log(ADA_AT)[:2]
    assert (logout.subtype, logout.user, logout.timeout) == ("logout", "CAMPUS\\ada", None)
    assert (login.subtype, login.user, login.source, login.timeout) == ("login", "CAMPUS\\ada", "xml-api", 3600)
    assert (login.vsys, login.ip, login.at.tzinfo) == ("vsys1", ADA_AT, None)
    assert {event.ip for event in target.read_user_id_log(ADA_AT)} == {ADA_AT}
    assert target.read_user_id_log(ip_address("::ffff:192.0.2.1"))[0] == logout
    assert len(target.read_log(make_user_id_query(ADA_AT, 1), LONGEST_JOB, nullcontext)) == 1
    assert target.read_user_id_log(ip_address("198.51.100.77")) == ()
    assert firewall.do("state")["log_jobs"] == []


def test_an_address_of_version_6_is_asked_for_without_its_zone(target):
    """IPv6 works, and what stands in a zone never reaches the firewall."""
    target.send([Login(ip_address("2001:db8::5"), "ada", 60)])
    assert target.read_user_id_log(ip_address("2001:db8::5"))[0].user == "ada"
    assert target.read_user_id_log(IPv6Address("2001:db8::5%x) or (ip in 192.0.2.1"))[0].user == "ada"


def test_another_vsys_is_left_out(firewall, target, make_client):
    """The same address in two virtual systems is two; who names no vsys sees both."""
    target.send([ADA])
    Firewall(make_client(firewall), vsys="vsys2").send([Login(ADA_AT, "grace", 60)])
    assert "grace" not in {event.user for event in target.read_user_id_log(ADA_AT)}
    assert "grace" in {event.user for event in Firewall(make_client(firewall)).read_user_id_log(ADA_AT)}


def test_behind_panorama_the_serial_is_in_the_query(start, make_client):
    """The log API has no `target`: of two firewalls that know an address, the one that is meant is read."""
    panorama = start("firewall", serials=["0022", "0033"])
    for serial, user in (("0022", "ada"), ("0033", "grace")):
        Firewall(make_client(panorama), vsys="vsys1", serial=serial).send([Login(ADA_AT, user, 60)])
    (event,) = Firewall(make_client(panorama), serial="0033").read_user_id_log(ADA_AT)
    assert event.user == "grace"
    assert all(request["target"] is None for request in panorama.requests() if request["type"] == "log")


def test_a_job_is_asked_for_until_it_is_finished(firewall, target, make_client, clock):
    """Waits double up to a bound, and the answer is that of the finished job."""
    target.send([ADA])
    firewall.do("log-jobs", polls=6)
    firewall.do("reset-counters")
    entries = read_log(make_client(firewall), make_user_id_query(ADA_AT, 1), clock=clock, sleep=clock.sleep)
    assert entries[0]["user"] == "CAMPUS\\ada"
    assert clock.slept == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]
    assert log_requests(firewall) == 8


def test_a_job_that_never_finishes_is_an_error_and_is_ended(firewall, target, make_client, clock):
    """The wait has an end, and no job stays behind at the firewall."""
    del target
    firewall.do("log-jobs", polls=None)
    began = clock.now
    with pytest.raises(Busy, match="not finished after 60 s: its state is 'ACT'"):
        read_log(make_client(firewall), make_user_id_query(ADA_AT, 1), clock=clock, sleep=clock.sleep)
    assert LONGEST_JOB - 4 <= clock.now - began <= LONGEST_JOB
    assert firewall.do("state")["log_jobs"] == []


def test_whoever_interrupts_leaves_no_job(firewall, target, make_client):
    """Ctrl-C ends the job too."""
    del target
    firewall.do("log-jobs", polls=None)

    def interrupt(_seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_log(make_client(firewall), make_user_id_query(ADA_AT, 1), sleep=interrupt)
    assert firewall.do("state")["log_jobs"] == []


class Forgetful:
    """A client of a firewall that forgets its jobs: so many gets are refused."""

    def __init__(self, gone):
        self.gone, self.jobs, self.finished = gone, count(1), []

    def call(self, request, *, tries="usual"):
        """Start a job or end one."""
        del tries
        if request.form.get("action") == "finish":
            self.finished.append(request.form["job-id"])
            raise BadRequest("job not found")
        return read_response(
            200, b'<response status="success" code="19"><result><job>%d</job></result></response>' % next(self.jobs)
        )

    def read(self, request, read):
        """Forget, or answer."""
        if int(request.form["job-id"]) <= self.gone:
            raise BadRequest("job not found")
        return read(200, iter([write_log([FIELDS])]))


def test_an_answer_that_was_lost_is_asked_for_again_once():
    """A job is gone with its answer: another one is started; when that is gone too, it is an error."""
    query = make_user_id_query(ADA_AT, 1)
    assert read_log(Forgetful(1), query)[0]["user"] == "campus\\ada"
    forgetful = Forgetful(9)
    with pytest.raises(BadRequest, match="job not found"):
        read_log(forgetful, query)
    assert forgetful.finished == []  # there is nothing to end


def test_who_may_not_read_logs_is_told(firewall, target):
    """A role without the right is Unauthorized, in the firewall's words."""
    firewall.do("role", types=["user-id", "op"])
    with pytest.raises(Unauthorized, match=r"Type \[log\] not authorized for user role"):
        target.read_user_id_log(ADA_AT)


def test_a_dead_firewall_is_unreachable(run_peer, make_client):
    """Network errors are the client's."""
    with pytest.raises(Unreachable):
        Firewall(make_client(run_peer(lambda _peer, tls: peer.reset(tls)))).read_user_id_log(ADA_AT)


def test_a_query_that_is_not_understood_is_refused(firewall, make_client):
    """The firewall's refusal is a BadRequest."""
    with pytest.raises(BadRequest):
        read_log(make_client(firewall), LogQuery("userid", "(ip in nowhere)"))


@pytest.mark.parametrize("most", [0, -1, 5001])
def test_no_query_asks_for_more_than_firewalls_give(most):
    """A number out of bounds is a mistake of ours, told before anything is sent."""
    with pytest.raises(ValueError, match="1 to 5000"):
        LogQuery("userid", most=most)


@given(st.ip_addresses(), st.text(st.characters(exclude_characters="%/"), min_size=1))
def test_a_query_holds_the_address_and_nothing_else(ip, zone):
    """Whatever an address is made of, the filter is one condition on one address."""
    for given_ip in (ip, IPv6Address(f"fe80::1%{zone}")):
        words = re.fullmatch(r"\(ip in ([0-9a-f.:]+)\)", make_user_id_query(given_ip, 5).words)
        assert ip_address(words[1]) in {ip, getattr(ip, "ipv4_mapped", None), ip_address("fe80::1")}


@pytest.mark.parametrize("serial", ["1' or '1", "a b", "')"])
def test_a_serial_that_is_none_is_not_sent(serial):
    """What is no serial number does not get into a query."""
    with pytest.raises(ValueError, match="serial"):
        make_user_id_query(ADA_AT, 5, serial)


def test_requests_are_of_any_log():
    """The log's name, its filter, page and direction are parameters."""
    form = make_enqueue(LogQuery("threat", "(severity eq critical)", 500, 1000, "forward")).form
    assert form == {
        "type": "log", "log-type": "threat", "query": "(severity eq critical)", "nlogs": "500", "skip": "1000",
        "dir": "forward",
    }  # fmt: skip
    assert "query" not in make_enqueue(LogQuery("traffic")).form


@given(st.integers(1, 3000))
def test_entries_are_read_in_whatever_pieces_they_come(size):
    """All fields of all entries are kept, of any log, attributes and empty elements notwithstanding.

    One without a number in its log keeps its `logid`.
    """
    body = write_log([FIELDS, {"threatid": "MAIL: User &lt;Login&gt;", "imsi": "", "dstloc": "Singapore"}])
    answer = read(body.replace(b"<dstloc>", b'<dstloc code="SG" cc="SG">'), size)
    assert answer.state == "FIN"
    assert answer.entries == (
        FIELDS,
        {"threatid": "MAIL: User <Login>", "imsi": "", "dstloc": "Singapore", "logid": "1"},
    )


@pytest.mark.parametrize("state", ["PEND", "ACT", "WAIT"])
def test_a_job_at_work_has_no_entries(state):
    """Until it is finished there is nothing to read, whatever its state is called."""
    body = f'<response status="success"><result><job><status>{state}</status></job></result></response>'.encode()
    assert (read(body).state, read(body).entries) == (state, None)
    assert read(write_log([FIELDS], state=state)).entries is None


def test_a_log_without_entries_is_one():
    """Nothing found is an answer."""
    assert read(write_log([])).entries == ()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (write_log([FIELDS], said=2), BadReply),
        (write_log([FIELDS], said="n"), BadReply),
        (write_log([FIELDS], state=""), BadReply),
        (b'<response status="success"><result><job><status>FIN</status></job></result></response>', BadReply),
        (b'<response status="success"><result/></response>', BadReply),
        (b"", BadReply),
        (b"<html/>", BadReply),
        (b'<!DOCTYPE response [<!ENTITY a "b">]>' + write_log([FIELDS]), BadReply),
        (write_log([{"user": "&lol;"}]), BadReply),
        (b'<response status="error" code="7"><msg><line>job 1 not found</line></msg></response>', BadRequest),
        (b'<response status="unauth" code="16"><msg><line>no</line></msg></response>', Unauthorized),
    ],
)
def test_what_is_no_log_is_told_by_its_cause(body, error):
    """Refusals, hostile documents, wrong counts and missing states have the errors that any answer has."""
    with pytest.raises(error):
        read(body)


def test_an_endless_log_is_refused():
    """More elements than the widest entry has are not kept, wherever they stand."""
    for place in ("", "<result><log><logs><entry>"):
        with pytest.raises(BadReply, match="more than any"):
            read_job(200, iter([b'<response status="success">', place.encode(), b"<a/>" * (MOST_KEPT + 1)]))


@given(st.data())
def test_a_log_that_breaks_off_is_none(data):
    """Cut anywhere, a log raises: it never looks like a shorter one."""
    body = write_log([FIELDS] * 3)
    with pytest.raises(BadReply):
        read(body[: data.draw(st.integers(0, len(body) - 1))])


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="<&\ufffe\uffff"), max_size=30)


@given(st.binary(max_size=300), st.sampled_from([200, 400, 403, 404, 503]))
def test_any_answer_is_a_log_or_a_known_error(body, status):
    """Whatever comes is read, or a PanosError; what came with HTTP 200 and is not PAN-OS's is a BadReply."""
    try:
        read(body, 7, status)
    except PanosError as error:
        assert status != 200 or isinstance(error, BadReply)  # noqa: PT017 (a property)


@given(
    st.recursive(
        TEXTS,
        lambda inner: st.builds(
            lambda tag, attribute, parts: f'<{tag} {attribute}="1">{"".join(parts)}</{tag}>',
            st.sampled_from(["result", "job", "status", "log", "logs", "entry", "ip", "timeout"]),
            st.sampled_from(["count", "status", "logid"]),
            st.lists(inner, max_size=3),
        ),
    )
)
def test_odd_documents_are_read_or_a_bad_reply(inside):
    """Known names in unknown places raise BadReply, and nothing else."""
    try:
        answer = read(f'<response status="success"><result>{inside}</result></response>'.encode())
    except BadReply:
        return
    for entry in answer.entries or ():
        read_user_id_event(entry)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), TEXTS | st.from_regex(r"[0-9/: T.+-]{1,30}", fullmatch=True)))
def test_any_entry_is_read_and_can_be_shown(changes):
    """Missing fields and any text in them are no error."""
    event = read_user_id_event(FIELDS | {"ip": "192.0.2.1"} | {k: v for k, v in changes.items() if k != "ip"})
    if event:
        show_user_id_log("fw-east", [event])
    assert read_user_id_event(changes | {"ip": "192.0.2.1", "subtype": "login"}).subtype == "login"


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({}, datetime(2026, 11, 21, 9, 33, 34, 393000, timezone(timedelta(hours=1)))),
        ({"high_res_timestamp": "1970-01-01T10:00:00.000+10:00"}, datetime(2026, 11, 21, 9, 33, 34)),  # noqa: DTZ001
        ({"high_res_timestamp": ""}, datetime(2026, 11, 21, 9, 33, 34)),  # noqa: DTZ001
        ({"high_res_timestamp": "", "time_generated": ""}, datetime(2026, 11, 21, 9, 33, 35)),  # noqa: DTZ001
        ({"high_res_timestamp": "soon", "time_generated": "", "receive_time": "2026/13/45"}, None),
    ],
)
def test_a_time_has_a_zone_only_when_the_entry_says_one(changes, at):
    """The zone is never guessed: the high-resolution time has one unless it is not set, the others are wall clock."""
    read_at = read_user_id_event(FIELDS | changes).at
    assert read_at == at
    assert (read_at and read_at.tzinfo) == (at and at.tzinfo)


@pytest.mark.parametrize(
    ("text", "seconds"), [("3600", 3600), ("0", None), ("", None), ("Never", None), ("-5", None), ("9" * 30, None)]
)
def test_a_timeout_is_a_positive_number_or_none(text, seconds):
    """What is no number of seconds is none."""
    assert read_user_id_event(FIELDS | {"timeout": text}).timeout == seconds


def test_what_is_not_of_a_user_at_an_address_is_no_event():
    """Tags and entries without an address are left out; unknown subtypes and masks are not."""
    assert read_user_id_event(FIELDS | {"subtype": "register-tag"}) is None
    assert read_user_id_event(FIELDS | {"ip": ""}) is None
    assert read_user_id_event(FIELDS | {"subtype": "relogin"}).subtype == "relogin"
    assert read_user_id_event(FIELDS | {"ip": "192.0.2.1/32"}).ip == ADA_AT


@pytest.mark.parametrize("job", ["", "x", "1 2", "1</job><job>2", "9" * 30])
def test_a_job_has_a_number(job):
    """An answer without one is a BadReply."""
    body = f'<response status="success" code="19"><result><job>{job}</job></result></response>'.encode()
    if "</job>" in job:
        assert read_job_number(read_response(200, body)) == "1"
        return
    with pytest.raises(BadReply):
        read_job_number(read_response(200, body))


def test_strangers_are_not_shown(run_peer, make_client):
    """A firewall that does not understand the filter and sends other addresses' entries proves nothing."""
    enqueued = b'<response status="success" code="19"><result><job>4</job></result></response>'
    log = write_log([FIELDS | {"ip": "192.0.2.99"}, FIELDS])
    serve = peer.answering(peer.make_answer(enqueued), peer.make_answer(log))
    (event,) = Firewall(make_client(run_peer(serve))).read_user_id_log(ADA_AT)
    assert event.ip == ADA_AT


def test_a_pipe_gets_every_event_whole(capsys):
    """However many events, each is a line with time, source and timeout, and without what no terminal should get."""
    event = read_user_id_event(FIELDS | {"user": "ada\x1b[31m", "datasourcename": ""})
    show_user_id_log("fw-east", [event] * 30)
    lines = capsys.readouterr().out.splitlines()
    said = ["2026-11-21 09:33:34 +0100", "login", "ada\ufffd[31m", "xml-api", "unknown", "-", "3600 s"]
    assert [line.split("\t") for line in lines] == [["fw-east", *said]] * 30


def test_a_terminal_gets_a_table(capsys, monkeypatch):
    """In eighty columns, nothing of an event is cut off."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    show_user_id_log("fw-east", [read_user_id_event(FIELDS)] * 12)
    shown = capsys.readouterr().out
    assert "fw-east: 12 events" in shown
    for word in ("2026-11-21", "09:33:34 +0100", "login", "xml-api", "3600 s"):
        assert shown.count(word) == 12


def test_a_job_may_take_longer(firewall, make_client, clock):
    """Whoever reads much may wait longer for a job; one that is not done then is ended."""
    firewall.do("log-jobs", polls=20)
    try:
        assert read_log(make_client(firewall), LogQuery("threat"), longest=600, clock=clock, sleep=clock.sleep) == ()
        assert firewall.do("state")["log_jobs"] == []
    finally:
        firewall.do("log-jobs", polls=0)
