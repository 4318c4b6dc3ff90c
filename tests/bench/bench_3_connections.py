"""Five connections beside one, to a firewall that takes 50 ms for an answer."""

from datetime import UTC, datetime

from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import address, medians, scaled

ADDRESSES = scaled(12_000, 3000)


def test_five_connections_beside_one(ground, ratios):
    """With five connections a slow firewall takes four times as much, and never has more than five calls."""
    ground.use_users([f"jdoe{place:07}" for place in range(ADDRESSES)], datetime.now(UTC).isoformat())
    with FastFirewall.start(0.05) as firewall:

        def with_connections(count):
            ground.use_firewalls(firewall, connections=count)
            ground.forget()
            return ground.run()

        def seconds(took):
            return took.targets["fw-0"]["seconds"]

        one, five = medians(lambda: with_connections(1), lambda: with_connections(5), by=seconds)
        most = firewall.ask()[0]["most_in_flight"]
    rates = [ADDRESSES / seconds(took) for took in (five, one)]
    ratios.add("mappings a second: 5 connections / 1 connection", *rates, "/s", least=4)
    ratios.add("most calls at once / the vendor's limit", most, 5, "", most=1)
    ratios.raise_if_missed()


def test_the_order_of_an_address(ground, ratios):
    """No address is in two calls at once, and what was sent last is what was meant last, logouts included."""
    ground.sync = {"max_logout_percent": 100, "max_change_percent": 100}
    users = [f"jdoe{place:07}" for place in range(ADDRESSES)]
    with FastFirewall.start(0.01, options=("--ordered",)) as firewall:
        ground.use_firewalls(firewall, connections=5)
        for round_ in range(3):
            users = [f"{user}r{round_}" if place % 3 else "null" for place, user in enumerate(users)]
            ground.use_users(users, datetime.now(UTC).isoformat(), first_id=1 + round_ * ADDRESSES)
            if not round_:
                ground.use_users([f"first{place}" for place in range(ADDRESSES)], datetime.now(UTC).isoformat())
            ground.run("--force")
        counts = firewall.ask()[0]
        table = firewall.ask("tables")[0]
    meant = {address(place): f"CAMPUS\\{user}" if place % 3 else "" for place, user in enumerate(users)}
    wrong = sum(table.get(ip, "") != user for ip, user in meant.items())
    assert counts["most_in_flight"] <= 5
    ratios.add(
        "addresses in two calls at once, or with a wrong user in the end / 1",
        wrong + counts["overlaps"],
        1,
        "",
        most=0.1,
    )
    ratios.raise_if_missed()
