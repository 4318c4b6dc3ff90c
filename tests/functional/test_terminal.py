"""What people see at a terminal of 80 columns: the answer first, sentences for what went wrong, and what to do next."""

import re

import pytest

from tests.functional.test_commands import converse

WIDTH = 80
LOG = re.compile(r"^\d\d:\d\d:\d\d ", re.MULTILINE)
MARKS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def show(site, *words):
    """Run a command on a terminal, and return its exit code and the text that it showed."""
    code, shown = converse([*words, "--config", site.write()], [])
    return code, MARKS.sub("", shown)


def join(shown):
    """Return what was shown as one line, its commands without the configuration that was given."""
    return re.sub(r"uidsync --config \S+", "uidsync", " ".join(shown.split()))


@pytest.fixture
def broken_site(site, start, closed_port):
    """Make a site with a firewall in order, one that refuses the key, and one that is not there."""
    good, west = start("firewall"), start("firewall")
    site.use_rows([(f"10.0.0.{n}", f"user{n}") for n in (10, 9, 100, *range(11, 30))])
    site.add_firewall("fw-east", good)
    site.add_firewall("fw-west", west, api_key_file=site.secret("old-key", "q1w2e3r4"))
    site.add_firewall("fw-dead", host="127.0.0.1", port=closed_port, api_key_file=site.secret("dead-key", "q1w2e3r4"))
    site.sync["deadline"] = "20s"
    site.state_dir.mkdir()
    return site


def test_a_run_that_fails_ends_with_what_to_do(broken_site):
    """No log, the table; each failure is a sentence with its command, and the last line says what to run."""
    code, shown = show(broken_site, "sync")
    assert code == 1
    assert not LOG.search(shown)
    sentence = "fw-west refused the API key (Invalid Credential). Get a new one: uidsync keygen fw-west"
    assert sentence in join(shown)
    assert join(shown).count("uidsync keygen fw-west") == 1  # and not as what is next once more
    assert "uidsync check --target fw-dead" in join(shown)
    assert f"uidsync --config {broken_site.place}/uidsync.toml keygen fw-west\n" in shown.replace("\r", "")


def test_the_log_is_for_those_who_ask(broken_site):
    """With -v the log is there; in a pipe it is lines of JSON."""
    assert LOG.search(show(broken_site, "sync", "-v")[1])
    assert broken_site.run("sync").err.startswith("{")


def test_a_dry_run_shows_some_rows_and_says_how_to_see_all(broken_site):
    """Ten rows, sorted by the addresses as numbers; with --all every one."""
    code, shown = show(broken_site, "sync", "--dry-run")
    assert code == 0
    assert re.findall(r"10\.0\.0\.(\d+)", shown) == [str(n) for n in range(9, 19)]
    assert "12 more; `--all` shows all" in shown
    code, shown = show(broken_site, "sync", "--dry-run", "--all")
    assert re.findall(r"10\.0\.0\.(\d+)", shown) == [*(str(n) for n in range(9, 30)), "100"]


def test_check_is_grouped_and_counted(broken_site):
    """Below each part's name its findings, what does not fit below its beginning; the last line counts them."""
    code, shown = show(broken_site, "check")
    lines = shown.rstrip().splitlines()
    assert code == 1
    assert [line for line in lines if re.match(r"[\w-]+$", line)] == [
        "configuration", "source", "fw-east", "fw-west", "fw-dead",
    ]  # fmt: skip
    assert max(len(line) for line in lines if "uidsync --config" not in line) <= WIDTH  # a command stays whole
    assert all(re.match(r"  (green|yellow|red) +\S| {10}(  )?\S|[\w-]+$|$|\d+ red", line) for line in lines), lines
    assert "uidsync keygen fw-west" in join(shown)
    assert re.fullmatch(r"2 red, (\d+ yellow, )?\d+ green; not ready: fw-west, fw-dead", lines[-1])


