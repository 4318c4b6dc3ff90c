"""The command line as a terminal shows it: prompts, pagers and questions are told from what is printed."""

import pytest

from uidsync.integrations.tunnels.terminal import (
    ACCEPTANCES,
    BANNERS,
    PAGERS,
    find_question,
    make_prompt,
    make_same_prompt,
    show,
    strip_echo,
)

HOSTILE = (
    "\r", "\x1b[", "\x1b]", " ", "-", "--- more ", "(yes/no", "lines 1", "y/n ", "a@", "press ", "\x08", "more ", "\t"
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\r\r\nc\n", "a\nb\nc\n"),
        ("\x1b[1mbold\x1b[0m \x1b]0;title\x07text\x1b=", "bold text"),
        ("--- more ---\r            \rrow", "row"),
        ("lines 1-23\r\x1b[Krow", "row"),
        ("-- More --" + "\x08" * 10 + " " * 10 + "\x08" * 10 + "row", "row"),
        ("--- more ---\x1b[12D\x1b[Krow", "row"),
        ("text\r", "text"),
        ("\x07beep", "beep"),
        ("\x1b(Bplain\x1b)0", "plain"),
    ],
)
def test_what_was_drawn_over_is_gone(text, shown):
    """Colours, titles and lines that were wiped out are no part of what is printed."""
    assert show(text) == shown


@pytest.mark.parametrize(
    ("user", "prompt", "role"),
    [
        ("admin", "admin@PA-1(active)> ", "active"),
        ("a.b", "a.b@fw# ", None),
        ("x", "x@PA(non-functional)>", "non-functional"),
        ("net ops", "net ops@PA-1> ", None),
        ("ops@example.edu", "ops@example.edu@PA-1(passive)> ", "passive"),
        ("ops@example.edu", "ops@PA-1> ", None),
        ("CAMPUS\\ops", "CAMPUS\\ops@PA-1 vsys2(active)> ", "active"),
        ("CAMPUS\\ops", "ops@PA-1> ", None),
        ("Ops", "ops@PA-1> ", None),
        ("o(p)s+", "o(p)s+@PA-1> ", None),
        ("ops", "another@PA-1(suspended)> ", "suspended"),
    ],
)
def test_the_prompt_tells_the_ha_state(user, prompt, role):
    """It begins with the account's name, whatever is in that; what is in brackets after the host is its HA state."""
    found = make_prompt(user).search(f"text\n{prompt}")
    assert found["role"] == role
    assert make_same_prompt(found["name"]).search(f"more text{prompt}")["role"] == role


@pytest.mark.parametrize(
    "text",
    [
        "<member>ops@fw</member>", "  <name>a@b>", "ops@fw> show vpn", "ops@fw>\n", "mail ops@example.edu",
        "password: ", "-->", "ops@",
    ],
)  # fmt: skip
def test_what_is_printed_is_no_prompt(text):
    """An address in a document, an echo, or another question: more is waited for."""
    assert make_prompt("ops").search(f"text\n{text}") is None


@pytest.mark.parametrize(
    ("shown", "answer"),
    [
        ("--- more ---", " "), ("---more---", " "), ("-- More --", " "), ("--More--(12%)", " "),
        ("<--- More --->", " "), ("-- More: <space>,  Quit: q", " "), ("(more)", " "), ("lines 1-23", " "),
        ("lines 24-46/97 47%", " "),
        ("lines 1-23/97 (END)", "q"), ("(END)", "q"), (":", " "), ("Press any key to continue", " "),
        ("[Press ENTER for more]", "\n"), ("Hit return to go on ", "\n"),
    ],
)  # fmt: skip
def test_a_pager_is_answered(shown, answer):
    """Whatever a pager says on a line of its own, the next page is asked for."""
    assert find_question(f"row 1\nrow 2\n{shown}", PAGERS).answer == answer
    assert find_question(f"row 1 {shown}", PAGERS) is None or shown == "(END)"


@pytest.mark.parametrize(
    "row",
    [
        "7     lines 1-2                   active  off     192.0.2.1   198.51.100.7   tunnel.7",
        "8     Press any                   active  off     192.0.2.1   198.51.100.7   tunnel.8",
        "<name>more</name>",
        "<name>(yes/no)</name>",
        "",
    ],
)
def test_what_is_listed_asks_nothing(row):
    """A tunnel's name that reads like a pager is a name."""
    assert find_question(f"row\n{row}", PAGERS) is None


@pytest.mark.parametrize(
    ("shown", "answer"),
    [
        ("Do you accept and acknowledge the statement above ? (yes/no) : ", "yes\n"),
        ("Accept (yes/no)", "yes\n"), ("Accept [Yes/No]:   \n", "yes\n"), ("Agree, yes / no ? ", "yes\n"),
        ("Please type yes or no: ", "yes\n"), ("Accept (Yes|No)?", "yes\n"), ('Type "yes" to accept: ', "yes\n"),
        ("Accept? (yes/no) [no]: ", "yes\n"), ("Accept (yes/no), then press Enter: ", "yes\n"),
        ("Go on (y/n)? ", "y\n"), ("Go on [Y/N] (y): ", "y\n"), ("Press Enter to continue", "\n"),
    ],
)  # fmt: skip
def test_a_banner_is_accepted(shown, answer):
    """The question may be in brackets or not, and end in colons, question marks and blanks."""
    assert find_question(f"Authorised users only.\n{shown}", BANNERS).answer == answer


@pytest.mark.parametrize(
    "prompt",
    [
        "Password: ",
        "Type yes and your password: ",
        "Answer yes/no next.\nPassword: ",
        "(yes/no) Password: ",
        "Type your passcode:",
    ],
)
def test_a_password_is_no_acceptance(prompt):
    """A prompt for the password is not answered by yes, whatever stands before it."""
    assert find_question(prompt, ACCEPTANCES) is None


@pytest.mark.parametrize(
    "printed",
    [
        "show vpn flow\n<a>\n", "<a>\n", "show \nops@fw> show vpn \nops@fw(active)> show vpn flow\n<a>\n", "\n\n<a>\n",
        "ops@fw(active)> ops@fw> ops@fw> show vpn flow\n<a>\n", "ops@fw>ops@fw# \n ops@fw> show \n<a>\n",
    ],
)  # fmt: skip
def test_an_echo_is_not_printed(printed):
    """The command comes back at once, in parts with prompts between them, after several prompts, or not at all."""
    assert strip_echo(printed, "show vpn flow", "ops@fw").strip() == "<a>"


@pytest.mark.parametrize("count", range(1, 5))
def test_prompts_alone_are_no_output(count):
    """Prompts that come late, from an earlier command, are not what this command prints: on one line or on several."""
    for between in ("", " ", "\n"):
        assert not strip_echo(between.join(["ops@fw(active)>"] * count), "show vpn flow", "ops@fw").strip()


@pytest.mark.parametrize("piece", HOSTILE)
def test_endless_repetition_costs_little(piece):
    """No text takes a pattern more than its share; one that did would not end here in a lifetime."""
    show(piece * 200_000)
    for pattern in (make_prompt("ops"), make_same_prompt("ops@fw")):
        pattern.search(show(piece * 400)[-400:])
    find_question(show(piece * 400)[-400:], BANNERS)
    strip_echo(piece * 200_000, "show vpn flow", "ops@fw")
