"""What a device makes of messages, by example and by property."""

from collections.abc import Iterable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from uidsync.simulator.message import MessageError, read_minutes
from uidsync.simulator.table import Mapping, Rules, Table

VSYS = "vsys1"
ADDRESSES = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
USERS = ["CAMPUS\\ada", "grace", "alan@example.edu"]


def message(*sections: str) -> etree._Element:
    """Parse a message with these sections."""
    text = f"<uid-message><type>update</type><payload>{''.join(sections)}</payload></uid-message>"
    return etree.fromstring(text)


def section(name: str, entries: Iterable[dict[str, str]]) -> str:
    """Write a section."""
    root = etree.Element(name)
    for entry in entries:
        etree.SubElement(root, "entry", entry)
    return etree.tostring(root).decode()


def login(ip: str, user: str, timeout: str | None = None) -> str:
    """Write a section with one login."""
    return section("login", [{"name": user, "ip": ip} | ({} if timeout is None else {"timeout": timeout})])


def logout(ip: str, user: str | None = None) -> str:
    """Write a section with one logout."""
    return section("logout", [{"ip": ip} | ({} if user is None else {"name": user})])


def held(table: Table, now: float = 0) -> dict[str, str]:
    """Return who is where."""
    return {row.ip: row.user for row in table.mappings(now)}


def rejections(outcome: dict) -> list[str]:
    """Return the words of all rejections."""
    return [entry.message for entries in outcome.values() for entry in entries]


events = st.lists(
    st.tuples(st.sampled_from(["login", "logout"]), st.sampled_from(ADDRESSES), st.sampled_from(USERS)), max_size=12
)


@given(events)
def test_one_user_per_address(history):
    """After any history an address has the user of its last login, unless that user was logged out since."""
    table, expected = Table(), {}
    for kind, ip, user in history:
        if kind == "login":
            table.apply(message(login(ip, user)), VSYS, 0)
            expected[ip] = user
        else:
            outcome = table.apply(message(logout(ip, user)), VSYS, 0)
            assert rejections(outcome) == ([] if expected.get(ip) == user else ["Delete mapping failed"])
            if expected.get(ip) == user:
                del expected[ip]
    assert held(table) == expected


@given(st.permutations([login(ADDRESSES[0], "ada"), logout(ADDRESSES[0], "ada"), login(ADDRESSES[1], "grace")]))
def test_logins_come_before_logouts(sections):
    """Whatever the order in the text, logins are carried out before logouts."""
    table = Table()
    assert rejections(table.apply(message(*sections), VSYS, 0)) == []
    assert held(table) == {ADDRESSES[1]: "grace"}


@given(st.integers(1, 5000), st.integers(0, 10**9))
def test_a_mapping_ends_with_its_timeout(minutes, now):
    """A mapping is held for its timeout in minutes, and not a second longer."""
    table = Table()
    table.apply(message(login(ADDRESSES[0], "ada", str(minutes))), VSYS, now)
    assert table.mappings(now)[0].seconds_left(now) == 60 * minutes
    assert table.find(VSYS, ADDRESSES[0], now + 60 * minutes - 1) is not None
    assert table.find(VSYS, ADDRESSES[0], now + 60 * minutes) is None
    assert held(table, now + 60 * minutes) == {}


@pytest.mark.parametrize(
    ("timeout", "rules", "seconds"),
    [(None, Rules(), 2700), ("0", Rules(), None), (None, Rules(timeout_minutes=None), None), ("5", Rules(), 300),
     ("5", Rules(honour_timeout=False), 2700), (None, Rules(timeout_minutes=10), 600)],
)  # fmt: skip
def test_timeouts(timeout, rules, seconds):
    """Without a timeout the device's own holds, 0 is never, and a device that does not listen has its own."""
    table = Table(rules)
    table.apply(message(login(ADDRESSES[0], "ada", timeout)), VSYS, 0)
    assert [row.seconds_left(0) for row in table.mappings(0)] == [seconds]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "ada", "ip": "192.0.2.256"}, "Invalid IP address"),
        ({"name": "ada", "ip": "192.0.2.0/24"}, "Invalid IP address"),
        ({"name": "ada"}, "Invalid IP address"),
        ({"name": " ", "ip": "192.0.2.1"}, "Invalid user name"),
        ({"ip": "192.0.2.1"}, "Invalid user name"),
        ({"name": "a" * 256, "ip": "192.0.2.1"}, "Invalid user name"),
        ({"name": "ada", "ip": "192.0.2.1", "timeout": "1.5"}, "Invalid timeout"),
        ({"name": "ada", "ip": "192.0.2.1", "timeout": "-1"}, "Invalid timeout"),
        ({"name": "ada", "ip": "192.0.2.1", "timeout": ""}, "Invalid timeout"),
    ],
)
def test_a_bad_login_costs_itself_alone(entry, words):
    """A login that cannot be taken is named with its attributes; those around it are taken."""
    table = Table()
    good = [{"name": "grace", "ip": "192.0.2.2"}, {"name": "alan", "ip": "192.0.2.3"}]
    outcome = table.apply(message(section("login", [good[0], entry, good[1]])), VSYS, 0)
    assert rejections(outcome) == [words]
    assert dict(outcome["login"][0].attributes) == {name: entry[name] for name in ("name", "ip") if name in entry}
    assert held(table) == {"192.0.2.2": "grace", "192.0.2.3": "alan"}


