"""Whether tunnels are up: proxy-ids together, what is expected, which member counts, and what is not known."""

import pytest

from uidsync.panos.tunnels.conditions import Rules, View, count_up_gateways, judge, read_tunnels
from uidsync.panos.tunnels.vpn import Condition, Flow, FlowTable
from uidsync.panos.wire.errors import BadReply, Unauthorized, Unreachable

UP, DEGRADED, DOWN, UNKNOWN, MISSING = Condition
STATES = {UP: ("active", "up"), DEGRADED: ("active", "down"), DOWN: ("init", "off"), UNKNOWN: ("odd", "off")}


def flows(*names, **conditions):
    """Make flows that are up, and others, named `T__p` for `T:p`, of these conditions."""
    all_of = {**dict.fromkeys(names, UP), **{name.replace("__", ":"): each for name, each in conditions.items()}}
    return [Flow(name, *STATES[condition], gateway_number=name[0]) for name, condition in all_of.items()]


def conditions(found, **rules):
    """Judge flows, and return the conditions by name."""
    return {tunnel.name: tunnel.condition for tunnel in judge(found, Rules(**rules))}


@pytest.mark.parametrize(
    ("parts", "any_of_them", "all_of_them"),
    [
        ((UP, UP), UP, UP),
        ((UP, DOWN), DEGRADED, DOWN),
        ((UP, DEGRADED), DEGRADED, DEGRADED),
        ((DEGRADED, DEGRADED), DEGRADED, DEGRADED),
        ((DOWN, DEGRADED), DEGRADED, DOWN),
        ((DOWN, DOWN), DOWN, DOWN),
        ((UP, UNKNOWN), DEGRADED, UNKNOWN),
        ((DOWN, UNKNOWN), UNKNOWN, DOWN),
        ((UNKNOWN, UNKNOWN), UNKNOWN, UNKNOWN),
    ],
)
def test_proxy_ids_are_judged_together(parts, any_of_them, all_of_them):
    """One that is up is enough, and some that are not degrade it; or all are needed. What is not known stays so."""
    for first, second in (parts, parts[::-1]):
        found = flows(T__a=first, T__b=second)
        assert conditions(found) == {"T": any_of_them}
        assert conditions(found, require_all=("T*",)) == {"T": all_of_them}
        assert conditions(found, require_all=("other",)) == {"T": any_of_them}


def test_a_monitor_that_is_down_may_be_down():
    """An active tunnel whose monitor is down is degraded; for those who say so it is down."""
    assert conditions(flows(T=DEGRADED)) == {"T": DEGRADED}
    assert conditions(flows(T=DEGRADED), monitor_is_down=True) == {"T": DOWN}


def test_what_is_expected_and_gone_is_missing():
    """A tunnel that vanished is missing, not forgotten; of a tunnel, a proxy-id that vanished degrades it."""
    expected = ("Gone", "T:a", "T:b", "Whole")
    found = {tunnel.name: tunnel for tunnel in judge(flows("T:a", "Whole:x", "New"), Rules(expected=expected))}
    assert {name: tunnel.condition for name, tunnel in found.items()} == {
        "Gone": MISSING, "T": DEGRADED, "Whole": UP, "New": UP,
    }  # fmt: skip
    assert [name for name, tunnel in found.items() if tunnel.is_unexpected] == ["New"]
    assert found["T"].missing == ("T:b",)


def test_nothing_is_unexpected_where_nothing_is_expected():
    """Without a list of what to expect, whatever is there is right."""
    assert not any(tunnel.is_unexpected for tunnel in judge(flows("A", "B"), Rules()))


def test_tunnels_are_chosen_by_their_names_and_gateways():
    """Patterns are searched for in whole names, and in names of gateways; what is left out is not missing."""
    found = flows("A", "Backup", "C:x", "C:y")
    gateways = {"A": "gw-a", "C": "gw-c"}

    def names(**rules):
        return [flow.name for tunnel in judge(found, Rules(**rules), gateways) for flow in tunnel.flows]

    assert names(exclude=("^Back",)) == ["A", "C:x", "C:y"]
    assert names(include=("^C", "up$"), exclude=(":x$",)) == ["Backup", "C:y"]
    assert names(include_gateways=("^gw-",), exclude_gateways=("c$",)) == ["A"]
    assert conditions(found, exclude=("Backup",), expected=("A", "C", "Backup")) == {"A": UP, "C": UP}


# ---- views -------------------------------------------------------------------------------------------------------


def table(*names, declared=None, **conditions):
    """Make the table of a firewall."""
    found = tuple(flows(*names, **conditions))
    return FlowTable(found, len(found), declared, "short")


DEAD = Unreachable("Connection refused")


@pytest.mark.parametrize("error", [DEAD, BadReply("no list"), Unauthorized("no right")])
def test_what_failed_is_not_known(error):
    """An error stays an error: it is no empty list, and nothing in it is down."""
    with pytest.raises(type(error)):
        read_tunnels(View("h", error), Rules(expected=("A",)))


def test_a_list_with_a_gap_is_not_known_unless_it_is_believed():
    """A list that is shorter than declared is no list, but for who says that it is."""
    view = View("h", table("A", declared=2))
    with pytest.raises(BadReply, match="declares 2"):
        read_tunnels(view, Rules())
    assert [tunnel.name for tunnel in read_tunnels(view, Rules(check_counts=False))] == ["A"]


def test_gateways_that_are_needed_and_failed_make_it_unknown():
    """To choose by gateways that are not known would be to guess; where nobody asks for them they do not matter."""
    view = View("h", table("A"), gateways=DEAD)
    with pytest.raises(Unreachable):
        read_tunnels(view, Rules(exclude_gateways=("x",)))
    assert read_tunnels(view, Rules())[0].condition is UP


def test_one_firewall_counts_whatever_it_is():
    """A firewall by itself is shown with its role; that it stands by is said, not decided."""
    for role, is_active in (("active", True), ("passive", False), ("not in a pair", True), (None, None), (DEAD, None)):
        view = View("a", table("A"), role)
        assert view.is_active is is_active


def test_a_configured_gateway_without_sa_is_down():
    """Lists of SAs hold what stands: the gateway that is missing there is down; without either list none is known."""
    gateways = {"a": "1", "b": "2"}
    sas = ("a", "a")
    assert count_up_gateways(View("h", DEAD, gateways=gateways, ike_sas=sas)) == {"a": True, "b": False}
    assert count_up_gateways(View("h", DEAD, gateways=gateways, ike_sas=DEAD)) is None
