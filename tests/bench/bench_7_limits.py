"""How long things may take at most: the tests that know it, with their limits, which `make test` holds nobody to."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


HAS_LIMITS = re.compile(r"^from tests\.limits import .*(within|raise_if_late)", re.MULTILINE)


def test_everything_ends_in_time():
    """Deadlines, time limits and signals end what they are to end, soon after."""
    files = [file for file in sorted(TESTS.rglob("test_*.py")) if HAS_LIMITS.search(file.read_text("utf-8"))]
    assert len(files) > 10
    command = [sys.executable, "-m", "pytest", "-q", *files]
    held = os.environ | {"UIDSYNC_LIMITS": "1"}
    assert subprocess.run(command, cwd=TESTS.parent, env=held, check=False).returncode == 0
