"""A target's words hold no secret and nobody's name or address by the time that anybody may log or report them."""

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.panos.peer import answering, make_answer
from uidsync.panos import bare_name
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.messages import Login, Logout, is_carriable, make_message, make_user_id
from uidsync.panos.wire.errors import PanosError
from uidsync.panos.wire.retries import RetryPolicy
from uidsync.panos.wire.words import LONGEST_WORDS, make_mask
from uidsync.panos.wire.xmlapi import make_op

ADA = Login(ip_address("192.0.2.7"), "CAMPUS\\ada.l & <co>", 60)
PLAIN = Login(ip_address("192.0.2.1"), "CAMPUS\\ada", 60)
TOLD = "no user ada.l &amp; &lt;co&gt; (CAMPUS\\ada.l) at 192.0.2.7, nor bob@example.edu"
PRIVATE = ("ada.l", "192.0.2.7", "bob@")


def mask(words, entries):
    """Mask the words that answer a message of these entries."""
    return make_mask(make_message(entries))(words)


def line(words, attributes='status="error"'):
    """Make an answer of the management server."""
    return f"<response {attributes}><msg><line>{words}</line></msg></response>".encode()


REJECTED = (
    '<response status="error"><msg><line><uid-response><payload><login><entry ip="192.0.2.7" name="x" '
    f'message="{TOLD}"/></login></payload></uid-response></line></msg></response>'
).encode()
STRANGE = (
    REJECTED.replace(b"<payload>", b"<other>")
    .replace(b"</payload>", b"</other>")
    .replace(b"</line>", f"{TOLD}</line>".encode())
)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (line(TOLD), 200),
        (line(f"Type [user-id] not authorized for user role: {TOLD}"), 403),
        (line(f"passive: {TOLD}", 'status="error" code="15"'), 200),
        (line(TOLD, 'status="unauth" code="16"'), 200),
        (line(f"Invalid Credential {TOLD}"), 403),
        (REJECTED, 200),
        (STRANGE, 200),
        (f"<{'x' * 500} a='{TOLD}'/>".encode(), 200),
        (f'<response status="{TOLD}"/>'.encode(), 200),
        (f"<response><ada.l></{TOLD}".encode(), 200),
    ],
)
def test_no_way_in_leaves_a_name_in_words(run_peer, make_client, log, body, status):
    """By whichever way a firewall's words come in, names and addresses are out of them, in the log of retries too."""
    client = make_client(run_peer(answering(make_answer(body, status))), policy=RetryPolicy(attempts=2))
    try:
        said = "; ".join(rejection.message for rejection in Firewall(client, vsys="vsys1").send([ADA]))
    except PanosError as error:
        said = str(error)
    assert said
    assert len(said) <= LONGEST_WORDS
    for words in (said, *(str(entry) for entry in log.entries)):
        assert [part for part in PRIVATE if part in words] == []


@pytest.mark.parametrize(
    "answer", [line(TOLD), f"<uid-response><code>3</code><message>{TOLD}</message></uid-response>".encode(), REJECTED]
)
def test_an_agent_s_words_hold_none_either(run_peer, make_agent, answer):
    """What an agent says of a message goes the same way."""

    def serve(_, tls):
        heard = b""
        while b"</uid-message>" not in heard:
            heard += tls.recv(65536)
        tls.sendall(answer)

    try:
        said = "; ".join(rejection.message for rejection in make_agent(run_peer(serve)).send([ADA]))
    except PanosError as error:
        said = str(error)
    assert said
    assert [part for part in PRIVATE if part in said] == []


def test_the_answer_to_a_question_is_left_as_it_is(run_peer, make_client):
    """What is asked for is no words: a table's names and addresses come as they are."""
    entry = b"<entry><ip>192.0.2.7</ip><user>CAMPUS\\ada</user></entry>"
    body = b'<response status="success"><result>%s</result></response>' % entry
    answer = make_client(run_peer(answering(make_answer(body)))).call(make_op("<show><ip>192.0.2.7</ip></show>"))
    assert (answer.findtext("result/entry/ip"), answer.findtext("result/entry/user")) == ("192.0.2.7", "CAMPUS\\ada")


LETTERS = st.text("abk\u017fi\u0131\u212aKs\xdf1.-_\xe9'", min_size=1, max_size=12).filter(
    lambda name: any(map(str.isalnum, name))
)


