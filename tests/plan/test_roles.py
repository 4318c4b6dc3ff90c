"""Roles become tags: which, of whom, and what is planned of them. By example and by property."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from msgspec.structs import replace

from uidsync.config.reader import make_config
from uidsync.ledger.values import Holding, TargetState
from uidsync.panos import Tagged, join_tags, split_tags
from uidsync.panos.userid.messages import Login, Logout
from uidsync.panos.userid.tags import PAGE, TagTarget, make_tag_message
from uidsync.panos.wire.errors import BadReply
from uidsync.plan.compare import find, glance_at, look_at
from uidsync.plan.newest import make_demand
from uidsync.plan.roles import MOST_TAGS, find_changed, make_tag_config, make_tag_events, make_tags
from uidsync.plan.share import Belief, make_share
from uidsync.simulator import replies
from uidsync.simulator.table import Table
from uidsync.source.rows import LoginEvent, read_roles

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
VALIDITY = 8 * HOUR
CONFIG = make_config(
    {
        "source": {"kind": "csv", "path": "events.csv", "idle_after": "8h"},
        "roles": {"user_tags": {"STAFF": "staff", "guest*": ""}, "address_tags": {"QUAR*": "quarantined"}},
        "target": [{"name": "fw", "kind": "firewall", "host": "fw"}, {"name": "uia", "kind": "agent", "host": "uia"}],
    },
    "uidsync.toml",
)
TAGGING = make_tag_config(CONFIG, CONFIG.target)
ADA, HERE = Tagged("user", "ada"), Tagged("ip", "10.0.0.1")


def event(address, user, *roles, age=HOUR, event_id=1):
    """Make a login event."""
    return LoginEvent(ip_address(address), user, "" if user else "null", NOW - age, event_id, None, roles)


def tags_of(events, replaced=()):
    """Return the tags that events give, None where they say that there are none."""
    made = make_tag_events(CONFIG.roles, events, dict(replaced), NOW - VALIDITY)
    return {str(each.ip): each.user for each in made}


def plan(made, held):
    """Plan what is due by events of tags."""
    belief = Belief(TargetState("fw", ""), held)
    demand = make_demand({each.ip: each for each in made}, VALIDITY, NOW)
    return make_share(TAGGING, TAGGING.target[0], belief, demand).plan


def hold(made_plan, held):
    """Return what a target holds that took a plan."""
    held = dict(held)
    for logout in made_plan.logouts:
        held[logout.ip] = tuple(each for each in held.get(logout.ip, ()) if each.user != logout.user)
    for login in made_plan.logins:
        held[login.ip] = (Holding(login.user, login.timeout, NOW, NOW + login.timeout * MINUTE, event_id=1),)
    return held


@pytest.mark.parametrize(
    ("principal", "roles"),
    [
        ("ada", ()),
        ("ada,", ()),
        ("ada,STAFF, Guest  Wi-Fi ,STAFF,,x", ("STAFF", "Guest Wi-Fi", "x")),
        ("ada," + "r" * 256, ()),
        ("ada,bad\x00role,good", ("good",)),
        ("ada,\u200b,\u3164\u0301,good", ("good",)),  # that show nothing
        ("ada,one," + "r" * 1100, ("one",)),  # the last may have lost its end
    ],
)
def test_roles_are_what_follows_the_name(principal, roles):
    """Each role counts once, its blanks collapsed; what no message can carry, or may be cut, is left out."""
    assert read_roles(principal) == roles


@pytest.mark.parametrize(
    ("role", "names", "tag"),
    [
        ("role_staff", {"ROLE_ST*": "staff"}, ("nac-staff",)),
        ("ROLE_STAFF", {"*STAFF": "one", "*": "other"}, ("nac-one",)),
        ('it\'s "R&D", @home\\x', {"*": ""}, ("nac-it_s _R&D__ _home_x",)),
        ("x" * 255, {"*": ""}, ("nac-" + "x" * 123,)),
        ("STAFF", {"GUEST": "guest"}, ()),
    ],
)
def test_the_first_glob_makes_the_tag(role, names, tag):
    """A role becomes the tag of the first glob that means it, in any case, within what PAN-OS takes."""
    assert make_tags([role], names, "nac-") == tag


def test_roles_that_no_tag_can_be_named_like_are_found():
    """A role that keeps its name is changed where PAN-OS does not take the name; one with a tag of its own is not."""
    names = {"st@ff": "staff", "r*": ""}
    assert find_changed(["st@ff", "r1", "r@x", "r" * 124, "other@x"], names, "nac-") == {
        "r@x": "nac-r_x", "r" * 124: "nac-" + "r" * 123,
    }  # fmt: skip


def test_a_user_has_the_tags_of_all_addresses():
    """The tags of a user are the union over the addresses; an address has those of its own event, named or not."""
    events = [
        event("10.0.0.1", "ada", "STAFF"),
        event("10.0.0.2", "Ada", "Guest", "QUARANTINE", age=MINUTE),
        event("10.0.0.3", None, "QUARANTINE"),
        event("10.0.0.4", "ben", "STAFF", age=9 * HOUR),
    ]
    assert tags_of(events) == {
        "user Ada": "nac-Guest,nac-staff",
        "user ada": None,  # the same user, as spelled before
        "ip 10.0.0.1": None,
        "ip 10.0.0.2": "nac-quarantined",
        "ip 10.0.0.3": "nac-quarantined",
    }


def test_who_is_replaced_everywhere_has_no_tags():
    """A user who lost the last address loses all tags; one who has another address keeps those of that."""
    before = event("10.0.0.1", "ada", "STAFF", age=2 * HOUR)
    newest = event("10.0.0.1", "ben", event_id=2)
    assert tags_of([newest], {newest.ip: before})["user ada"] is None
    other = event("10.0.0.2", "ada", "guest")
    assert tags_of([newest, other], {newest.ip: before})["user ada"] == "nac-guest"


def test_no_more_tags_than_pan_os_takes():
    """Of more roles than tags are taken, the first are; the rest is kept apart."""
    roles = [f"guest{number:03}" for number in range(99, 0, -1)]
    _, made = make_tag_events(CONFIG.roles, [event("10.0.0.1", "ada", *roles)], {}, NOW - VALIDITY)
    tags = [f"nac-{role}" for role in roles]
    assert split_tags(made.user) == tuple(sorted(tags[:MOST_TAGS]))
    assert made.roles == tuple(tags[MOST_TAGS:])


def test_without_roles_nothing_is_planned():
    """Without roles, or without a firewall that gets tags, there is nothing to tag by."""
    assert make_tag_config(replace(CONFIG, roles=type(CONFIG.roles)()), CONFIG.target).target == ()
    assert make_tag_config(CONFIG, CONFIG.target[1:]).target == ()


def test_a_change_takes_the_former_tags_away_in_the_same_message():
    """Who had other tags gets the new ones, and loses the old, in one document; a refresh renews each tag."""
    held = {ADA: (Holding("nac-guest,nac-staff", 60, NOW, NOW + HOUR),)}
    (login,) = plan(
        make_tag_events(CONFIG.roles, [event("10.0.0.1", "ada", "STAFF")], {}, NOW - VALIDITY), held
    ).changed
    assert (login.ip, login.user, login.replaces) == (ADA, "nac-staff", ("nac-guest,nac-staff",))
    payload = etree.fromstring(make_tag_message([login])).find("payload")
    assert payload.xpath("unregister-user/entry/tag/member/text()") == ["nac-guest", "nac-staff"]
    assert payload.xpath("register-user/entry/tag/member/text()") == ["nac-staff"]
    assert payload.xpath("register-user/entry/tag/member/@timeout") == [str(7 * 3600)]


def test_a_tag_is_renewed_at_half_of_its_timeout():
    """A tag that lasts is left alone, and one with less than half of its timeout is sent again."""
    made = make_tag_events(CONFIG.roles, [event("10.0.0.1", "ada", "STAFF", age=MINUTE)], {}, NOW - VALIDITY)
    for left, due in ((31, 0), (29, 1)):
        held = {ADA: (Holding("nac-staff", 60, NOW, NOW + left * MINUTE, event_id=1),)}
        assert len(plan(made, held).refreshed) == due


def test_nothing_is_taken_away_without_evidence():
    """Tags of users and addresses of whom no event is known are left to run out."""
    held = {ADA: (Holding("nac-staff", 60, NOW, NOW + HOUR),), HERE: (Holding("nac-quarantined", 60, NOW, NOW + HOUR),)}
    assert len(plan((), held)) == 0
    made = make_tag_events(CONFIG.roles, [event("10.0.0.1", "ada")], {}, NOW - VALIDITY)
    assert set(plan(made, held).logouts) == {Logout(ADA, "nac-staff"), Logout(HERE, "nac-quarantined")}


roles = st.lists(st.sampled_from(("STAFF", "guest-a", "guest-b", "QUARANTINE", "other")), max_size=4)
users = st.sampled_from(("ada", "ADA", "ben", None))
events = st.lists(st.tuples(st.sampled_from(("10.0.0.1", "10.0.0.2", "10.0.0.3")), users, roles), max_size=6)


@given(events, events)
def test_planning_twice_plans_nothing(before, after):
    """Whatever was held, a target that took the plan lacks nothing, and has exactly what is wanted of it."""
    held, known = {}, {}
    for moment, facts in enumerate((before, after)):
        newest = {}
        for number, (address, user, theirs) in enumerate(facts):
            newest[ip_address(address)] = event(
                address, user, *theirs, age=HOUR - moment * MINUTE, event_id=10 * moment + number
            )
        replaced = {ip: known.get(ip) for ip in newest}
        known |= newest
        made = make_tag_events(CONFIG.roles, list(known.values()), replaced, NOW - VALIDITY)
        held = hold(plan(made, held), held)
        assert len(plan(made, held)) == 0
        for each in made:
            assert [one.user for one in held.get(each.ip, ())] == ([each.user] if each.user else [])


@given(
    st.lists(st.tuples(st.sampled_from((ADA, HERE)), st.sampled_from(("nac-a", "nac-a,nac-b", "nac-c"))), max_size=6)
)
def test_other_tags_are_never_touched(steps):
    """Whatever is sent, on a device that applies it nobody else's tags change."""
    table = Table()
    foreign = (
        '<entry user="ada"><tag><member>vip</member></tag></entry>',
        '<entry ip="10.0.0.1"><tag><member>nac</member></tag></entry>',
    )
    for registry, entry in zip((table.users, table.addresses), foreign, strict=True):
        registry.register(etree.fromstring(entry), "vsys1", 0)
    had = {}
    for subject, tags in steps:
        former = had.get(subject)
        entry = Logout(subject, former) if former == tags else Login(subject, tags, 60, (former,) if former else ())
        had[subject] = tags if isinstance(entry, Login) else None
        table.apply(etree.fromstring(make_tag_message([entry])), "vsys1", 0)
        found = {
            whose: set(has) for registry in (table.users, table.addresses) for _, whose, has in registry.current(0)
        }
        assert {whose: has & {"vip", "nac"} for whose, has in found.items()} == {"ada": {"vip"}, "10.0.0.1": {"nac"}}
        mine = found[subject.name] - {"vip", "nac"}
        assert mine == set((had[subject] or "").split(",")) - {""}


