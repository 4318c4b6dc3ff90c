"""Drives a headless Chromium over its debugging pipe: what it shows, what it asks for, what it complains of."""

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time
from contextlib import contextmanager

DEADLINE = 30  # seconds for any one answer; a cold start on a loaded machine takes some


class Browser:
    """One page of a running Chromium; `events` are what it told unasked."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._last = 0
        self._session = {}
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Log", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Give a command and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._last:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        ends_at = time.monotonic() + DEADLINE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(ends_at - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            piece = os.read(self._from, 2**16)
            assert piece, "the browser has ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url, *, width=1280, height=800, dark=False):
        """Open a page on a screen of this size, in CSS pixels, and wait until it is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def evaluate(self, script):
        """Return what a script comes to; no policy of the page forbids it."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def save_screenshot(self, file):
        """Save all of the page as a picture."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    @property
    def requests(self):
        """The addresses that the page asked for, its own first."""
        told = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in told]

    @property
    def complaints(self):
        """What the browser complains of: policies broken, files missing."""
        return [event["params"]["entry"]["text"] for event in self.events if event["method"] == "Log.entryAdded"]


@contextmanager
def running_browser(program):
    """Run a Chromium with an empty profile."""
    with tempfile.TemporaryDirectory(prefix="uidsync-browser-", ignore_cleanup_errors=True) as profile:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # The browser's ends are descriptors 3 and 4; what is copied there must not lie there already.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
        command = [
            program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu",
            "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]  # fmt: skip
        process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}', *command],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        for end in (theirs_in, theirs_out, *theirs):
            os.close(end)
        try:
            yield Browser(ours_out, ours_in)
        finally:
            os.close(ours_in)
            os.close(ours_out)  # the end of its pipe is the end of it
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
