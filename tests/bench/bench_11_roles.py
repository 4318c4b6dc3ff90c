"""Roles: as many users as addresses, three tags each, on a simulated firewall that keeps them."""

from datetime import UTC, datetime

from tests.bench.ground import address, medians, scaled
from tests.forks import start_simulator

COUNT = scaled(30_000)
ROLES = {"user_tags": {"STAFF": "staff", "FACULTY": "faculty", "MFA": "mfa"}}


def test_tagging_beside_pan_os_python(ground, ratios):
    """A first run with three tags a user beside one without, and beside pan-os-python, which only tags."""
    file = ground.place / "events.csv"
    now = datetime.now(UTC).isoformat()
    rows = (f'{place + 1},{now},{address(place)},"jdoe{place:07},STAFF,FACULTY,MFA",' for place in range(COUNT))
    file.write_text("\n".join(["clientHistId,transDate,currentIpAddress,principal,macaddress", *rows]) + "\n")
    ground.source = {"kind": "csv", "path": str(file)}
    key = ground.place / "api-key"
    with start_simulator("firewall") as firewall:
        key.touch(0o600)
        key.write_text(firewall.line["api_key"] + "\n")
        known = {"host": "127.0.0.1", "port": firewall.port, "ca_file": str(firewall.ca_file)}
        ground.targets = [{"name": "fw", "kind": "firewall", "api_key_file": str(key), **known}]

        def first(roles):
            ground.roles = roles
            ground.forget()
            return ground.run()

        def tag():
            return ground.run_rival("tags", count=COUNT, port=firewall.port, key=firewall.line["api_key"])

        without, unchanged_without = first({}), ground.run()
        tagged, looked, unchanged = first(ROLES), ground.run(), ground.run()
        assert tagged.targets["fw"]["tags"]["delivered"] == COUNT
        assert unchanged.targets["fw"]["batches"] == 0
        (rival,) = medians(tag, times=1)
    for head, by in (("", lambda took: took.seconds), ("processor time: ", lambda took: took.busy)):
        ratios.add(f"{head}a first run with tags, beyond one without / pan-os-python tagging",
                   by(tagged) - by(without), by(rival))  # fmt: skip
        ratios.add(f"{head}the second run, which once reads all tags / without tags",
                   by(looked), by(unchanged_without))  # fmt: skip
        ratios.add(f"{head}an unchanged run with tags / without", by(unchanged), by(unchanged_without))
    ratios.raise_if_missed()
