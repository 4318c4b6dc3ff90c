"""HA pairs as one target, end to end: who gets messages, what the report says, and whose the ledger is."""

import re

from tests.limits import PATIENCE, wait_until

ROWS = [(f"10.0.{n // 250}.{n % 250 + 1}", f"user{n}") for n in range(2000)]
BATCHES = len(ROWS) // 100
PEER = {"unit": "peer"}


def count_messages(pair):
    """Count the messages that each unit got."""
    return [sum(r["type"] == "user-id" for r in pair.do("state", **unit)["requests"]) for unit in ({}, PEER)]


def wait_for_messages(pair, number):
    """Wait until the first unit has got so many messages."""
    wait_until(lambda: count_messages(pair)[0] >= number)


def set_up(site, start, rows=ROWS, **keys):
    """Set up a site with one pair."""
    pair = start("firewall", pair=True)
    site.use_rows(rows)
    site.add_pair("fw", pair, **{"request_timeout": "10s"} | keys)
    return pair


def test_a_pair_fails_over_within_a_run_and_comes_back(site, start):
    """When the active unit dies under way, the other gets the rest, and no more than what was in flight twice."""
    pair = set_up(site, start, connections=2)
    pair.do("fault", name="slow", latency_ms=100)
    process = site.start("sync", "--json")
    wait_for_messages(pair, 5)
    pair.do("fault", name="refuse")
    pair.do("ha", state="passive")
    process.communicate(timeout=PATIENCE)
    first = site.last_run
    assert process.returncode == 0
    assert len(pair.mappings()) == len(ROWS)
    assert first["targets"][0]["batches"] == BATCHES
    before, after = count_messages(pair)
    assert before >= 5 <= after
    assert BATCHES <= before + after <= BATCHES + 2
    assert "127.0.0.1" in " ".join(first["warnings"])

    pair.do("fault", name=None)
    again = site.call("sync", "--json")
    assert again.targets["fw"]["logins"]["due"] == 0
    assert again.report["warnings"] == []
    pair.do("ha", state="active")
    pair.do("reset-counters")
    pair.do("reset-counters", **PEER)
    assert site.call("sync", "--full", "--json").targets["fw"]["logins"]["delivered"] == len(ROWS)
    assert count_messages(pair) == [BATCHES, 0]


def test_a_pair_in_order_is_one_target(site, start):
    """In whatever order its members are named, a pair holds what it was sent; `check` names the members' roles."""
    set_up(site, start, ROWS[:10])
    assert site.call("sync").code == 0
    site.targets[0]["hosts"].reverse()
    assert site.call("sync", "--json").targets["fw"]["logins"]["due"] == 0
    checked = site.call("check").out
    for words in ("green  fw: 127.0.0.1 is active", "green  fw: 127.0.0.2 is passive"):
        assert words in checked
    assert not re.search(r"^red", checked, re.MULTILINE), checked


def test_a_hand_over_after_the_first_run_is_noticed(site, start):
    """When the other unit is active in the second run, its table is read, and what it lacks is sent."""
    pair = set_up(site, start, ROWS[:300])
    assert site.call("sync").code == 0
    for ip, _ in ROWS[141:146]:
        pair.do("forget", ip=ip, **PEER)
    pair.do("ha", state="passive")
    site.ask_ledger("UPDATE holding SET sent_at = sent_at - 180000000")
    assert site.call("sync").code == 0
    assert len(pair.do("state", **PEER)["mappings"]) == 300


def test_a_pair_without_an_active_member_is_incomplete(site, start):
    """Two passive members get nothing, and the report says what they are; once one is active the next run delivers."""
    pair = set_up(site, start, ROWS[:10])
    key_file = site.targets[0]["api_key_file"]
    site.targets[0]["api_key_file"] = "/nowhere"
    assert site.call("sync").code == 1  # a target that just failed is tried once
    site.targets[0]["api_key_file"] = key_file
    for unit in ({}, PEER):
        pair.do("ha", state="passive", alone=True, **unit)
    ended = site.call("sync", "--json")
    assert ended.code == 1
    assert ended.targets["fw"]["error"]["kind"] == "Busy"
    assert "no member is active: 127.0.0.1: passive, 127.0.0.2: passive" in ended.targets["fw"]["error"]["message"]
    assert count_messages(pair) == [0, 0]
    pair.do("ha", state="active")
    assert site.call("sync").code == 0
    assert len(pair.mappings()) == 10


def test_two_active_members_are_said(site, start):
    """Both get the messages, the run is complete, and it warns; `check` is red."""
    pair = set_up(site, start, ROWS[:10])
    pair.do("ha", state="active", alone=True, **PEER)
    ended = site.call("sync", "--json")
    assert ended.code == 0
    assert count_messages(pair) == [1, 1]
    assert [words for words in ended.report["warnings"] if words.startswith("fw: pair.two_active: ")]
    checked = site.call("check")
    assert checked.code == 1
    assert "fw: 2 of its members are active" in checked.out


def test_a_key_that_may_not_ask_is_warned_of_each_time(site, start):
    """Every member gets the message, each run that sends warns, and `check` is red."""
    pair = set_up(site, start, ROWS[:10])
    for unit in ({}, PEER):
        pair.do("role", types=["user-id"], **unit)
    for _ in range(2):
        ended = site.call("sync", "--full", "--json")
        assert ended.code == 0
        assert [words for words in ended.report["warnings"] if "messages go to 127.0.0.1 and 127.0.0.2" in words]
    assert count_messages(pair) == [2, 2]
    checked = site.call("check")
    assert checked.code == 1
    assert "red    fw: 127.0.0.2 does not say whether it is active" in checked.out


def test_what_one_member_rejects_the_other_may_have(site, start):
    """A login that one member rejects, and whose answer the other one loses, is logged out when it is withdrawn."""
    pair = set_up(site, start, ROWS[:10])
    for unit in ({}, PEER):
        pair.do("role", types=["user-id"], **unit)
    pair.do("fault", name="reject_matching", text="user7")
    pair.do("fault", name="reset_before_answer", applied=True, types=["user-id"], **PEER)
    part = site.call("sync", "--json").targets["fw"]
    assert (part["held_back"]["rejected"], part["in_doubt"]) == (1, 1)
    for unit in ({}, PEER):
        pair.do("fault", name=None, **unit)
    assert pair.mappings()["10.0.0.8"] == "user7"
    assert site.call("withdraw", "user7").code == 0
    assert "10.0.0.8" not in pair.mappings()


def test_a_hand_over_that_nobody_notices_loses_nothing(site, start):
    """A unit that goes passive under way and swallows what it gets loses none, though the other takes its time."""
    pair = set_up(site, start, connections=2)
    pair.do("passive", does="ignores")
    pair.do("fault", name="slow", latency_ms=50)
    process = site.start("sync", "--json")
    wait_for_messages(pair, 5)
    pair.do("ha", state="passive", alone=True)
    wait_until(lambda: sum(request["type"] == "op" for request in pair.do("state", **PEER)["requests"]) >= 3)
    pair.do("ha", state="active", alone=True, **PEER)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert len(pair.mappings()) == len(ROWS)
