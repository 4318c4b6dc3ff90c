"""Whatever happens, in the end firewalls have the tags that the roles say, and nobody else's tag was touched."""

from contextlib import closing
from datetime import timedelta

import pytest
from hypothesis import Phase, settings
from lxml import etree

from tests.test_history import START, VALIDITY, History
from tests.world import SILENT, Export, FragileLedger, World
from uidsync.ledger.ledger import Ledger
from uidsync.reading.reader import read

ROLES = {
    "user_tags": {"Staff": "staff", "Guest*": "guest"},
    "address_tags": {"Quar*": "quarantined"},
    "timeout": "3h",
}
FIREWALLS = ("fw", "fw-lab")
FOREIGN = {"ada": {"vip", "nacho"}, "10.0.0.2": {"blocked"}}


def register(device, whose, tags):
    """Give a user or an address tags, as others do."""
    registry = device.table.addresses if whose[0].isdigit() else device.table.users
    members = "".join(f"<member>{tag}</member>" for tag in tags)
    entry = etree.fromstring(f'<entry {registry.attribute}="{whose}"><tag>{members}</tag></entry>')
    registry.register(entry, "vsys1", START.timestamp())


def ours(device, now):
    """Return the tags that are ours of every user and address."""
    found = {whose: {tag for tag in tags if tag.startswith("nac-")} for whose, tags in device.tags(now).items()}
    return {whose: tags for whose, tags in found.items() if tags}


class File(Export):
    """A source without ids that could be gone on from: every read is a full one, and finds mostly what is known."""

    highest_id = None


class TagHistory(History):
    """The same site with roles."""

    is_full = True  # the last run looks at everything anew

    def _furnish(self):
        """Let roles become tags, on firewalls that have some of others."""
        self.world.roles = ROLES
        self.marked = [self.world.devices[name] for name in FIREWALLS]
        for device in self.marked:
            for whose, tags in FOREIGN.items():
                register(device, whose, tags)

    def _end(self):
        self._run(force=True, full=self.is_full)
        super()._end()
        now = self.world.now
        for device in self.marked:
            assert all(tags <= device.tags(now).get(whose, set()) for whose, tags in FOREIGN.items())
        wanted = self._judge({})
        by_user, by_address = {}, {}
        for ip, (user, until) in wanted.items():
            roles = self._find_roles(ip, (until - VALIDITY).replace(tzinfo=None))
            by_user.setdefault(user.casefold(), set())
            for role in roles:
                tag = "nac-staff" if role == "Staff" else "nac-guest" if role.startswith("Guest") else None
                by_user[user.casefold()] |= {tag} - {None}
            by_address[ip] = {"nac-quarantined"} if "Quarantined" in roles else set()
        for name in FIREWALLS:
            has = {whose.casefold(): tags for whose, tags in ours(self.world.devices[name], now).items()}
            with closing(Ledger.open_copy(self.world.file)) as ledger:  # what waits to be tried again
                rejected = {each.ip.name.casefold() for each in ledger.tags.read_rejected(name)}
            for user, tags in by_user.items():
                assert user in rejected or has.get(user, set()) == tags, (name, user)
            for ip in self._judge(self.world.targets[name]):
                assert ip in rejected or has.get(ip, set()) == by_address[ip], (name, ip)

    def _find_roles(self, ip, date):
        rows = [row for row in self.world.export.rows if row[2] == ip and row[1] == date and row[3]]
        return max(rows)[3].split(",")[1:]


class FileTagHistory(TagHistory):
    """The same with a file as source: tags are made anew only if there is news, and end right all the same."""

    is_full = False

    def _furnish(self):
        super()._furnish()
        self.world.export = File(self.world.export.now, self.world.export.rows)


TestTagHistory, TestFileTagHistory = TagHistory.TestCase, FileTagHistory.TestCase
if settings.get_current_profile_name() != "soak":
    TestTagHistory.settings = TestFileTagHistory.settings = settings(
        max_examples=30, stateful_step_count=25, deadline=None, phases=(Phase.explicit, Phase.generate)
    )


@pytest.mark.parametrize("kind", [Export, File])
def test_a_tag_goes_with_the_event_that_gave_it(tmp_path, kind):
    """A user loses a tag when the event that gave it is too old, also if nothing else happens at all."""
    world = World(tmp_path, START, [{"name": "fw", "kind": "firewall", "host": "fw"}])
    world.roles, world.export = ROLES, kind(START)
    old = START.replace(tzinfo=None) - VALIDITY + timedelta(hours=1)
    world.export.rows += [
        (1, old, "10.0.0.1", "ada,Staff", None),
        (2, START.replace(tzinfo=None), "10.0.0.2", "ada,Guest", None),
    ]
    world.run()
    assert ours(world.devices["fw"], world.now) == {"ada": {"nac-staff", "nac-guest"}}
    world.pass_time(timedelta(hours=2, minutes=5))  # another read of all is due
    world.run(force=True)
    assert ours(world.devices["fw"], world.now) == {"ada": {"nac-guest"}}


def test_what_another_host_has_had_to_do_with_is_in_doubt(tmp_path):
    """On a host that takes over, tags of users and addresses with new rows are in doubt, and no others."""
    world = World(tmp_path, START, [{"name": "fw", "kind": "firewall", "host": "fw"}])
    world.roles, world.sync = ROLES, world.sync | {"standby_lock": True}
    for number, (address, principal) in enumerate(
        (("10.0.0.1", "ada,Staff"), ("10.0.0.2", "ben,Guest,Quarantined")), 1
    ):
        world.export.rows.append((number, START.replace(tzinfo=None), address, principal, None))
    config = world.run().parts.config
    assert ours(world.devices["fw"], START) == {
        "ada": {"nac-staff"},
        "ben": {"nac-guest"},
        "10.0.0.2": {"nac-quarantined"},
    }
    world.export.rows.append((3, START.replace(tzinfo=None), "10.0.0.2", "cleo", None))
    with closing(FragileLedger.open(world.file)) as ledger:
        for each in (ledger, ledger.tags):
            each.power, each.own_now = world.power, world.true_now
        read(config, world.export, ledger, full=False, log=SILENT)
        held = ledger.tags.read_holdings("fw")
    assert {subject.name: each.in_doubt for subject, holdings in held.items() for each in holdings} == {
        "ada": False,
        "ben": True,
        "10.0.0.2": True,
    }
