"""What a firewall sends is read as it was: whole, broken in the ways of templates without escaping, or refused."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.integrations.relay.reading import Unreadable, read_body
from uidsync.integrations.relay.template import (
    FIELDS,
    MARKER,
    ORIGINAL,
    find_separator,
    make_original,
    make_safe,
)

DUMP = """{
\t"src": "$src",
\t"sport": $sport,
\t"dst": "$dst",
\t"dport": $dport,
\t"time_generated": "$time_generated",
\t"rule": "$rule",
\t"serial": "$serial",
\t"sender_sw_version": "$sender_sw_version",
\t"subtype": "$subtype",
\t"threat_name": "$threat_name",
\t"severity": "$severity",
\t"action": "$action"
}
---annex---
$misc
"""
ALERT = {
    "src": "192.0.2.7", "sport": "1234", "dst": "198.51.100.9", "dport": "80",
    "time_generated": "2021/01/06 20:44:34", "rule": "test_rule", "serial": "9999", "sender_sw_version": "10.0.4",
    "subtype": "spyware", "threat_name": "bad-bad-c2c", "severity": "critical", "action": "alert", "misc": "a.exe",
}  # fmt: skip
QUICK_TEST = (
    '{"src":"","sport":1234,"dst":"","dport": 4231,"time_generated":"2021/01/06 20:44:34","rule":"test_rule",'
    '"serial":"9999","sender_sw_version":"10.0.4","subtype":"spyware","threat_name":"bad-bad-c2c",'
    '"severity":"critical","action":"alert"}---annex---"Mozi Command and Control Traffic Detection"'
)
SEPARATOR = "K7Q2M9XW4T"


def fill(template, fields):
    """Fill in a template as PAN-OS does: values go in as they are."""
    for name in sorted(FIELDS, key=len, reverse=True):
        template = template.replace(f"${name}", fields.get(name, ""))
    return template


def send(**changes):
    """Read what a firewall with the original's template makes of an alert."""
    return read_body(fill(make_original(), ALERT | changes).encode("utf-8", "surrogateescape"))


def pick(fields, **more):
    """Return the fields of an alert."""
    assert not isinstance(fields, Unreadable), fields
    return {name: fields[name] for name in ALERT | more}


def test_the_template_is_the_original_s():
    """`/dump` shows the original's payload byte for byte."""
    assert make_original() == DUMP


