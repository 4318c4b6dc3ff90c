"""The uid-message grammar: what goes out can be read, and what comes back is found again in what went out."""

import unicodedata
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from uidsync.panos import Tagged, bare_name, read_address
from uidsync.panos.userid.messages import (
    Login,
    Logout,
    Rejection,
    is_carriable,
    make_empty_message,
    make_message,
    make_user_id,
    pack,
    read_rejections,
)
from uidsync.panos.userid.table import TableEntry, make_show_mappings, read_mappings
from uidsync.panos.wire.errors import BadReply, BadRequest

ADA = Login(ip_address("192.0.2.1"), "CAMPUS\\ada", 60)
ALAN = Login(ip_address("192.0.2.2"), "alan@example.edu", 60)
GRACE = Login(ip_address("2001:db8::a"), "grace", 60)
GONE = "Delete mapping failed"

ADDRESSES = st.ip_addresses()
NAMES = st.text(min_size=1, max_size=255).filter(is_carriable)
LOGINS = st.builds(Login, ADDRESSES, NAMES, st.integers(1, 3600))
LOGOUTS = st.builds(Logout, ADDRESSES, NAMES)


@given(ADDRESSES.map(str) | st.lists(st.text("0123456789", max_size=4), max_size=5).map(".".join) | st.text())
@example("255.255.255.255")
@example("1.2.3.04")
@example("1.2.3.256")
@example("1.2.3.\u0664")
def test_an_address_is_read_as_python_does(text):
    """A text is the address that Python's own library reads in it, spelled alike and found by it, or no address."""
    try:
        expected = ip_address(text)
    except ValueError:
        with pytest.raises(ValueError, match="does not appear"):
            read_address(text)
    else:
        found = read_address(text)
        assert (found, str(found), hash(found)) == (expected, str(expected), hash(expected))


TAGGED = st.builds(Tagged, st.sampled_from(["user", "ip"]), NAMES)
TAGS = st.builds(Login, TAGGED, NAMES, st.integers(1, 3600), st.lists(NAMES, max_size=2).map(tuple))


@given(st.lists(LOGINS | TAGS | LOGOUTS | st.builds(Logout, TAGGED, NAMES)), st.integers(0, 5))
@example([Logout(ip_address("192.0.2.1"), 'a"]'), Login(ip_address("192.0.2.1"), 'a"]\n\\', 1)], 1)
def test_what_is_packed_is_what_it_was(entries, place):
    """Packed entries are the same in the same order, a line each, and equal to any sequence of the same."""
    packed = pack(entries[:place], pack(entries[place:]))
    assert list(packed) == entries
    assert (len(packed), len(list(packed.lines))) == (len(entries), len(entries))
    assert packed == tuple(entries) == packed
    assert packed[place:] == tuple(entries[place:])
    assert hash(packed) == hash(tuple(entries))
    assert packed != [*entries, ADA]
    ends = [line.endswith('"]') for line in packed.lines]
    assert ends == [isinstance(entry, Logout) for entry in entries], "by this the ledger tells them apart"


def read_back(message):
    """Read a message as its receiver does: section by section, the attributes of the entries."""
    root = etree.fromstring(message.encode())
    assert (root.tag, root.findtext("version"), root.findtext("type")) == ("uid-message", "1.0", "update")
    return [(section.tag, [dict(entry.attrib) for entry in section]) for section in root.find("payload")]


@given(st.lists(LOGINS, min_size=1, max_size=20))
@example([Login(ip_address("192.0.2.1"), "<entry name='a'/>&amp;\"]]>", 1)])
@example([Login(ip_address("192.0.2.1"), "two  blanks \u2028 \U0001f600 e\u0301 \xa0", 1)])
def test_logins_come_through_as_they_are(logins):
    """Whatever name can be carried, a parser of XML reads it, its address and its minutes as they were."""
    expected = [{"name": login.user, "ip": str(login.ip), "timeout": str(login.timeout)} for login in logins]
    assert read_back(make_message(logins)) == [("login", expected)]


@given(st.lists(LOGOUTS, min_size=1, max_size=20))
def test_logouts_come_through_as_they_are(logouts):
    """A logout names user and address, and no timeout."""
    expected = [{"name": logout.user, "ip": str(logout.ip)} for logout in logouts]
    assert read_back(make_message(logouts)) == [("logout", expected)]


def test_a_target_that_knows_no_timeouts_is_sent_none():
    """Without timeouts the attribute is absent, for 0 would be for ever."""
    assert read_back(make_message([ADA], timeouts=False)) == [("login", [{"name": "CAMPUS\\ada", "ip": "192.0.2.1"}])]


