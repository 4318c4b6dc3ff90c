"""Rows that somebody chose, or that a table holds in its own way: what a run makes of them, end to end."""

MAC = "02:00:5e:10:00:0a"


def sync(site, *, code=0):
    """Make a run, and return what its report says of the source."""
    ended = site.call("sync", "--json")
    assert ended.code == code, ended.err
    return ended.report["source"]


def test_anonymous_identities_say_nothing_on_the_user_s_device(site, firewall):
    """A realm alone, an ignored name with a realm and a name rewritten to nothing leave the device's user alone."""
    anonymous = ["anonymous@example.edu", "@example.edu", "Anonymous", "anon@example.edu", "host/pc-1.example.edu",
                 "CAMPUS\\\\", "@"]  # fmt: skip
    rows = [("10.0.0.1", "jdoe", 600, MAC), *(("10.0.0.1", name, 60, MAC) for name in anonymous)]
    site.use_rows([*rows, ("10.0.0.2", "ghost/robert", 60, MAC), ("10.0.0.3", "jane", 600, MAC)])
    site.identity = {
        "strip_realm": True,
        "ignore_users": ["anonymous", "anon"],
        "rewrite": [{"match": "^host/.*$", "replace": ""}],
    }
    site.add_firewall("fw", firewall)
    assert sync(site)["nobody"] == {}
    assert firewall.mappings() == {"10.0.0.1": "jdoe", "10.0.0.2": "ghost/robert", "10.0.0.3": "jane"}
    site.use_rows([*rows, ("10.0.0.3", "jane", 600, MAC), ("10.0.0.3", "null@example.edu", 60, MAC)])
    assert sync(site)["nobody"]["null"] == 1
    assert "10.0.0.3" not in firewall.mappings()


def test_who_brings_another_domain_gets_what_is_configured(site, firewall):
    """A name with another domain is sent as it is, or with ours, or not at all, from the run after the key has changed.

    `who` and `explain` say the same.
    """
    site.use_rows([("10.0.0.1", "LAB\\dean"), ("10.0.0.2", "dean@lab.example"), ("10.0.0.3", "campus\\ada")])
    site.add_firewall("fw", firewall)
    for other_domains, expected in (
        ("keep", {"10.0.0.1": "LAB\\dean", "10.0.0.2": "dean@lab.example"}),
        ("replace", {"10.0.0.1": "CAMPUS\\dean", "10.0.0.2": "CAMPUS\\dean"}),
        ("nobody", {}),
    ):
        site.identity = {"domain": "CAMPUS", "other_domains": other_domains}
        assert sync(site)["nobody"] == ({} if expected else {"other_domain": 2})
        assert firewall.mappings() == {"10.0.0.3": "campus\\ada", **expected}
        words = expected.get("10.0.0.1", "another domain or realm")
        assert words in site.call("who", "10.0.0.1").out
        assert words in site.call("explain", "10.0.0.1").out
        assert site.call("who", "LAB\\dean").code == (0 if expected else 1)


def test_no_name_holds_a_run(site, firewall):
    """Names that would hold an engine that tries every way are read as any other, however many there are."""
    site.use_rows([(f"10.0.{n}.1", "a" * 34 + str(n)) for n in range(200)] + [("10.1.0.1", "a" + " " * 60_000 + "b")])
    site.identity = {
        "rewrite": [{"match": "^(([a-z])+.)+[A-Z]([a-z])+$", "replace": ""}, {"match": r"\\s+$", "replace": ""}]
    }
    site.add_firewall("fw", firewall)
    assert sync(site)["nobody"] == {"too_long": 1}
    assert len(firewall.mappings()) == 200


def test_a_table_with_other_types_of_columns_is_read(site, safeconnect, firewall):
    """Names, addresses and devices as bytes, and ids as text, make the same mappings, in full reads and in tails."""
    safeconnect.ask(
        "ALTER TABLE clienthist MODIFY principal BLOB, MODIFY currentIpAddress VARBINARY(45), "
        "MODIFY macaddress VARBINARY(25), MODIFY clientHistId VARCHAR(20)"
    )
    site.use_database(safeconnect)
    site.add_firewall("fw", firewall)
    ((now,),) = safeconnect.ask("SELECT UTC_TIMESTAMP()")
    names = ["Jürgen,Staff", b"J\xfcrgen", "null"]
    safeconnect.insert([(str(n), now, f"10.0.0.{n}", name, MAC) for n, name in enumerate(names, 1)])
    assert sync(site)["nobody"] == {"unfit": 1, "null": 1}
    safeconnect.insert([("20", now, "10.0.0.20", b"ada", MAC), ("21", now, "10.0.0.3", "@realm", MAC)])
    sync(site)
    assert firewall.mappings() == {"10.0.0.1": "Jürgen", "10.0.0.20": "ada"}
    assert site.call("who", "jürgen").code == site.call("explain", "10.0.0.1").code == site.call("check").code == 0


def test_bad_lines_of_a_file_cost_themselves(site, firewall):
    """Of an export with stray quotes, a huge field and no last line end, all other rows are sent."""
    site.use_rows([(f"10.0.0.{n}", f"user{n}") for n in range(1, 8)])
    head, *lines = site.source["path"].read_text().splitlines()
    lines[1] = lines[1].replace('"user2"', '"user2')
    lines[3] = lines[3].replace('"user4"', r'"O\"Brien"')
    lines[5] = lines[5].replace("user6", "x" * 200_000)
    site.source["path"].write_text("\n".join([head, *lines, "8,2026-03-10 12:00:00,10.0.0.8"]))
    site.add_firewall("fw", firewall)
    assert sync(site)["skipped"] == {"bad_row": 4}
    assert firewall.mappings() == {f"10.0.0.{n}": f"user{n}" for n in (1, 3, 5, 7)}


def test_a_table_of_which_no_row_can_be_used_is_refused_with_why(site, firewall):
    """Whoever reads the refusal learns what was wrong with the rows, beside the question whether it is the table."""
    site.use_rows([("10.0.0.256", "ada"), ("127.0.0.1", "ben"), ("10.0.0.300", "eve")])
    site.add_firewall("fw", firewall)
    ended = site.call("sync", "--json")
    assert ended.code == 4
    assert (
        "no login event; skipped rows: not an IP address (2), address that no user can have (1)"
        in ended.report["error"]["message"]
    )
