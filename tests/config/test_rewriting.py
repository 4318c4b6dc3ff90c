"""Names are rewritten as Python's expressions say, by an engine that no name can hold."""

import re

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from uidsync.config.rewriting import make_rewriter

PIECES = st.sampled_from(
    ["a", "b", "c", "B", ".", r"\w", r"\d", r"\s", r"\W", r"\D", r"\S", "[a-c]", r"[^\w]", r"[\w.-]", "[]x]", "[^]a]",
     r"[\s@]", "(a|b)", "(?:ab|a)", "(?P<n>b)", "(", ")", "|", "*", "+", "?", "*?", "{2}", "{,2}", "{1,}", "{", "^",
     "$", r"\.", r"\\", "@", "ü", r"\x41", r"\u00fc", r"[\u0061-c]", r"\U00000062", r"\Z", r"\A", "(?i)",
     r"\{,1}", r"\[", "[[]"]
)  # fmt: skip
NAMES = st.text("abcABX.@\\üß1٣_ \u3000\xa0-]{,", max_size=12)


@given(st.lists(PIECES, max_size=6).map("".join), st.sampled_from(["", "x", r"<\g<0>>", r"\\ü"]), NAMES)
def test_a_name_is_rewritten_as_python_would(match, replace, name):
    """Whatever both engines take for an expression, they make the same of any name."""
    try:
        rewrite = make_rewriter(match, replace)
        expected = re.sub(match, replace, name)
    except (ValueError, re.error):
        reject()
    # One that would rather match nothing is the exception: Python tries for something at the same place.
    assume(not re.match(match, "") or not re.search(r"\||[*+?}]\?", match))
    assert rewrite(name) == expected


@pytest.mark.parametrize(
    ("match", "replace", "name", "expected"),
    [
        ("^uid=([^;]*).*$", r"\1", "uid=ada;ou=x", "ada"),
        ("^(?P<user>[^.]+)[.](?P<place>.*)$", r"\g<place>.\1", "ada.lab", "lab.ada"),
        ("(a)(b)?", r"\2-\1\g<0>", "aab", "-aab-aab"),
        ("a", r"\\1", "a", r"\1"),
        (r"\p{Greek}+$", "x", "ada.αβ", "ada.x"),
        (r"\pL", "x", "aß1", "xx1"),
        ("$", "x", "ada", "adax"),
        ("", "-", "ab", "-a-b-"),
        ("a*", "-", "baac", "-b--c-"),
        (r"^\s+|\s+$", "", "\u3000ada\xa0", "ada"),
    ],
)
def test_replacements_are_filled_in(match, replace, name, expected):
    """Groups by number and name, whole matches, literal text and classes of Unicode come out as they are written."""
    assert make_rewriter(match, replace)(name) == expected


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (r"(?!svc)", "no look-around, no back-references"),
        (r"(?<=x)a", "no look-around, no back-references"),
        (r"(a)\1", "no look-around, no back-references"),
        (r"\N{DIGIT ONE}", "fewer forms than Python"),
        ("(?x)a b", "fewer forms than Python"),
        (r"a*+", "bad repetition"),
        ("((a{90}){90}){90}", "invalid repetition size"),
        ("(", "unterminated subpattern"),
        (r"\Qa\E", "bad escape"),
        (r"[^\W_]", r"\W is not allowed within a set"),
        ("[[a]", "nested set"),
        (r"\p{Nobody}", "invalid character class"),
        ("\ud800", "surrogates"),
        ("(" * 3000 + ")" * 3000, "recursion"),
    ],
)
def test_what_is_no_expression_is_told(match, words):
    """An expression that one of the engines does not take, or reads otherwise, is refused in words."""
    with pytest.raises(ValueError, match=r"^not a regular expression: ") as raised:
        make_rewriter(match, "")
    assert words in str(raised.value)


@pytest.mark.parametrize("replace", [r"\2", "\\", r"\g<x>", r"\g<9>", r"\q"])
def test_a_replacement_that_does_not_fit_is_told(replace):
    """A group that is not there, and an escape that is none, are refused before any name is rewritten."""
    with pytest.raises(ValueError, match="replace does not fit match"):
        make_rewriter("(a)", replace)


def test_a_name_of_half_characters_is_refused():
    """A name that UTF-8 cannot hold is the caller's to judge."""
    with pytest.raises(UnicodeEncodeError):
        make_rewriter("a", "")("\udcff")
