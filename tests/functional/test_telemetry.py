"""What the real command tells monitoring: metrics in a text file, a ping, one id on every line and in the report."""

import fcntl
import stat
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from uidsync.cli.syncing import _pinging
from uidsync.ledger.file import LedgerError
from uidsync.ledger.places import Locked
from uidsync.report.metrics import write_metrics

SECRET = "0d338dcc-a054-11ec-b909-0242ac120002"  # noqa: S105 (nobody's)


class Service(ThreadingHTTPServer):
    """A dead-man service, which answers every ping with a status."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status = 200
        self.heard = []


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving():
    """Run a dead-man service."""
    with Service() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def service():
    """Run a dead-man service."""
    with serving() as server:
        yield server


@pytest.fixture
def watched(site, service, tmp_path):
    """Set up a site that is watched by both, with a user and without targets."""
    place = tmp_path / "metrics"
    place.mkdir()
    site.telemetry = {
        "textfile": place / "uidsync.prom",
        "ping_url": f"http://127.0.0.1:{service.server_port}/{SECRET}?from=here",
    }
    site.secrets.append(SECRET)
    site.use_rows([("192.0.2.7", "ada,Staff")])
    return site


def read_textfile(site):
    """Return the samples of the text file, by name and labels."""
    families = text_string_to_metric_families(site.telemetry["textfile"].read_text())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_a_run_that_goes_well_is_told(watched, firewall, service):
    """The text file says what the report says, for all to read; the ping is the URL itself."""
    watched.add_firewall("fw", firewall)

    ended = watched.call("sync", "--json")

    assert ended.code == 0, ended.err
    assert service.heard == [f"/{SECRET}?from=here"]
    file = watched.telemetry["textfile"]
    assert file.read_text() == write_metrics(watched.last_run) == write_metrics(ended.report)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [each.name for each in file.parent.iterdir()] == ["uidsync.prom"]
    samples = read_textfile(watched)
    assert samples["uidsync_mappings", "fw", "logins", "delivered"] == 1
    assert samples["uidsync_last_success_timestamp_seconds", "fw"] <= samples["uidsync_last_attempt_timestamp_seconds",]
    assert ended.report["phases"].keys() == {"read", "plan", "deliver"}
    assert "ada" not in file.read_text()


def test_a_failed_run_is_told_and_the_last_success_stays(watched, firewall, start, service):
    """A failure has its exit code behind the path of the ping; when all was well last is still told."""
    watched.add_firewall("fw", firewall)
    assert watched.call("sync").code == 0
    success = read_textfile(watched)["uidsync_last_success_timestamp_seconds", "fw"]
    locked = start("firewall")
    locked.do("fault", name="invalid_key")
    watched.add_firewall("locked", locked)
    assert watched.call("sync").code == 1
    watched.source["path"] = watched.place / "nothing.csv"
    assert watched.call("sync").code == 3

    assert service.heard == [f"/{SECRET}{path}?from=here" for path in ("", "/1", "/3")]
    samples = read_textfile(watched)
    assert samples["uidsync_exit_code",] == 3
    assert samples["uidsync_last_success_timestamp_seconds", "fw"] >= success
    assert samples["uidsync_behind_since_timestamp_seconds", "locked"] > success
    assert ("uidsync_last_success_timestamp_seconds", "locked") not in samples


def test_a_run_that_is_none_is_not_told(watched, firewall, service):
    """A dry run, a run of some targets and a run that another kept out tell nobody."""
    watched.add_firewall("fw", firewall)
    assert watched.call("sync", "--dry-run").code == 0
    assert watched.call("sync", "--target", "fw").code == 0
    with (watched.state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert watched.call("sync").code == 5

    assert service.heard == []
    assert not watched.telemetry["textfile"].exists()


def test_a_monitoring_that_fails_changes_nothing(watched, firewall, service):
    """A text file that cannot be written and a ping that nobody takes are warnings; the exit code is of the run."""
    watched.add_firewall("fw", firewall)
    watched.telemetry["textfile"] = watched.place / "nowhere/uidsync.prom"
    service.status = 503

    ended = watched.call("sync", "--json")

    assert ended.code == 0
    events = dict(ended.events)
    assert events["ping.failed"]["message"] == "127.0.0.1: answers 503"
    assert events["textfile.unwritten"]["message"] == "No such file or directory"
    (warning,) = [words for words in watched.last_run["warnings"] if words.startswith("textfile.unwritten")]
    assert str(watched.telemetry["textfile"]) in warning
    assert ended.report == watched.last_run


def test_every_line_of_a_run_has_its_id(watched, firewall):
    """Each line of JSON has the id of the report, those of the targets' own threads as well."""
    watched.add_firewall("fw", firewall)
    firewall.do("fault", name="html_503", times=1)

    ended = watched.call("sync", "--json", "-v")

    events = {event for event, _ in ended.events}
    assert events >= {"source.read", "plan.made", "retry.scheduled", "batch.delivered", "sync.finished"}
    assert {facts["run_id"] for _, facts in ended.events} == {ended.report["run_id"]}
    assert len(ended.err.splitlines()) == len(ended.events)


@pytest.mark.parametrize(
    ("failure", "codes"),
    [(None, ["0"]), (RuntimeError("a bug"), ["70"]), (LedgerError("no room"), ["1"]), (Locked("somebody"), [])],
)
def test_a_run_that_breaks_off_is_told(service, failure, codes):
    """A bug is 70 and a ledger that fails is 1; a lock that another run holds is nobody's failure."""
    with (
        suppress(RuntimeError, LedgerError, Locked),
        _pinging(f"http://127.0.0.1:{service.server_port}/uuid", None) as tell,
    ):
        if failure:
            raise failure
        tell(0)
    assert [path.removeprefix("/uuid").removeprefix("/") or "0" for path in service.heard] == codes