@pytest.mark.parametrize("user", [None, "", "ada"])
def test_logout_by_address(user):
    """A logout without a name, or with an empty one, takes whoever is there."""
    table = Table()
    table.apply(message(login(ADDRESSES[0], "ada")), VSYS, 0)
    assert rejections(table.apply(message(logout(ADDRESSES[0], user)), VSYS, 0)) == []
    assert held(table) == {}


@pytest.mark.parametrize("named", ["CAMPUS\\ada", "ADA", "ada@example.edu", "Campus\\Ada"])
def test_loose_logout(named):
    """Whether case and domain count in a logout can be chosen."""
    for loose in (True, False):
        table = Table(Rules(loose_logout=loose))
        table.apply(message(login(ADDRESSES[0], "campus\\ada")), VSYS, 0)
        assert rejections(table.apply(message(logout(ADDRESSES[0], named)), VSYS, 0)) == (
            [] if loose else ["Delete mapping failed"]
        )


def test_logout_of_what_expired():
    """A logout of a mapping that has expired finds nothing."""
    table = Table()
    table.apply(message(login(ADDRESSES[0], "ada", "1")), VSYS, 0)
    assert rejections(table.apply(message(logout(ADDRESSES[0], "ada")), VSYS, 61)) == ["Delete mapping failed"]


def test_vsys_are_apart():
    """The same address may have another user in another vsys, and a logout concerns its own."""
    table = Table()
    for vsys, user in (("vsys1", "ada"), ("vsys2", "grace")):
        table.apply(message(login(ADDRESSES[0], user)), vsys, 0)
    table.apply(message(logout(ADDRESSES[0])), "vsys1", 0)
    assert [(row.vsys, row.user) for row in table.mappings(0)] == [("vsys2", "grace")]


def test_two_planes():
    """Clearing one plane leaves the other; a logout clears both."""
    table = Table()
    table.apply(message(login(ADDRESSES[0], "ada")), VSYS, 0)
    assert table.forget(planes=("dp",)) == 1
    assert (table.mappings(0, "dp"), len(table.mappings(0, "mp"))) == ([], 1)
    for plane in ("dp", "mp"):
        table.learn(Mapping(VSYS, ADDRESSES[0], "ada", "AD", None))
        table.forget(planes=(plane,))
        assert rejections(table.apply(message(logout(ADDRESSES[0], "ada")), VSYS, 0)) == []
        assert (table.mappings(0, "dp"), table.mappings(0, "mp")) == ([], [])


def test_order_of_arrival():
    """Mappings are listed by their last login."""
    table = Table()
    for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        table.apply(message(login(ip, "ada")), VSYS, 0)
    assert list(held(table)) == ["192.0.2.2", "192.0.2.1"]


def test_a_full_table_takes_nobody_new():
    """At its capacity a device rejects new addresses, takes known ones, and has room again when some expire."""
    table = Table(Rules(capacity=2))
    logins = section("login", [{"name": "ada", "ip": f"192.0.2.{n}", "timeout": str(n)} for n in (1, 2, 3)])
    assert rejections(table.apply(message(logins), VSYS, 0)) == ["Add mapping failed"]
    assert rejections(table.apply(message(login("192.0.2.2", "grace")), VSYS, 0)) == []
    assert rejections(table.apply(message(login("192.0.2.3", "alan")), VSYS, 61)) == []
    assert held(table, 61) == {"192.0.2.2": "grace", "192.0.2.3": "alan"}


@pytest.mark.parametrize(
    "document",
    [
        "<message/>",
        "<uid-message><payload><login/></payload></uid-message>",
        "<uid-message><type>delete</type><payload/></uid-message>",
        "<uid-message><type>update</type></uid-message>",
        f"<uid-message><type>update</type><payload>{login('192.0.2.1', 'ada')}<x/></payload></uid-message>",
    ],
)
def test_what_is_no_message_changes_nothing(document):
    """A document that is no message is refused whole."""
    table = Table()
    with pytest.raises(MessageError):
        table.apply(etree.fromstring(document), VSYS, 0)
    assert held(table) == {}


def test_children_in_any_order():
    """Type, payload and version may stand in any order."""
    for parts in permutations(
        ["<version>2.0</version>", "<type>update</type>", f"<payload>{login('192.0.2.1', 'ada')}</payload>"]
    ):
        table = Table()
        table.apply(etree.fromstring(f"<uid-message>{''.join(parts)}</uid-message>"), VSYS, 0)
        assert held(table) == {"192.0.2.1": "ada"}


