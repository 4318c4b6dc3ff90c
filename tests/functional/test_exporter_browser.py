"""The status page in a real browser: on a phone and a desk, in light and dark, without scripts or help from elsewhere.

Chromium is a big package: `make test-browser` installs it and looks. UIDSYNC_SCREENSHOTS names a folder for pictures.
"""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser import running_browser
from tests.functional.conftest import Site
from tests.functional.test_exporter import ROWS, TUNNELS, running
from tests.safeconnect import free_port
from uidsync.simulator.process import Simulator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif("UIDSYNC_BROWSER" not in os.environ, reason="a browser is a big package: `make test-browser`"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: `make test-browser` does that"),
]
SCREENS = [(320, False), (390, False), (390, True), (768, False), (1280, False), (1280, True)]
LONG = "partner-with-the-longest-name-that-a-firewall-allows-for-a-tunnel"

# What reaches over the right edge of the screen, and texts that are cut off in their box.
TOO_WIDE = """
[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5
    || e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX != "visible").map(e => e.outerHTML)
"""
# Moments and numbers with units that are broken between two lines.
BROKEN = """
[...document.querySelectorAll("time .whole, dd .whole")].filter(e => e.getClientRects().length > 1)
    .map(e => e.innerText)
"""
SMALLEST = """
Math.min(...[...document.querySelectorAll("body *")].map(e => parseFloat(getComputedStyle(e).fontSize)))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Run an exporter whose page has something of everything, and return where it is."""
    site = Site(tmp_path_factory.mktemp("page"))
    site.use_rows(ROWS)
    with ExitStack() as stack:
        well = stack.enter_context(Simulator.start("firewall"))
        pair = stack.enter_context(Simulator.start("firewall", pair=True))
        site.add_firewall("fw-well", well)
        site.add_pair("fw-pair", pair)
        site.add_firewall("fw-dead", host="127.0.0.1", port=free_port(), api_key_file=site.targets[0]["api_key_file"])
        branches = [{"name": f"branch-{number}"} for number in range(20)]
        well.do(
            "tunnels", tunnels=[*TUNNELS, {"name": LONG, "state": "inactive", "peer_ip": "2001:db8::" + "1:" * 5 + "1"}]
        )
        pair.do("tunnels", tunnels=branches)
        pair.do("tunnels", unit="peer", tunnels=branches)
        site.run("sync")
        with running(site) as exporter:
            yield f"http://127.0.0.1:{exporter.port}/"


@pytest.fixture(scope="module")
def browser():
    """Run a browser."""
    with running_browser(CHROMIUM) as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path):
    """Return where pictures of the page go."""
    place = Path(os.environ.get("UIDSYNC_SCREENSHOTS", tmp_path))
    place.mkdir(exist_ok=True)
    return place


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_the_page_fits(browser, page, pictures, width, dark):
    """Nothing has to be scrolled sideways or is cut off, with all that opens open, and no text is small."""
    browser.open(page, width=width, dark=dark)
    browser.save_screenshot(pictures / f"{width}{'-dark' if dark else ''}.png")
    browser.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(TOO_WIDE) == []
    assert browser.evaluate(BROKEN) == []
    assert browser.evaluate(SMALLEST) >= 13
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") != dark


def test_the_page_needs_nothing_from_elsewhere(browser, page):
    """The browser asks for the page alone, and has nothing to complain of; its style is in force."""
    browser.open(page)
    assert [url for url in browser.requests if not url.endswith("/favicon.ico")] == [page]
    assert [words for words in browser.complaints if "favicon" not in words and "404" not in words] == []
    assert browser.evaluate("getComputedStyle(document.querySelector('article')).borderTopStyle") == "solid"


def test_the_page_works_without_scripts(browser, page):
    """With scripts switched off the page is the same, and has none."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    assert browser.evaluate("document.scripts.length") == 0
    assert "fw-dead: behind since" in browser.evaluate("document.body.innerText")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_what_is_up_opens(browser, page):
    """What is up stands behind a line that a click opens."""
    browser.open(page)
    find = "[...document.querySelectorAll('summary')].find(e => e.innerText.includes('20 up'))"
    assert not browser.evaluate(f"{find}.nextElementSibling.checkVisibility()")
    browser.evaluate(f"{find}.click()")
    assert browser.evaluate(f"{find}.nextElementSibling.checkVisibility()")


def test_the_policy_is_in_force(browser, page):
    """A style or a picture that somebody smuggled in would not be taken."""
    browser.open(page)
    browser.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<b id=odd style=color:lime>x</b><img src=/metrics>')"
    )
    assert browser.evaluate("getComputedStyle(document.getElementById('odd')).color") != "rgb(0, 255, 0)"
    refused = [words for words in browser.complaints if "Content Security Policy" in words]
    assert any("inline style" in words for words in refused)
    assert any("/metrics" in words for words in refused)
