"""Roles reach firewalls as tags of users and of addresses, over real TLS: given, renewed, taken away, compared."""

import pytest

HALF = 12 * 3600 + 60  # seconds: over half of a tag's timeout, which is a day


@pytest.fixture
def roles(site, firewall):
    """Give a site whose firewall gets tags."""
    site.add_firewall("fw", firewall)
    site.tables = {
        "roles": {
            "user_tags": {"ROLE_STAFF": "staff", "ROLE_FAC*": "faculty"},
            "address_tags": {"QUARANTINE*": "quarantined"},
        }
    }
    return site


def list_tags(simulator):
    """Return the tags of every user and address on a firewall."""
    return {row.get("user") or row["ip"]: sorted(row["tags"]) for row in simulator.do("state")["tags"]}


def test_roles_become_tags_and_go_with_them(roles, firewall):
    """A user's tags are those of all his addresses; an address has its own; who lost a role loses its tag."""
    roles.use_rows(
        [
            ("10.0.0.1", "ada,ROLE_STAFF,OTHER"),
            ("10.0.0.2", "ada,ROLE_FACULTY,QUARANTINED"),
            ("10.0.0.3", "ben"),
        ]
    )
    ended = roles.run("sync", "--json")
    assert ended.code == 0, ended.err
    assert list_tags(firewall) == {"ada": ["nac-faculty", "nac-staff"], "10.0.0.2": ["nac-quarantined"]}
    assert ended.targets["fw"]["tags"]["delivered"] == 2
    assert ended.targets["fw"]["tags_held"] == 2

    again = roles.run("sync", "--json")
    assert again.code == 0, again.err
    assert again.targets["fw"]["batches"] == 0

    roles.use_rows(
        [
            ("10.0.0.1", "ada,ROLE_STAFF,OTHER", 90),
            ("10.0.0.2", "ada,ROLE_FACULTY,QUARANTINED", 90),
            ("10.0.0.3", "ben", 90),
            ("10.0.0.2", "ben,ROLE_STAFF", 30),
        ]
    )
    ended = roles.run("sync", "--json")
    assert ended.code == 0, ended.err
    assert list_tags(firewall) == {"ada": ["nac-staff"], "ben": ["nac-staff"]}
    assert ended.targets["fw"]["untags"]["delivered"] == 1