def test_first_section_only():
    """A device may be one that reads the first of several sections of a name."""
    for every, expected in ((True, {"192.0.2.1", "192.0.2.2"}), (False, {"192.0.2.1"})):
        table = Table(Rules(every_section=every))
        table.apply(message(login("192.0.2.1", "ada"), login("192.0.2.2", "grace")), VSYS, 0)
        assert set(held(table)) == expected


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=255))
def test_names_are_kept_as_they_came(name):
    """A name is held as it was sent, whatever it is made of."""
    table = Table()
    outcome = table.apply(message(login(ADDRESSES[0], name)), VSYS, 0)
    assert held(table) == ({ADDRESSES[0]: name} if name.strip() else {})
    assert rejections(outcome) == ([] if name.strip() else ["Invalid user name"])


@given(st.text(max_size=8))
def test_minutes(text):
    """A timeout is a number of minutes in digits, or none that counts."""
    minutes = read_minutes(text)
    assert minutes is None if not (text.isascii() and text.isdigit()) else minutes == int(text)


def tags(name: str, whose: dict[str, str], *tags: str, timeout: str = "0") -> str:
    """Write a section that registers or unregisters tags."""
    members = "".join(f'<member timeout="{timeout}">{tag}</member>' for tag in tags)
    return section(name, [whose]).replace("/>", f"><tag>{members}</tag></entry>", 1)


def test_tags():
    """Tags are registered once, expire in seconds, and are unregistered before they are registered."""
    table, user = Table(), {"user": "CAMPUS\\ada"}
    assert rejections(table.apply(message(tags("register-user", user, "staff", timeout="60")), VSYS, 0)) == []
    assert rejections(table.apply(message(tags("register-user", user, "staff", "new")), VSYS, 0)) == [
        "tag staff already exists, ignore"
    ]
    assert list(table.users.current(0)) == [(VSYS, "CAMPUS\\ada", ["staff", "new"])]
    assert list(table.users.current(60)) == [(VSYS, "CAMPUS\\ada", ["new"])]
    both = message(tags("register-user", user, "new"), tags("unregister-user", user, "new"))
    assert rejections(table.apply(both, VSYS, 60)) == []
    assert rejections(table.apply(message(tags("unregister-user", user, "staff")), VSYS, 60)) == [
        "tag staff does not exist, ignore unreg"
    ]
    table.apply(message(section("unregister-user", [user])), VSYS, 60)
    assert list(table.users.current(60)) == []


def test_as_many_tags_as_the_vendor_allows():
    """An address takes thirty-two tags."""
    table, names = Table(), [f"t{n}" for n in range(33)]
    assert rejections(table.apply(message(tags("register", {"ip": "192.0.2.1"}, *names)), VSYS, 0)) == [
        "tag t32 is one too many"
    ]


def test_groups():
    """A group has the members of its last message, and is gone when that has none."""
    table = Table()
    group = "<groups><entry name='staff'><members>{}</members></entry></groups>"
    table.apply(message(group.format("<entry name='ada'/><entry name='grace'/>")), VSYS, 0)
    assert table.groups == {(VSYS, "staff"): ("ada", "grace")}
    table.apply(message(group.format("")), VSYS, 0)
    assert table.groups == {}


def test_the_log_has_what_was_taken():
    """Each login and logout that was taken is logged once, rejected ones are not."""
    table = Table()
    table.apply(message(login("192.0.2.1", "ada", "5"), logout("192.0.2.9", "nobody")), VSYS, 100)
    table.apply(message(logout("192.0.2.1")), VSYS, 160)
    assert [(r.seqno, r.at, r.subtype, r.ip, r.user, r.timeout) for r in table.log] == [
        (1, 100, "login", "192.0.2.1", "ada", 300),
        (2, 160, "logout", "192.0.2.1", "ada", 0),
    ]


@pytest.mark.parametrize(("refreshes", "left"), [(False, []), (True, ["staff"])])
def test_a_repeated_tag_may_or_may_not_be_renewed(refreshes, left):
    """A tag that is registered again is told to be there already; whether it gets its new timeout is a switch."""
    table = Table(Rules(refreshes_tags=refreshes))
    section = tags("register-user", {"user": "ada"}, "staff", timeout="60")
    table.apply(message(section), VSYS, 0)
    assert len(table.apply(message(section), VSYS, 50)["register-user"]) == 1
    assert [tag for _, _, has in table.users.current(70) for tag in has] == left


@pytest.mark.parametrize("tag", ["and", "OR", "it's", "two  blanks"])
def test_words_of_a_filter_are_no_tags(tag):
    """What PAN-OS forbids in a tag is not taken."""
    table = Table()
    table.apply(message(tags("register", {"ip": "10.0.0.1"}, tag)), VSYS, 0)
    assert list(table.addresses.current(0)) == []
