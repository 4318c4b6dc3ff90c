"""The status page as HTML: what it tells of whom, and that nobody's words become markup."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from lxml import html

from tests.integrations.exporter_views import flow, make_state, view
from uidsync.integrations.exporter.lastrun import make_run
from uidsync.integrations.exporter.markup import keep_whole
from uidsync.integrations.exporter.page import POLICY, draw, find_matters
from uidsync.integrations.exporter.verdict import Host, Mark, Seen, describe_age
from uidsync.panos.tunnels.conditions import Rules, View, read_tunnels
from uidsync.panos.wire.errors import Busy, Unauthorized, Unreachable

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script><!--\"'&]]>\x1b[31m"


def make_last_run(*targets, **keys):
    """Make a run that ended a minute ago, with these targets."""
    finished = (NOW - timedelta(minutes=1)).isoformat()
    document = {"run_id": "r", "exit_code": 0, "finished": finished, "targets": list(targets)} | keys
    return make_run(document)


def make_host(said, rules=None, **keys):
    """Make a host that said this, as it is seen when all of it is known."""
    tunnels = read_tunnels(said, rules or Rules())
    seen = Seen(NOW, tunnels, {tunnel.name: NOW for tunnel in tunnels})
    return Host(
        **{"target": "fw", "is_member": False, "view": said, "at": NOW, "tunnels": tunnels, "seen": seen} | keys
    )


def tell(**keys):
    """Return what the head of the page tells, as (mark, words)."""
    return [(verdict.mark, verdict.words) for verdict in find_matters(make_state(NOW, **keys))]


def read(**keys):
    """Return the page as a browser reads it."""
    return html.document_fromstring(draw(make_state(NOW, **keys)))


WELL = {"name": "fw", "status": "complete"}


def test_all_is_well_when_nothing_is_not():
    """A run that went well and tunnels that are up need nobody, and the page says so."""
    keys = {"run": make_last_run(WELL), "hosts": {"fw": (make_host(view(flow("HQ"))),)}}
    assert tell(**keys) == []
    assert "All is well." in read(**keys).find(".//header").text_content()


def test_a_target_is_shown_with_what_it_has():
    """What a target holds, should hold, lacks and lost stands beside its name, and the newest event at the top."""
    counts = {
        "held": 12219,
        "wanted": 12230,
        "in_doubt": 3,
        "lapsed": 4,
        "held_back": {"rejected": 2, "withdrawn": 1},
        "foreign": 5,
        "logins": {"due": 9, "delivered": 2},
    }
    run = make_last_run(WELL | counts, source={"newest_event": (NOW - timedelta(minutes=7)).isoformat()})
    page = read(run=run)
    shown = dict(zip(*([each.text_content() for each in page.iter(kind)] for kind in ("dt", "dd")), strict=True))
    assert shown == {
        "holds": "12,219", "should hold": "12,230", "not delivered": "7", "in doubt, sent again": "3",
        "expired too early": "4", "rejected by it": "2", "withdrawn by hand": "1",
        "taken by other sources": "5", "last complete": "never",
    }  # fmt: skip
    assert "Newest login event: 12:23:00 UTC, 7 min ago" in page.find(".//header").text_content()


@pytest.mark.parametrize(("wanted", "words"), [(3, "sent again"), (0, "not renewed")])
def test_tags_in_doubt_are_sent_again_only_where_they_are_wanted(wanted, words):
    """A target that gets no tags any more may still have some: the page does not promise to send them."""
    page = read(run=make_last_run(WELL | {"tags_wanted": wanted, "tags_in_doubt": 2}))
    shown = dict(zip(*([each.text_content() for each in page.iter(kind)] for kind in ("dt", "dd")), strict=True))
    assert shown[f"tags in doubt, {words}"] == "2"


@pytest.mark.parametrize(
    ("run", "mark", "words"),
    [
        ({"finished": (NOW - timedelta(hours=3)).isoformat()}, Mark.BAD, "ended 3 h ago"),
        ({"finished": (NOW + timedelta(hours=3)).isoformat()}, Mark.OPEN, "ended in 3 h; is a clock wrong?"),
        ({"finished": None}, Mark.OPEN, "does not say when"),
        (
            {"exit_code": 3, "error": {"kind": "SourceError", "message": "no answer"}},
            Mark.BAD,
            "the source could not be read: no answer",
        ),
        ({"exit_code": 70}, Mark.BAD, "a bug"),
        ({"exit_code": 99}, Mark.BAD, "exit code 99"),
        ({"warnings": ["the newest event is old"]}, Mark.WARN, "the newest event is old"),
    ],
)
def test_a_run_that_went_wrong_is_told(run, mark, words):
    """How the last run ended, or that none has come, stands at the top."""
    ((found, told),) = tell(run=make_last_run(WELL, **run))
    assert found is mark
    assert told.startswith("last run: ")
    assert words in told


@pytest.mark.parametrize(
    ("part", "mark", "words"),
    [
        ({"behind_since": (NOW - timedelta(hours=5)).isoformat()}, Mark.BAD, "fw: behind since 07:30:00 UTC, 5 h ago"),
        ({"status": "incomplete"}, Mark.BAD, "fw: some mappings were not delivered"),
        ({"status": "refused"}, Mark.BAD, "fw: its changes look unsafe and were not sent"),
        ({"held_back": {"rejected": 3}}, Mark.WARN, "fw: rejected 3 entries"),
        ({"status": "not_tried"}, Mark.OPEN, "fw: was not tried"),
        ({"status": "odd"}, Mark.OPEN, "fw: not known"),
        (
            {"certificate_not_after": (NOW + timedelta(days=12)).isoformat()},
            Mark.WARN,
            "fw: certificate ends in 12 days",
        ),
        (
            {"certificate_not_after": (NOW - timedelta(days=3)).isoformat()},
            Mark.BAD,
            "fw: certificate ended 3 days ago",
        ),
        ({"name": "other"}, Mark.OPEN, "fw: no run has reported on it"),
    ],
)
def test_a_target_that_lacks_something_is_told(part, mark, words):
    """Whoever is behind, or has a certificate that ends, is named with since when or until when."""
    assert tell(run=make_last_run(WELL | part)) == [(mark, words)]


BEHIND = {
    "behind_since": (NOW - timedelta(minutes=12)).isoformat(),
    "status": "incomplete",
    "held": 40,
    "wanted": 60,
    "logins": {"due": 20, "delivered": 0},
    "first_expiry": (NOW + timedelta(minutes=30)).isoformat(),
    "last_expiry": (NOW + timedelta(hours=20)).isoformat(),
    "error": {"kind": "Unauthorized", "message": "Invalid Credential"},
}


def test_the_first_screen_says_what_is_broken_and_what_to_do():
    """A sentence, since when, how many it hits, until when, and the command; the count is in the title."""
    silent = Host("fw", False, View("fw", Unauthorized("no")), NOW, None, Unauthorized("no"))  # noqa: FBT003
    page = read(run=make_last_run(WELL | BEHIND), hosts={"fw": (silent,)})
    assert page.find(".//title").text == "(1) uidsync on nac-1"
    header = page.find(".//header")
    words = " ".join(header.text_content().split())
    assert "Action needed: fw. 20 addresses have no name or a wrong one there." in words
    assert "fw: behind since 12:18:00 UTC, 12 min ago; lacks 20 mappings; its first mapping runs out in 30 min" in words
    assert "Get a new key: uidsync keygen fw" in words
    assert "tunnels are not known" not in words  # the same failure is one line
    (link,) = header.iter("a")
    assert page.get_element_by_id(link.get("href").removeprefix("#")).find("h3").text == "fw"


@pytest.mark.parametrize(
    ("kind", "error", "advice"),
    [
        ("firewall", "Unreachable", "Is it up"), ("firewall", "Untrusted", "Compare its certificate"),
        ("agent", "Unauthorized", "our client certificate"), ("firewall", "UnsafePlan", "--force --target fw"),
        ("firewall", "BadReply", "uidsync check --target fw"),
    ],
)  # fmt: skip
def test_every_failure_has_its_advice(kind, error, advice):
    """Whoever is on call reads what to do beside what is wrong."""
    part = WELL | BEHIND | {"kind": kind, "error": {"kind": error, "message": "no"}}
    assert advice in read(run=make_last_run(part)).find(".//header").text_content()


def test_things_worth_a_look_are_no_alarm():
    """Warnings alone are counted, and the sentence says that nothing is broken."""
    page = read(run=make_last_run(WELL, warnings=["one", "two"]))
    assert page.find(".//title").text == "(2) uidsync on nac-1"
    assert "Nothing is broken; 2 things are worth a look." in page.find(".//header").text_content()


def test_our_certificate_is_told_of_once():
    """One certificate of ours that several targets are shown is one line."""
    end = (NOW + timedelta(days=3)).isoformat()
    parts = [{"name": name, "status": "complete", "client_certificate_not_after": end} for name in ("uia-1", "uia-2")]
    run = make_last_run(*parts)
    assert tell(run=run, targets={"uia-1": "agent", "uia-2": "agent"}) == [
        (Mark.WARN, "ours, for uia-1, uia-2: certificate ends in 3 days")
    ]


def test_a_passive_members_tunnels_are_grey():
    """What a passive member says of its tunnels is shown without alarm."""
    host = make_host(view(flow("HQ", "init"), role="passive"), is_member=True)
    page = read(run=make_last_run(WELL), hosts={"fw": (host,)})
    assert [each.get("class") for each in page.find_class("mark") if each.getparent().tag == "td"] == ["mark idle"]


def test_an_address_is_not_broken_in_the_middle():
    """Addresses within words stand in one piece."""
    error = {"kind": "Unreachable", "message": "no answer from https://[2001:db8::1]:443/api/ at 192.0.2.7"}
    warnings = [f"{error['message']}, or fe80::1:2"]
    page = read(run=make_last_run(WELL, warnings=warnings))
    whole = [each.text for each in page.find(".//header/ul").find_class("whole")]
    assert whole == ["https://[2001:db8::1]:443/api/", "192.0.2.7", "fe80::1:2"]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("mapping runs out 2026-12-01 03:35:01 UTC, in 23 h", ["2026-12-01 03:35:01 UTC,", "in 23 h"]),
        ("since 12:18:00 UTC, 12 min ago; lacks 1,020 mappings", ["12:18:00 UTC,", "12 min ago;", "1,020 mappings"]),
        ("60 XMLAPI, 0 UIA, 0 other", ["60 XMLAPI,", "0 UIA,", "0 other"]),
        ("fw-2 is up", []),
    ],
)  # fmt: skip
def test_a_number_is_not_parted_from_its_unit(text, whole):
    """A moment, and a number with its unit, stand on one line, wherever they are shown."""
    assert [part.text for part in keep_whole(text) if not isinstance(part, str)] == whole


def test_what_a_cell_says_stays_together():
    """A narrow screen spreads the children of a cell, so that a text with addresses and moments is one child."""
    run = make_last_run(WELL | {"certificate_not_after": "3000-01-01T00:00:00Z"})
    page = read(run=run, runs=(run,), hosts={"fw": (make_host(view(flow("HQ", peer_ip="192.0.2.9"))),)})
    cells = list(page.iter("td"))
    assert "3000-01-01 00:00:00 UTC" in [cell.text_content() for cell in cells]
    assert all(len(cell) == bool(cell.text_content()) and not cell.text for cell in cells)
    ages = {each.text for age in page.iter("time") for each in age}
    assert {"12:29:00 UTC,", "60 s ago"} <= ages


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (-5, 60, "; some of its mappings have run out, the last runs out in 60 min"),
        (-9, -5, "; its mappings have run out"),
    ],
)
def test_what_ran_out_is_told(first, last, words):
    """Of a target that is behind, the page says whether its mappings have run out."""
    ends = {"first_expiry": first, "last_expiry": last}
    part = WELL | BEHIND | {key: (NOW + timedelta(minutes=minutes)).isoformat() for key, minutes in ends.items()}
    ((_, told),) = tell(run=make_last_run(part))
    assert told.endswith(words)


def test_on_standby_targets_need_nobody():
    """A host that leaves the work to another has no news of its targets."""
    run = make_last_run({"name": "fw", "status": "not_tried"}, standby=True)
    assert tell(run=run) == []
    assert "another host does the work" in read(run=run).text_content()


def test_tunnels_are_told_by_what_they_need():
    """What is down comes before what is degraded, and before what is not known; what is up needs nobody."""
    rules = Rules(expected=("HQ", "DC", "odd", "up", "gone"))
    said = view(flow("HQ", "init"), flow("DC", monitor="down"), flow("odd", "negotiating"), flow("up"))
    found = tell(run=make_last_run(WELL), hosts={"fw": (make_host(said, rules),)})
    assert found == [
        (Mark.BAD, "fw: down: HQ"),
        (Mark.BAD, "fw: missing: gone"),
        (Mark.WARN, "fw: degraded: DC"),
        (Mark.OPEN, "fw: not known: odd"),
    ]


def test_tunnels_of_a_passive_member_need_nobody():
    """The member that stands by is shown, and calls nobody; a pair without an active member does."""
    members = {
        role: make_host(view(flow("HQ", "init"), host=role, role=role), is_member=True)
        for role in ("active", "passive")
    }
    keys = {"run": make_last_run(WELL)}
    assert tell(hosts={"fw": tuple(members.values())}, **keys) == [(Mark.BAD, "fw (active): down: HQ")]
    assert tell(hosts={"fw": (members["passive"],) * 2}, **keys) == [
        (Mark.BAD, "fw: no member is active: passive is passive, passive is passive")
    ]


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        (("active", "active"), "fw: more than one member is active: active is active, active is active"),
        (("active-primary", "active-secondary"), None),
    ],
)
def test_two_members_are_active_where_they_share_the_traffic(roles, words):
    """Both members of an active/active pair forward traffic; of another pair one does."""
    hosts = tuple(make_host(view(flow("HQ"), host=role, role=role), is_member=True) for role in roles)
    assert tell(hosts={"fw": hosts}, run=make_last_run(WELL)) == ([(Mark.BAD, words)] if words else [])


def test_what_is_being_asked_is_not_known_to_be_well():
    """A firewall that has not answered yet, or told what is shown long ago, is not one that is well."""
    long_ago = make_host(view(flow("HQ")), at=NOW - timedelta(hours=3))
    for hosts, words in (
        ((), "fw: tunnels are not known: it is being asked"),
        ((long_ago,), "fw: its last answer about tunnels came 3 h ago; it is being asked again"),
    ):
        assert tell(hosts={"fw": hosts}, run=make_last_run(WELL)) == [(Mark.OPEN, words)]


def test_what_is_not_known_keeps_what_was():
    """A firewall that does not answer is not known; what it said before is shown as of then, and counts for nothing."""
    before = make_host(view(flow("HQ", "init")))
    silent = Host("fw", False, View("fw", Unreachable("no answer")), NOW, None, Unreachable("no answer"), before.seen)  # noqa: FBT003
    keys = {"run": make_last_run(WELL), "hosts": {"fw": (silent,)}}
    assert tell(**keys) == [(Mark.BAD, "fw: tunnels are not known: no answer")]
    assert "when last known, 12:30:00 UTC, 0 s ago: ■ 1 down" in " ".join(
        read(**keys).find(".//summary").text_content().split()
    )


def test_what_is_not_all_there_is_shown():
    """Counters that were cut off, and a list that is refused, are told beside the tunnels."""
    said = view(flow("HQ"), counters=Busy("1 of 2 tunnels: time was up"), ike_sas=Unauthorized("no right"))
    text = " ".join(read(run=make_last_run(WELL), hosts={"fw": (make_host(said),)}).text_content().split())
    assert "▲ counters: 1 of 2 tunnels: time was up" in text
    assert "▲ IKE SAs: no right" in text


def test_nobodys_words_become_markup():
    """Names and errors from elsewhere are texts, wherever they stand, and control characters are no longer there."""
    part = {"name": HOSTILE, "kind": HOSTILE, "status": HOSTILE, "error": {"kind": HOSTILE, "message": HOSTILE}}
    run = make_last_run(WELL | part, mode=HOSTILE, error={"kind": HOSTILE}, warnings=[HOSTILE], exit_code=3)
    odd = make_host(
        view(flow(HOSTILE, HOSTILE, HOSTILE, interface=HOSTILE, peer_ip=HOSTILE), role=HOSTILE), target=HOSTILE
    )
    page = draw(
        make_state(NOW, run=run, runs=(run,), targets={HOSTILE: HOSTILE}, hosts={HOSTILE: (odd,)}, machine=HOSTILE)
    )
    assert "\x1b" not in page
    document = html.document_fromstring(page)
    assert document.findall(".//script") == []
    assert len(document.findall(".//style")) == 1
    assert "<!--" not in page
    assert not [name for element in document.iter() for name in element.attrib if name.startswith("on")]
    assert document.text_content().count("<script>") > 10


def test_nothing_comes_from_elsewhere():
    """The page names no address to fetch from, and its policy forbids it, but for the one style that is in it."""
    page = draw(make_state(NOW))
    assert not re.search(r"(?:src|href=\"[^#]|url|import|@font)", page)
    style = html.document_fromstring(page).find(".//style").text
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none'; ")


def test_state_is_told_by_word_and_shape():
    """Every coloured text begins with a sign of its own shape and goes on in words."""
    document = read(run=make_last_run(WELL), hosts={"fw": (make_host(view(flow("HQ"), flow("b", "init"))),)})
    marks = [element.text_content().split(maxsplit=1) for element in document.find_class("mark")]
    assert len(marks) > 5
    assert all(sign in "●▲■◇○" and words for sign, words in marks)
    assert len({sign for sign, _ in marks}) == 5  # with those that the foot explains


def test_every_cell_of_a_table_knows_its_head():
    """On a narrow screen each cell stands by itself: its head comes with it."""
    document = read(run=make_last_run(WELL), runs=(make_last_run(WELL),), hosts={"fw": (make_host(view(flow("HQ"))),)})
    for table in document.iter("table"):
        heads = [head.text for head in table.iter("th")]
        for row in table.iterfind("tbody/tr"):
            assert [cell.get("data-head") for cell in row] == heads


@pytest.mark.parametrize(
    ("away", "words"),
    [
        (timedelta(seconds=-59), "59 s ago"), (timedelta(minutes=-2), "2 min ago"), (timedelta(hours=-47), "47 h ago"),
        (timedelta(days=-2), "2 days ago"), (timedelta(days=30, hours=1), "in 30 days"), (timedelta(), "0 s ago"),
    ],
)  # fmt: skip
def test_ages_are_in_their_largest_unit(away, words):
    """How far away a moment is fits in two words."""
    assert describe_age(NOW + away, NOW) == words


def luminance(colour):
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_text_stands_out_from_its_ground():
    """In light and in dark, each colour of text has a contrast of 4.5 to 1 to both grounds (WCAG 2, AA)."""
    style = files("uidsync.integrations.exporter").joinpath("page.css").read_text("utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(schemes) == 2
    for scheme in schemes:
        for ground in ("paper", "card"):
            for text in ("ink", "quiet", "good", "warn", "bad", "open", "idle"):
                darker, lighter = sorted(luminance(scheme[name]) + 0.05 for name in (ground, text))
                assert lighter / darker >= 4.5, (text, ground)
