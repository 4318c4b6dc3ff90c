"""Which mappings a firewall is asked for, and what its answers mean."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from uidsync.ledger import Ledger
from uidsync.panos.errors import BadReply, Unauthorized, Unreachable
from uidsync.panos.table import TableEntry
from uidsync.panos.userid import Logout
from uidsync.plan import Holding
from uidsync.spotcheck import Missing, NotAnswered, spot_check

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ONE, TWO, THREE, FOUR = (ip_address(f"10.0.0.{n}") for n in range(1, 5))


def holding(sent, left, user="ada", *, in_doubt=False):
    """Make what was sent so many minutes ago and has so many left."""
    return Holding(user, 60, NOW - sent * MINUTE, NOW + left * MINUTE, in_doubt)


def choose_spots(held, leaving=()):
    """Choose from what a target holds by the ledger, beside another that holds the same addresses for longer."""
    with closing(Ledger.make_empty()) as ledger:
        ledger.correct("fw", held)
        ledger.correct("fw-east", {ip: [holding(600, 6_000)] for ip in held})
        for ip, holdings in held.items():
            ledger.note_doubt("fw", [Logout(ip, each.user) for each in holdings if each.in_doubt], NOW)
        return ledger.choose_spots("fw", leaving, NOW)


class Table:
    """A firewall's table; addresses in `failing` raise what stands there."""

    def __init__(self, entries, failing=None):
        self.entries = entries
        self.failing = failing or {}
        self.asked = []

    def ask(self, ip):
        """Answer as a firewall."""
        self.asked.append(ip)
        if ip in self.failing:
            raise self.failing[ip]
        return tuple(TableEntry(ip, "vsys1", kind, user, 60) for kind, user in self.entries.get(ip, ()))


def test_the_longest_lasting_are_asked_for():
    """At most three addresses are chosen, of those whose mappings last longest."""
    held = {ONE: [holding(9, 50)], TWO: [holding(5, 55)], THREE: [holding(30, 30)], FOUR: [holding(20, 40)]}
    assert set(choose_spots(held)) == {TWO, ONE, FOUR}
    assert choose_spots({}) == ()


def test_what_was_sent_after_a_loss_does_not_hide_it():
    """Of the half that lasts longest, those that were sent first are asked for."""
    old = {ip_address(n): [holding(300, 1_000 + n)] for n in range(1, 30)}
    new = {ip_address(n): [holding(5, 1_435)] for n in range(30, 34)}
    assert set(choose_spots(old | new)) <= old.keys()
    assert min(int(ip) for ip in choose_spots(old | new)) > 10, "the ones that end soon prove little"


def test_what_is_to_be_logged_out_is_not_asked_for():
    """An address whose logout is due may have been logged out already, and that would look like a loss."""
    held = {ip: [holding(9, 50)] for ip in (ONE, TWO, THREE, FOUR)}
    assert choose_spots(held, {ONE, TWO, THREE}) == (FOUR,)


@pytest.mark.parametrize(
    ("one", "chosen"),
    [
        (holding(2, 50), True),
        (holding(1.9, 50), False),  # it may not show yet
        (holding(9, 50, in_doubt=True), False),  # it may never have arrived
        (holding(58, 2), False),  # it may be gone by itself before the answer
        (holding(70, -10), False),
    ],
)
def test_only_what_must_be_there_is_asked_for(one, chosen):
    """What was sent less than two minutes ago, is in doubt or about to end proves nothing and is not asked for."""
    assert bool(choose_spots({ONE: [one]})) is chosen


def test_an_address_with_several_holdings_is_asked_for_once():
    """A doubt beside what is held does not make an address two."""
    held = {ONE: [holding(9, 50), holding(3, 57, "ben", in_doubt=True)], TWO: [holding(20, 40)]}
    assert sorted(choose_spots(held)) == [ONE, TWO]


def test_what_is_there_is_not_gone_whoever_it_is():
    """Another user, or an entry of another source, is no sign of a lost table."""
    table = Table({ONE: [("XMLAPI", "ada")], TWO: [("XMLAPI", "mallory")], THREE: [("AD", "corp\\x")]})
    assert spot_check(table, (ONE, TWO, THREE)) == Missing(frozenset())
    assert table.asked == [ONE, TWO, THREE]


def test_an_address_without_an_entry_is_gone():
    """What has no entry of any source is told as missing, and only that."""
    assert spot_check(Table({}), (ONE, TWO)) == Missing(frozenset({ONE, TWO}))
    assert spot_check(Table({ONE: [("XMLAPI", "ada")]}), (ONE, TWO)) == Missing(frozenset({TWO}))


@pytest.mark.parametrize(
    ("error", "denied"), [(Unauthorized("no"), True), (Unreachable("gone"), False), (BadReply("what"), False)]
)
def test_a_question_that_is_not_answered_says_nothing(error, denied):
    """A failure is no evidence of a loss, ends the questions, and tells a key without the right from the rest."""
    table = Table({}, {TWO: error})
    assert spot_check(table, (ONE, TWO, THREE)) == NotAnswered(error, is_denied=denied)
    assert table.asked == [ONE, TWO]