def test_a_missing_secret_comes_with_its_command(broken_site):
    """Check names the very command that stores each secret that is missing."""
    for target in broken_site.targets:
        target["api_key_file"] = broken_site.place / "nothing" / target["name"]
    findings = broken_site.call("check", "--json").report["findings"]
    advice = {finding["about"]: finding["advice"] for finding in findings if finding["colour"] == "red"}
    assert advice == {name: f"Get a key: uidsync keygen {name}" for name in ("fw-east", "fw-west", "fw-dead")}


def test_check_and_verify_look_at_one_target(broken_site):
    """With --target nothing else is looked at, the database neither."""
    findings = broken_site.call("check", "--target", "fw-east", "--json").report["findings"]
    assert {finding["about"] for finding in findings} == {"configuration", "fw-east"}
    broken_site.call("sync")
    ended = broken_site.call("verify", "--target", "fw-east", "--json")
    assert (ended.code, list(ended.targets)) == (0, ["fw-east"])
    assert broken_site.call("verify", "--target", "fw-dead").code == 6


def test_status_fits_a_terminal(broken_site):
    """Counts and ages stand in a table of 80 columns; below it the moments."""
    show(broken_site, "sync")
    code, shown = show(broken_site, "status")
    table = re.search(r"^ *target .*\n(.*\S.*\n)+", shown, re.MULTILINE)[0]
    assert code == 1
    assert max(map(len, table.splitlines())) <= WIDTH
    assert re.search(r"last run: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ (s|min).* ago\)", shown)
    assert re.search(r"fw-east +22 +0 +0 +0 +\d+ s ago +\d+ s ago +-", shown)
    assert re.search(r"fw-dead +0 +0 +0 +0 +never +never +\d+ s", shown)
    assert re.search(r"fw-dead: behind since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, last success never", shown)


def test_a_name_that_no_target_has_is_corrected(broken_site):
    """The one that was probably meant is named, or all that there are."""
    assert "no target has the name fw-eas; did you mean fw-east?" in broken_site.call("sync", "--target", "fw-eas").err
    told = "there are: fw-dead, fw-east, fw-west"
    assert told in broken_site.call("keygen", "xyz").err


def test_a_source_that_fails_is_told_once(broken_site):
    """No table, one sentence, and what to run."""
    broken_site.source["path"] = broken_site.place / "missing.csv"
    for words in (("sync",), ("sync", "--dry-run"), ("who", "10.0.0.9")):
        code, shown = show(broken_site, *words)
        assert code == 3
        assert shown.count("missing.csv") == 1, shown
        assert "{" not in shown
        assert words[0] == "who" or join(shown).endswith("Next: uidsync check")


def test_a_report_that_is_none_is_told(broken_site):
    """What is damaged is not taken for what is missing."""
    broken_site.call("sync")
    broken_site.state_dir.joinpath("last-run.json").write_text("{")
    code, shown = show(broken_site, "status")
    assert code == 1
    assert re.search(r"warning: .*last-run.json: is not the report of a run; the next run replaces it", join(shown))


def test_what_was_withdrawn_is_withdrawn_once(broken_site):
    """The second time the table says since which login, for all targets together, and the sentence how to undo it."""
    broken_site.targets[1:] = [{**broken_site.targets[0], "name": "fw-north"}]
    broken_site.call("sync")
    code, shown = show(broken_site, "withdraw", "10.0.0.9", "user10")
    assert code == 0
    assert "Withdrawn: 10.0.0.9 user10. Undo: uidsync withdraw --undo 10.0.0.9 user10" in join(shown)
    code, shown = show(broken_site, "withdraw", "10.0.0.9")
    assert code == 1
    assert "fw-east, fw-north: held back" in shown
    assert re.search(r"10\.0\.0\.9 +user9 +withdrawn: the login of \d{4}-", shown)
    assert "was withdrawn before" in shown
    assert "uidsync withdraw --undo" in join(shown)
    code, shown = show(broken_site, "withdraw", "nosuch")
    assert "has sent no mapping of nosuch" in join(shown)
    assert "write a name as a whole" in join(shown)
    code, shown = show(broken_site, "withdraw", "--dry-run", "10.0.0.100")
    assert "1 logout, 0 logins due" in shown
    code, shown = show(broken_site, "withdraw", "--undo", "user10")
    assert "fw-east, fw-north: no longer held back" in shown
    assert "2 withdrawals are undone" in join(shown)