@given(st.text())
def test_what_is_carriable_is_what_xml_holds_without_control_characters(user):
    """A name is carriable exactly when a parser gives it back and it holds no control character."""
    has_control = any(unicodedata.category(character) == "Cc" for character in user)
    try:
        (_, (entry,)), *_ = read_back(make_message([Login(ADA.ip, user, 1)]))
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        entry = {}
    assert is_carriable(user) == (entry.get("name") == user and not has_control)


def test_an_empty_message_changes_nothing():
    """The message that tries a right is a message without a section."""
    assert read_back(make_empty_message()) == []


@pytest.mark.parametrize(
    ("user", "bare"),
    [("ada", "ada"), ("CAMPUS\\ada", "ada"), ("ada@example.edu", "ada"), ("CAMPUS\\ada@x", "ada"), ("CAMPUS\\", "")],
)
def test_a_bare_name_has_neither_domain_nor_realm(user, bare):
    """Domain and realm are taken off a name."""
    assert bare_name(user) == bare


def test_a_message_travels_with_its_vsys():
    """The request for a message names the vsys only when there is one."""
    assert make_user_id("<m/>", "vsys1").form == {"type": "user-id", "cmd": "<m/>", "vsys": "vsys1"}
    assert make_user_id("<m/>").form == {"type": "user-id", "cmd": "<m/>"}


# ---- rejections --------------------------------------------------------------------------------------------------


def rejecting(*entries, section="login", status="error"):
    """Make the answer that lists these entries, each a dictionary of attributes."""
    response = etree.Element("response", status=status)
    line = etree.SubElement(etree.SubElement(response, "msg"), "line")
    payload = etree.SubElement(etree.SubElement(line, "uid-response"), "payload")
    for each in ("login", "logout"):
        listed = etree.SubElement(payload, each)
        for attributes in entries if each == section else ():
            etree.SubElement(listed, "entry", attributes)
    return response


@given(st.lists(LOGINS, min_size=1, max_size=20, unique_by=lambda login: login.ip), st.data())
def test_rejections_are_found_by_what_was_sent(batch, data):
    """Exactly the entries that an answer lists are rejected, in their order and in the target's words."""
    rejected = data.draw(st.lists(st.sampled_from(batch), min_size=1, unique=True))
    answer = rejecting(*({"name": e.user, "ip": str(e.ip), "message": f"no {e.timeout}"} for e in rejected))
    expected = tuple(Rejection(e, f"no {e.timeout}") for e in batch if e in rejected)
    assert read_rejections(answer, batch) == expected


@pytest.mark.parametrize("spelling", ["2001:DB8::A", "2001:db8:0:0:0:0:0:a", "2001:0db8:0000::000a", " 2001:db8::a "])
def test_an_address_may_be_spelled_otherwise(spelling):
    """A rejection is found whatever spelling of IPv6 the target prefers."""
    answer = rejecting({"name": "grace", "ip": spelling, "message": "no"})
    assert read_rejections(answer, [ADA, GRACE]) == (Rejection(GRACE, "no"),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ada", ["ada"]),
        ("ADA", ["ada"]),
        ("alan", ["alan"]),
        ("campus\\ada", ["ada", "alan"]),
        (None, ["ada", "alan"]),
    ],
)
def test_the_name_decides_where_an_address_has_several(name, expected):
    """Of several entries at one address the named one is meant; a name in another form means them all."""
    batch = [Logout(ADA.ip, "ada"), Logout(ADA.ip, "alan"), Logout(ALAN.ip, "ada")]
    attributes = {"ip": "192.0.2.1", "message": "no"} | ({"name": name} if name else {})
    answer = rejecting(attributes, section="logout")
    assert [(r.entry.ip, r.entry.user) for r in read_rejections(answer, batch)] == [(ADA.ip, user) for user in expected]


def test_a_target_may_change_a_name_s_form():
    """At an address with one entry the address alone decides: targets normalise names."""
    answer = rejecting({"name": "campus.example.edu\\ADA", "ip": "192.0.2.1", "message": "no"})
    assert read_rejections(answer, [ADA, ALAN]) == (Rejection(ADA, "no"),)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "eve", "ip": "192.0.2.9", "message": "no"},
        {"name": "CAMPUS\\ada", "message": "no"},
        {"ip": "", "message": "no"},
        {"ip": "ada", "message": "no"},
        {"user": "CAMPUS\\ada", "message": "no"},
    ],
)
def test_an_entry_that_was_not_sent_is_a_bad_reply(entry):
    """An answer about something else says nothing of this batch."""
    with pytest.raises(BadReply):
        read_rejections(rejecting({"name": "alan", "ip": "192.0.2.2", "message": "no"}, entry), [ADA, ALAN])


