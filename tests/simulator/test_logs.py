"""The simulated log API, by the requests that were published: curl's own lines, and the filters of the Monitor tab."""

import re
import shutil
import subprocess

import pytest

from tests.forks import start_simulator
from uidsync.panos.logs.events import read_job
from uidsync.simulator.logs import Entries, FilterError, Flood, read_filter, search, show
from uidsync.simulator.logsamples import THREAT

QUERY = "( receive_time geq '2016/12/13 10:00:01' ) and ( receive_time leq '2016/12/14 10:00:01' )"
MAIL = "( name-of-threatid eq 'MAIL: User Login Brute Force Attempt' )"
KEYGEN = "curl -X GET 'https://{host}/api/?type=keygen&user=username&password=password'"
ENQUEUE = (
    'curl --tlsv1 -sS -k --data-urlencode "query={query}" '
    '"https://{host}/api/?type=log&log-type=threat&nlogs=1000&skip=0&key={key}"'
)
GET = 'curl --tlsv1 -sS -k "https://{host}/api/?type=log&action=get&job-id={job}&key={key}"'


@pytest.fixture
def published():
    """Start a firewall with the account of the published requests, and the entry of their answer."""
    with start_simulator("firewall", username="username", password="password") as firewall:  # noqa: S106
        _fill(firewall)
        yield firewall


def _fill(firewall):
    entry = {"receive_time": "2016/12/14 09:50:24", "time_generated": "2016/12/14 09:38:45", "serial": "001801012243",
             "device_name": "PA_CorporationHQ", "logid": "99124", "seqno": "8210416"}  # fmt: skip
    others = [{"receive_time": "2016/12/14 10:00:02"}, {"receive_time": "2016/12/14 09:00:00", "threatid": "Other"}]
    firewall.do("log-add", log_type="threat", entries=[entry, *others])


def curl(firewall, line, **words):
    """Run a line of curl's as it was published, with another host; `-k` for the one that left it out."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    line = line.format(host=f"127.0.0.1:{firewall.port}", key=firewall.api_key, **words)
    line = line if " -k " in line else line.replace("curl ", "curl -sSk ", 1)
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True).stdout


def test_the_four_published_lines_work(published):
    """Key, query, answer, and the query of one appliance: each line of curl's works as it stands."""
    assert re.search(r"<result>\s*<key>(.*)</key>", curl(published, KEYGEN))[1] == published.api_key
    answer = curl(published, ENQUEUE, query=QUERY)
    assert answer.startswith('<response status="success" code="19">')
    job = re.search(r"<line>query job enqueued with jobid (\d+)</line>\s*</msg><job>\1</job>", answer)[1]
    found = read_job(200, iter([curl(published, GET, job=job).encode()]))
    assert [entry["threatid"] for entry in found.entries] == ["MAIL: User Login Brute Force Attempt", "Other"]
    device = f"{MAIL} and {QUERY} and ( device_name eq 'PA_CorporationHQ' )"
    job = re.search(r"<job>(\d+)</job>", curl(published, ENQUEUE, query=device))[1]
    (entry,) = read_job(200, iter([curl(published, GET, job=job).encode()])).entries
    assert entry == THREAT  # 61 fields, as they were published
    assert len(entry) == 61


def test_a_job_waits_then_works_then_ends(published):
    """PEND, ACT and FIN follow each other; while a job waits it has no log."""
    published.do("log-jobs", polls=2)
    job = re.search(r"<job>(\d+)</job>", curl(published, ENQUEUE, query=QUERY))[1]
    answers = [curl(published, GET, job=job) for _ in range(4)]
    states = [re.search(r"<status>(\w+)</status>", answer) for answer in answers]
    assert [state and state[1] for state in states] == ["PEND", "ACT", "FIN", None]
    assert ["<log>" in answer for answer in answers] == [False, False, True, False]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("", "abc"), ("(subtype eq virus)", "a"), ("( subtype neq virus )", "bc"), ("not (subtype eq virus)", "bc"),
        ("(receive_time geq '2016/12/14 10:00:01')", "bc"), ("(receive_time leq 1481709601)", "ab"),
        ("(addr in 10.0.0.0/8)", "ab"), ("(addr.dst in 10.0.0.2)", "b"), ("(addr.src in 10.0.0.2)", ""),
        ("((subtype eq virus) or (subtype eq url)) and (addr in 10.0.0.0/8)", "a"),
        ("(subtype eq virus) or (subtype eq url) and (addr in 10.0.0.0/8)", "a"),
        ("(threatid eq 7)", "c"), ("(name-of-threatid contains 'some')", "c"), ("(seqno geq 10)", "bc"),
    ],
)  # fmt: skip
def test_filters_mean_what_they_say(words, numbers):
    """Operators, alternatives, negation, nets and both spellings of a time."""
    log = Entries()
    for number, (logid, entry) in enumerate(
        {
            "a": {"subtype": "virus", "dst": "10.0.0.1", "receive_time": "2016/12/14 10:00:00", "seqno": "9"},
            "b": {"subtype": "spyware", "dst": "10.0.0.2", "receive_time": "2016/12/14 10:00:01", "seqno": "10"},
            "c": {"subtype": "url", "receive_time": "2016/12/14 10:00:02", "seqno": "11", "threatid": "Something",
                  "tid": "7"},
        }.items()
    ):  # fmt: skip
        log.add({"logid": str(number), "name": logid, **entry})
    found = search("threat", log, words, skip=0, wanted=10, forward=True)
    assert "".join(fields["name"] for fields in found) == numbers


@pytest.mark.parametrize("words", ["(", "subtype eq virus", "(subtype eq)", "(subtype is virus)", "(a eq b) (c eq d)"])
def test_what_is_no_filter_is_refused(words):
    """A filter that is not whole, or says something else, is an error."""
    with pytest.raises(FilterError):
        read_filter(words)


def test_a_flood_is_in_order_and_read_in_parts():
    """Very many entries are made when they are asked for, the oldest first, and a page is a part of them."""
    flood = Flood(1_000_000, 1481709601.0, 1000, 30_000, "0011")
    page = search("threat", flood, "(receive_time geq '2016/12/14 10:10:00')", skip=5, wanted=3, forward=True)
    assert [fields["seqno"] for fields in page] == ["599006", "599007", "599008"]
    assert show("threat", page[0]).count("<dst>") == 1


@pytest.mark.parametrize("forward", [True, False])
def test_pages_of_a_flood_are_the_same_as_of_entries(forward):
    """However pages are asked for, one after the other or apart, each is the part of the whole that it should be."""
    flood = Flood(500, 1481709601.0, 10, 30, "0011")
    words = "(dst in 10.0.0.0/28)"
    whole = search("threat", flood, words, skip=0, wanted=500, forward=forward)
    for skips in ([0, 7, 14, 21], [21, 7, 14, 0]):
        for skip in skips:
            assert search("threat", flood, words, skip=skip, wanted=7, forward=forward) == whole[skip : skip + 7]
