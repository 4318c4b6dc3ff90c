"""The benches run: two of them, small and once, and nobody judges how long they take."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.bench.conftest import WIDTH, draw

BENCHES = ("bench_1_full.py", "bench_12_years.py")


def test_the_benches_print_their_table():
    """Each bench ends, and leaves its lines in the table."""
    place = Path(__file__).parent
    small = os.environ | {"UIDSYNC_BENCH_SCALE": "0.001", "UIDSYNC_BENCH_TIMES": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "python_files=bench_*.py", "-p", "no:cacheprovider"]
    files = [str(place / name) for name in BENCHES]
    ended = subprocess.run(
        [*command, *files], cwd=place.parents[1], env=small, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "At 0.001 of the size." in ended.stdout
    assert set(re.findall(r"^\| (\d+) \|", ended.stdout, re.MULTILINE)) == {"1", "12"}


def test_a_picture_has_a_bar_for_each_value():
    """The longest bar of a column stands for its largest value; the others are as long as they are large."""
    series = {"2": {"time": 1.0, "memory": 80e6}, "16": {"time": 4.0, "memory": 40e6}}
    drawn = draw("targets", series, {"time": "s", "memory": "MB"}).splitlines()
    assert drawn[0] == "targets"
    assert [[len(bar) for bar in re.findall("#+", line)] for line in drawn[1:]] == [
        [round(WIDTH / 4), WIDTH],
        [WIDTH, WIDTH // 2],
    ]