class Shelf:
    """A firewall that lists these users with a tag each."""

    vsys = "vsys1"

    def __init__(self, *users):
        entries = "".join(f'<entry user="{user}"><tag><member>nac-staff</member></tag></entry>' for user in users)
        self.pages = {"registered-user": entries, "registered-ip": ""}

    def read(self, request, read, **_):
        """Answer with the page for the kind that is asked for."""
        (page,) = [page for kind, page in self.pages.items() if kind in request.text]
        return read(200, iter([f'<response status="success"><result>{page}</result></response>'.encode()]))


@pytest.mark.parametrize(
    ("known", "shown", "told"),
    [
        (["ADA", "ada"], ["ADA"], ["ADA"]),
        (["ADA", "ada"], ["ada"], ["ada"]),
        (["ADA", "ada"], ["ADA", "ada"], ["ADA", "ada"]),
        (["Ada"], ["ada"], ["Ada"]),
        ([], ["ada"], ["ada"]),
    ],
)
def test_a_name_is_taken_as_it_is_known(known, shown, told):
    """A firewall may show a name in another case; but names that differ in case alone are two, if both are known."""
    target = TagTarget(Shelf(*shown), "nac-", lambda: [Tagged("user", name) for name in known])
    assert target.read_table(lambda entries: [entry.ip.name for entry in entries]) == told