def test_the_quick_test_is_read_as_printed():
    """The line that is printed for curl is an alert, without addresses."""
    assert pick(read_body(QUICK_TEST.encode())) == ALERT | {
        "src": "", "dst": "", "dport": "4231", "misc": "Mozi Command and Control Traffic Detection",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": 'a"b'}, {"rule": "corp\\jdoe"}, {"rule": "corp\\new"}, {"rule": "corp\\table"}, {"rule": '"'},
        {"rule": 'x","action":"allow'}, {"rule": 'x", "y'}, {"threat_name": 'C:\\users\\"me"\\'}, {"rule": "\\"},
        {"rule": "{}"}, {"rule": "}"}, {"sport": ""}, {"sport": "", "dport": ""}, {"rule": "a,b"}, {"rule": ","},
        {"rule": "Gr\u00fc\u00dfe \u4f60"}, {"misc": f"x{MARKER}y"}, {"misc": 'say "hi" now'}, {"misc": ""},
        {"misc": 'http://x/?a={"b":1}'}, {"misc": "two\nlines"}, {"sport": "70000"}, {"subtype": ""},
        {"rule": "it's: \"severity\" matters"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_breaks_json_comes_out_as_it_was(changes):
    """Quotes, backslashes, empty numbers and markers in values change nothing but that they are there."""
    assert pick(send(**changes)) == ALERT | changes


def test_nothing_is_inherited():
    """A key that is missing is empty, whatever the alert before it had."""
    assert pick(send())["threat_name"] == "bad-bad-c2c"
    second = pick(read_body(b'{"src":"192.0.2.8","severity":"low"}'))
    assert second == dict.fromkeys(ALERT, "") | {"src": "192.0.2.8", "severity": "low"}


def test_more_keys_than_known_are_ignored():
    """Keys of a template of somebody's own do no harm."""
    assert pick(read_body(b'{"src":"192.0.2.8","mine":{"a":[1]},"sport":7}'))["sport"] == "7"


@pytest.mark.parametrize("end", ["\n", "\r\n", '"', '"\n', ""])
def test_the_annex_is_trimmed_of_lines_and_quotes(end):
    """New lines and double quotes at both ends go, as with the original; blanks stay."""
    assert read_body(f"{json.dumps(ALERT)}{MARKER}{end} a b {end}".encode())["misc"] == " a b "


def test_broken_utf_8_stays_visible():
    """Bytes that are no text are shown by their numbers, and cost nothing else."""
    assert pick(send(rule="Gr\udcfc\udcdfe", misc="\udcff")) == ALERT | {"rule": "Gr\\xfc\\xdfe", "misc": "\\xff"}


@pytest.mark.parametrize(
    "body",
    [
        b"", b" \n", b"hello", b"[]", b"{}", b'{"other": 1}', b'"src"', b"\xff\xfe", b'{"src": {"a": 1}}',
        b'{"src":"192.0.2.7","sport":12', b'{"src":"192.0.2.7","sport":1234,"dst":"198.51', b"{" * 70_000,
        f"uidsync-relay-1 {SEPARATOR}\n{SEPARATOR} src=192.0.2.7\n{SEPARATOR} dst=198.51".encode(),
        b"uidsync-relay-1\n src=192.0.2.7\n", b"uidsync-relay-1 x\nx src=192.0.2.7\nx\n",
        f"uidsync-relay-1 {SEPARATOR}\n{SEPARATOR} other=1\n{SEPARATOR}\n".encode(),
    ],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
def test_what_is_no_alert_is_refused_with_a_reason(body):
    """What cannot be read, or was cut off, says why, and is no alert with half of its values."""
    read = read_body(body)
    assert isinstance(read, Unreadable)
    assert read.reason


ANYTHING = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
def test_no_value_breaks_our_own_template(values):
    """Whatever values a log has, our own template brings them as they are."""
    values = {name: value for name, value in values.items() if SEPARATOR not in value and "$" not in value}
    read = read_body(fill(make_safe(SEPARATOR), values).encode())
    if any(values.get(name) for name in ORIGINAL):
        assert {name: read[name] for name in FIELDS} == dict.fromkeys(FIELDS, "") | values
    else:
        assert isinstance(read, Unreadable)


AWKWARD = st.text(string.ascii_letters + string.digits + " \"\\{}:,'", max_size=12)


@given(st.dictionaries(st.sampled_from(("rule", "threat_name", "subtype")), AWKWARD))
def test_a_value_of_the_original_s_template_is_never_changed_unseen(values):
    """Of values without escapes of JSON, each comes out as it was, or the body is refused."""
    read = send(**values)
    if isinstance(read, Unreadable):
        return
    told = ALERT | values
    for name, value in told.items():
        if "\\" not in value:  # a whole JSON text with an escape is taken for one that somebody wrote as such
            assert read[name] == value


def test_our_template_fits_into_a_payload():
    """PAN-OS takes payloads of 2048 characters, and values come on top of that."""
    assert len(make_safe(SEPARATOR)) < 2048 // 2  # PAN-OS takes 2048 characters
    assert find_separator(make_safe(SEPARATOR)) == SEPARATOR
    assert find_separator(make_original()) == ""
    assert "$threatid" in make_safe(SEPARATOR, is_before_10=True)
    assert "$high_res" not in make_safe(SEPARATOR, is_before_10=True)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_an_alert_or_refused(body):
    """No bytes do anything but that."""
    read = read_body(body)
    assert isinstance(read, Unreadable) or all(isinstance(value, str) for value in read.values())


def test_a_key_that_comes_twice_is_the_reason():
    """Behind a number a second key is not blamed on the number."""
    body = b'{"src":"192.0.2.7","dport":2,"threat_name":"one","threat_name":"two"}'
    assert read_body(body) == Unreadable("threat_name comes twice")