@given(st.lists(LETTERS, min_size=1, max_size=4), st.sampled_from((str, str.upper, str.lower, str.swapcase)))
def test_every_name_is_found_that_its_pattern_would_find(names, spell):
    """Only names that may stand in the words are looked for, and none is missed by that, in whatever case."""
    words = f"no user {spell(names[0])} is known"
    pattern = "|".join(re.escape(name) for name in sorted({*names, *map(bare_name, names)}, key=len, reverse=True))
    longhand = re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", "…", words, flags=re.IGNORECASE)
    assert mask(words, [Logout(ADA.ip, name) for name in names]) == mask(longhand, [ADA])


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        ("CAMPUS\\eve is not known", "CAMPUS\\… is not known"),
        ("'eve@example.edu' is not known", "'…@example.edu' is not known"),
        ("no route from 192.0.2.8 to 192.0.2.7", "no route from 192.0.2.8 to …"),
        ("no space left at 12:30", "no space left at 12:30"),
        ("the key k%3D is bad, k=", "the key [secret] is bad, [secret]"),
    ],
)
def test_what_is_a_name_by_its_form_is_masked_whoever_it_is(words, masked):
    """A name with domain or realm is somebody's; an address that was not sent says where something happened."""
    message = make_user_id(make_message([Logout(ADA.ip, ADA.user)])).text
    assert make_mask(message, ("k=", ""))(words) == masked


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        ("user CAMPUS\\ada at 192.0.2.1 is unknown", "user … at … is unknown"),
        ("ADA, (ada) and campus.example.edu\\ada", "…, (…) and campus.example.edu\\…"),
        ("'192.0.2.1'.", "'…'."),
        ("canada and ada1 and 192.0.2.10", "canada and ada1 and 192.0.2.10"),
        ("no space left", "no space left"),
        ("", ""),
    ],
)
def test_names_and_addresses_are_masked(words, masked):
    """Of a target's words what names a user or an address of the batch is taken out, and nothing else."""
    assert mask(words, [PLAIN]) == masked


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("Jane  Doe", "no user Jane Doe"),
        ("Jane\xa0Doe", "no user Jane Doe"),
        ("a.b*c", "no user a.b*c"),
        ("ada@example.edu", "no user ada"),
        ("jürgen", "no user JÜRGEN"),
        ("$", "no user $"),
        ("ada\u200b.l", "no user ada?.l"),
    ],
)
def test_a_name_is_masked_in_every_form(user, words):
    """Blanks, case, domain and realm make no other name."""
    assert mask(words, [Login(PLAIN.ip, user, 1)]) == "no user …"


@pytest.mark.parametrize("spelling", ["2001:db8::1", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:0db8::0001"])
def test_an_address_is_masked_in_every_spelling(spelling):
    """However an address is spelled, it is masked."""
    assert mask(f"bad address {spelling}.", [Login(ip_address("2001:db8::1"), "ada", 1)]).rstrip(".") == "bad address …"


@pytest.mark.parametrize(
    "words",
    ["ip:{}", "ip={},", "{}:443", "[{}]", "{}/32", "at {}.", "({})", "<{}>", "{}: no", "::ffff:{}", "bad ip:{}:"],
)
def test_an_address_is_masked_whatever_sticks_to_it(words):
    """Punctuation, a port or a prefix beside an address does not hide it."""
    assert "192.0.2.1" not in mask(words.format("192.0.2.1"), [PLAIN])


def test_another_address_is_left():
    """Addresses that are not of the batch say where something happened."""
    words = "no route from 192.0.2.11 to 2001:db8::2 at 12:30"
    assert mask(words, [PLAIN, Login(ip_address("2001:db8::1"), "grace", 1)]) == words


def test_the_longest_name_is_masked_first():
    """A name that is part of another leaves nothing of the other."""
    assert mask("CAMPUS\\ada.lovelace", [PLAIN, Login(PLAIN.ip, "CAMPUS\\ada.lovelace", 1)]) == "…"


def test_words_are_cut_after_they_were_masked():
    """Of words too long for a report the beginning is kept, and no beginning of a name."""
    words = mask("x" * 290 + " CAMPUS\\ada " + "y" * 5000, [PLAIN])
    assert len(words) <= LONGEST_WORDS
    assert "CAM" not in words


NAMES = (
    st.text(min_size=1, max_size=20).filter(is_carriable).map(str.strip).filter(lambda name: name and "…" not in name)
)


@given(NAMES, st.ip_addresses(), st.sampled_from(["", "bad ", "(", "«"]), st.sampled_from(["", " !", ")", "»"]))
def test_whatever_a_name_is_it_is_masked(user, ip, before, after):
    """A name and an address that stand by themselves in a target's words are not in what is told."""
    words = mask(f"{before}{user}{after} at {ip}", [Login(ip, user, 1)])
    assert not re.search(rf"(?<!\w){re.escape(user)}(?!\w)", words, re.IGNORECASE)
    assert str(ip) not in words
