"""Which member of a pair counts, and what is not known without one."""

import pytest

from uidsync.integrations.tunnels.outcome import choose_view
from uidsync.panos.tunnels.conditions import Rules, View, read_tunnels
from uidsync.panos.tunnels.vpn import Condition, Flow, FlowTable
from uidsync.panos.wire.errors import BadReply, Busy, PanosError, Unauthorized, Unreachable

UP, DOWN = Condition.UP, Condition.DOWN
DEAD = Unreachable("Connection refused")


def table(*names, declared=None, **conditions):
    """Make the table of a firewall: of these tunnels that are up, and of others that are down."""
    found = (*(Flow(name, "active", "up") for name in names), *(Flow(name, "init", "off") for name in conditions))
    return FlowTable(found, len(found), declared, "short")


def test_one_firewall_counts_whatever_it_is():
    """There is no other, whether it stands by or does not say."""
    for role in ("active", "passive", None, DEAD):
        view = View("a", table("A"), role)
        assert choose_view([view]) is view


def test_of_a_pair_the_active_member_counts():
    """Whatever the passive one lists, and whether or not it answers."""
    active = View("b", table("A"), "active")
    for other in (View("a", table(A=DOWN), "passive"), View("a", DEAD), View("a", table("A"), DEAD)):
        assert choose_view([other, active]) is choose_view([active, other]) is active


def test_of_two_active_members_the_better_row_counts():
    """Each of them has tunnels of its own; what one did not tell is not known."""
    first = View("a", table("A", B=DOWN, declared=2), "active-primary")
    second = View("b", table("B", A=DOWN, C=DOWN, declared=3), "active-secondary")
    tunnels = read_tunnels(choose_view([first, second]), Rules())
    assert {tunnel.name: tunnel.condition for tunnel in tunnels} == {"A": UP, "B": UP, "C": DOWN}
    with pytest.raises(Unreachable):
        read_tunnels(choose_view([first, View("b", DEAD, "active-secondary")]), Rules())


@pytest.mark.parametrize(
    ("views", "error", "words"),
    [
        ([("passive", None), ("passive", None)], Busy, "no member is active: a: passive, b: passive"),
        ([("passive", None), (None, DEAD)], Unreachable, "a: passive, b: not asked"),
        ([(Unauthorized("no right"), None), ("passive", None)], Unauthorized, "no right"),
        ([(BadReply("?"), None), (BadReply("?"), None)], Busy, "a: not known, b: not known"),
    ],
)
def test_without_an_active_member_nothing_is_known(views, error, words):
    """What a passive member tells is no news of the pair; the reason says what each is."""
    views = [View(host, failed or table("A"), role) for host, (role, failed) in zip("ab", views, strict=True)]
    with pytest.raises(PanosError, match=words) as raised:
        choose_view(views)
    assert type(raised.value) is error