def test_a_list_that_repeats_is_no_list():
    """A firewall that ignores where a page begins is not asked for ever, and what it lists is not taken for all."""
    with pytest.raises(BadReply, match="lists the same 500 entries again"):
        TagTarget(Shelf(*map(str, range(PAGE))), "nac-", list).read_table(list)


tag_names = st.text(st.sampled_from("nac-,\\x @\n"), min_size=1, max_size=8)


@given(st.lists(tag_names, max_size=5))
def test_tags_come_back_out_of_their_text(tags):
    """Whatever tags a firewall shows, their text parts into exactly these; tags of ours are parted by commas."""
    assert split_tags(join_tags(tags)) == tuple(tags)
    assert join_tags(["nac-a", "nac-b"]) == "nac-a,nac-b"


class Registered(Shelf):
    """A firewall that lists the tags in a table."""

    def __init__(self, table):
        self.pages = {
            f"registered-{kind}": replies.tags(kind, [(name, has) for _, name, has in registry.current(0)])
            for kind, registry in (("user", table.users), ("ip", table.addresses))
        }

    def read(self, request, read, **_):
        """Answer with the page for the kind that is asked for."""
        (page,) = [page for kind, page in self.pages.items() if kind in request.text]
        return read(200, iter([page]))


shown_tags = st.lists(
    st.sampled_from(
        ("vip", "x,vip", "nac-", "nac-x,vip", "nac-STAFF", "nac-staff@lab", "lab\\nac-staff", "nac-staff", "nac-a,b\\")
    ),
    unique=True,
    max_size=4,
)


