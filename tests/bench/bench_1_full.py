"""A full run: a million rows in the window, 30,000 addresses, two firewalls that answer in 5 ms."""

from tests.bench.conftest import ADDRESSES, ROWS
from tests.bench.fast_firewall import FastFirewall
from tests.bench.ground import launch, medians, write_entries

WINDOW = """
SET time_zone = '+00:00';
SELECT clientHistId, transDate, currentIpAddress, principal, macaddress FROM clienthist
WHERE transDate >= UTC_TIMESTAMP() - INTERVAL 7 DAY
"""


def read_sent(export):
    """Return how many bytes the database has sent so far."""
    with export.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Bytes_sent'")
        return int(cursor.fetchone()[1])


def test_a_full_run_beside_the_plain_way_and_the_floor(ground, campus, ratios):
    """A full run takes at most 0.25 of the plain way's time, and at most 1.3 times what reading and writing take."""
    password = campus.password_file.read_text().strip()
    login = {"host": campus.host, "port": campus.port, "user": campus.user, "database": campus.database}
    client = ["mariadb", "--no-defaults", "--quick", "--batch", "--skip-column-names", f"--host={campus.host}"]
    client += [f"--port={campus.port}", f"--user={campus.user}", f"--password={password}", campus.database]
    ground.use_database(campus)
    asked = {}

    with FastFirewall.start(0.005, 0.005) as firewall:

        def note(name, run):
            firewall.ask("reset")
            sent = read_sent(campus)
            took = run()
            asked[name] = {"bytes": read_sent(campus) - sent, **firewall.ask()[0]}
            return took

        def ours(name="ours", **keys):
            ground.use_firewalls(firewall, **keys)
            ground.forget()
            return note(name, ground.run)

        def narrow():
            return ours("one", connections=1)

        def wide():
            return ours("five", connections=5)

        def plain():
            return note("plain", lambda: ground.run_rival("plain", **login, password=password, ports=firewall.ports))

        def reading():
            return launch(ground.place, *client, f"--execute={WINDOW}")

        def writing():
            entries = write_entries(ground.place / "entries.json", ours_asked)
            return ground.run_rival("socket", entries=str(entries), ports=firewall.ports, ca_file=str(firewall.ca_file))

        first = ours()
        ours_asked = first.report["wanted"]
        assert first.report["source"]["rows"] == ROWS
        assert ours_asked > ADDRESSES * 0.9
        assert asked["ours"]["entries"] == ours_asked
        us, one, five, them, read, written = medians(ours, narrow, wide, plain, reading, writing)
    floor = read.seconds + float(written.out)
    ratios.add("a full run / the plain way", us.seconds, them.seconds, most=0.25, before=0.5)
    ratios.add(
        f"a full run / the floor (read {read.seconds:.2f} s, write {float(written.out):.2f} s)",
        us.seconds,
        floor,
        most=1.3,
        before=2.34,
    )
    for count, took in ((1, one), (5, five)):
        ratios.add(f"with connections = {count} / the plain way", took.seconds, them.seconds)
        ratios.add(f"with connections = {count} / the floor", took.seconds, floor)
    ratios.add("processor time / the plain way", us.busy, them.busy)
    ratios.add("peak memory / the plain way", us.peak, them.peak, "MB")
    ratios.add("calls to each firewall / the plain way", asked["ours"]["calls"], asked["plain"]["calls"], "")
    ratios.add(
        "connections to each firewall / the plain way",
        asked["ours"]["connections"],
        asked["plain"]["connections"],
        "",
    )
    ratios.add("bytes sent by the database / the plain way", asked["ours"]["bytes"], asked["plain"]["bytes"], "MB")
    ratios.raise_if_missed()