@pytest.mark.parametrize("message", [GONE, "delete mapping FAILED", " Delete mapping\nfailed "])
def test_a_logout_of_what_is_gone_is_told_from_other_rejections(message):
    """A logout of what is not there is recognised; the same words about a login are any rejection."""
    attributes = {"name": "CAMPUS\\ada", "ip": "192.0.2.1", "message": message}
    (logout,) = read_rejections(rejecting(attributes, section="logout"), [Logout(ADA.ip, ADA.user)])
    (login,) = read_rejections(rejecting(attributes), [ADA])
    assert logout.is_about_gone
    assert not login.is_about_gone


@pytest.mark.parametrize("message", [None, "", "  "])
def test_a_rejection_always_has_words(message):
    """An entry that is listed without a message is rejected all the same."""
    attributes = {"ip": "192.0.2.1"} | ({} if message is None else {"message": message})
    (rejection,) = read_rejections(rejecting(attributes), [ADA])
    assert rejection.message.strip()


def test_an_error_that_names_no_entry_refuses_the_message():
    """An error without entries is about the whole message, whatever it is worded like."""
    for response in (rejecting(), etree.fromstring(b'<response status="failed"><msg>no</msg></response>')):
        with pytest.raises(BadRequest):
            read_rejections(response, [ADA])


def test_success_rejects_nothing_but_what_it_lists():
    """A success that lists an entry is believed about that entry."""
    assert read_rejections(rejecting(status="success"), [ADA]) == ()
    answer = rejecting({"ip": "192.0.2.1", "message": "no"}, status="success")
    assert read_rejections(answer, [ADA]) == (Rejection(ADA, "no"),)


# ---- the mapping table -------------------------------------------------------------------------------------------


def table(*entries):
    """Make the answer to a question for the mapping table."""
    return etree.fromstring(
        f'<response status="success"><result>{"".join(entries)}<count>9</count></result></response>'
    )


def row(ip="192.0.2.1", kind="XMLAPI", user="campus\\ada", timeout="8747"):
    """Make a row of the table as a firewall shows it."""
    return (
        f"<entry><ip>{ip}</ip><vsys>vsys1</vsys><type>{kind}</type><user>{user}</user>"
        f"<idle_timeout>{timeout}</idle_timeout><timeout>{timeout}</timeout></entry>\n"
    )


def test_the_mapping_table_is_read():
    """Each row becomes an entry with the seconds that it has left; addresses without a user are left out."""
    answer = table(row(), row("2001:DB8::1", "AD", " grace "), row(kind="Unknown", user="unknown"), row(user=""))
    assert read_mappings(answer) == (
        TableEntry(ip_address("192.0.2.1"), "vsys1", "XMLAPI", "campus\\ada", 8747),
        TableEntry(ip_address("2001:db8::1"), "vsys1", "AD", "grace", 8747),
    )
    assert read_mappings(table()) == ()
    assert read_mappings(etree.fromstring(b'<response status="success"><result/></response>')) == ()


@pytest.mark.parametrize("timeout", ["Never", "never", "0", "", "-1", "1.5", "9" * 5000, "\u00b2", "\u0663"])
def test_a_time_that_is_no_number_never_comes(timeout):
    """How a table spells "never" is not known; nothing that it may hold breaks the reading."""
    (entry,) = read_mappings(table(row(timeout=timeout)))
    assert entry.seconds_left is None


def test_a_row_without_an_address_is_a_bad_reply():
    """A user without an address is no row of a mapping table."""
    with pytest.raises(BadReply):
        read_mappings(table(row(ip="elsewhere")))


@pytest.mark.parametrize(
    ("ip", "which"),
    [(None, "<all></all>"), ("192.0.2.1", "<ip>192.0.2.1</ip>"), ("2001:db8::1", "<ip>2001:db8::1</ip>")],
)
def test_the_table_is_asked_for_whole_or_by_address(ip, which):
    """The question is an operational command, for a vsys when there is one."""
    request = make_show_mappings("vsys2", ip and ip_address(ip))
    cmd = f"<show><user><ip-user-mapping>{which}</ip-user-mapping></user></show>"
    assert request.form == {"type": "op", "cmd": cmd, "vsys": "vsys2"}