@given(shown_tags, shown_tags, st.sampled_from(((), ("STAFF",), ("guest-a", "STAFF"))))
def test_a_repair_leaves_what_is_wanted_and_what_is_not_ours(of_user, of_address, roles):
    """Whatever tags stand there: after a repair those under the prefix are exactly the wanted, and no other changed."""
    table = Table()
    for registry, kind, name, has in (
        (table.users, "user", "ada", of_user),
        (table.addresses, "ip", "10.0.0.1", of_address),
    ):
        entry = etree.Element("entry", {kind: name})
        for tag in has:
            etree.SubElement(etree.SubElement(entry, "tag"), "member").text = tag
        registry.register(entry, "vsys1", 0)
    made = make_tag_events(CONFIG.roles, [event("10.0.0.1", "ada", *roles)], {}, NOW - VALIDITY)
    demand = make_demand({each.ip: each for each in made}, VALIDITY, NOW)
    wanted = {ADA: {f"nac-{role.lower()}" for role in roles}, HERE: set()}

    def look():
        entries = TagTarget(Registered(table), "nac-", lambda: (ADA, HERE)).read_table(list)
        shown = {subject: [entry for entry in entries if entry.ip == subject] for subject in (ADA, HERE)}
        target = TAGGING.target[0]
        return look_at(
            TAGGING, target, Belief(TargetState("fw", ""), {}), demand, shown, glance_at(target, waits=False)
        )

    found = find(look())
    was = {ADA: set(of_user), HERE: set(of_address)}
    differing = {each.ip for kind in ("missing", "wrong", "stale") for each in found[kind]}
    assert differing == {
        subject for subject in was if {tag for tag in was[subject] if tag.startswith("nac-")} != wanted[subject]
    }
    plan = look().share.plan
    if due := [*plan.logouts, *plan.logins]:
        table.apply(etree.fromstring(make_tag_message(due)), "vsys1", 0)
    has = {name: set(tags) for registry in (table.users, table.addresses) for _, name, tags in registry.current(0)}
    for subject, tags in was.items():
        others = {tag for tag in tags if not tag.startswith("nac-")}
        assert has.get(subject.name, set()) == wanted[subject] | others


def test_tags_are_compared_to_the_letter():
    """A tag in another case, or with what would be a domain of a user, is another tag: it is due."""
    made = make_tag_events(CONFIG.roles, [event("10.0.0.1", "ada", "STAFF")], {}, NOW - VALIDITY)
    for other in ("nac-Staff", "nac-staff@lab"):
        held = {ADA: (Holding(other, 60, NOW, NOW + HOUR, event_id=1),)}
        (login,) = plan(made, held).changed
        assert (login.user, login.replaces) == ("nac-staff", (other,))