def test_a_comparison_ends_with_what_to_do(broken_site):
    """What differs leads to a repair, and a firewall that could not be read to a check; zeros are dashes."""
    broken_site.call("sync")
    code, shown = show(broken_site, "verify")
    assert code == 6
    assert join(shown).endswith("Next: uidsync check --target fw-west --target fw-dead")
    assert re.search(r"fw-east +same +-", shown)
    code, shown = show(broken_site, "verify", "--target", "fw-dead")
    assert (code, join(shown).count("uidsync check --target fw-dead")) == (6, 1)
    broken_site.targets[1:] = []
    broken_site.use_rows([(f"10.0.1.{n}", f"user{n}") for n in range(9)])
    code, shown = show(broken_site, "verify")
    assert code == 1
    assert join(shown).endswith("Next: uidsync verify --repair")


def test_long_sentences_break_between_words(broken_site):
    """Lines that go on begin below the text of their first line, and no word is cut."""
    broken_site.use_rows([("10.0.0.9", "ada")])
    broken_site.targets[1:] = []
    _, shown = show(broken_site, "explain", "10.0.0.9")
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert re.search(r"^  should have  .*\n", shown, re.MULTILINE)
    _, shown = show(broken_site, "explain", "10.0.0.77")
    assert "the mapping expires" not in join(shown)


def test_a_run_without_a_row_that_counts_leads_to_the_table(broken_site):
    """No plan was refused, so that looking at one helps nobody; the reasons are words."""
    broken_site.use_rows([("127.0.0.1", "ada")])
    code, shown = show(broken_site, "sync")
    assert code == 4
    assert "skipped rows: address that no user can have (1)" in join(shown)
    assert "Next: uidsync check, which shows what is wrong" in join(shown)


def test_a_repair_says_how_much_it_repaired(site, firewall):
    """Whoever repairs at once has not seen what differed: the table says that nothing does, a line how much did."""
    site.add_firewall("fw", firewall)
    site.use_rows([(f"10.0.0.{number}", f"user{number}") for number in range(1, 6)])
    assert site.call("sync").code == 0
    firewall.do("forget", ip="10.0.0.1")
    firewall.do("forget", ip="10.0.0.2")
    code, shown = show(site, "verify", "--repair")
    assert code == 0
    assert "fw: 2 differences repaired" in join(shown)
    assert "repaired" not in show(site, "verify")[1]


def test_a_run_that_was_refused_in_part_does_not_claim_that_nothing_was_sent(site, firewall):
    """Logins go out although the logouts are refused: the reason is told once, and the way on is the plan."""
    site.add_firewall("fw", firewall)
    site.use_rows([(f"10.0.0.{number}", f"user{number}", 60) for number in range(1, 31)])
    assert site.call("sync").code == 0
    site.use_rows([("10.0.1.1", "new"), *((f"10.0.0.{number}", "null", 30) for number in range(1, 31))])
    code, shown = show(site, "sync", "--dry-run")
    assert code == 4
    assert join(shown).count("30 logouts due") == 1
    assert join(shown).endswith("Next: if the plan is right, uidsync sync --force")
    code, shown = show(site, "sync")
    assert code == 4
    assert firewall.mappings()["10.0.1.1"] == "new"
    assert "Nothing was sent" not in shown
    assert join(shown).count("30 logouts due") == 1
    assert join(shown).endswith("Next: uidsync sync --dry-run; if the plan is right, uidsync sync --force")


def test_a_withdrawal_of_tags_says_how_to_undo_that_alone(site, firewall):
    """What was withdrawn before, mappings included, stays withdrawn by the command that is advised."""
    site.add_firewall("fw", firewall)
    site.tables = {"roles": {"user_tags": "all"}}
    site.use_rows([("10.0.0.1", "ada,STAFF")])
    assert site.call("sync").code == 0
    code, shown = show(site, "withdraw", "--all", "--tags", "--yes")
    assert code == 0
    assert "Tags withdrawn: everybody. Undo: uidsync withdraw --undo --tags" in join(shown)
