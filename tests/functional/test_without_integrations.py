"""The core without its neighbours: with integrations/ deleted, every module loads and the main job does its work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import uidsync
from tests.limits import PATIENCE
from uidsync.simulator.process import Simulator

ROOT = Path(uidsync.__file__).parents[1]
IMPORT_ALL = """
import importlib, pkgutil, uidsync
assert uidsync.__file__.startswith({place!r}), uidsync.__file__
for module in pkgutil.walk_packages(uidsync.__path__, "uidsync."):
    if not module.name.endswith("__main__") and not module.name.startswith("uidsync.cli.neighbours."):
        importlib.import_module(module.name)
"""


# An editable installation would find what is deleted in its own place.
FORGET_THE_REST = """
import sys
sys.meta_path[:] = [each for each in sys.meta_path if not getattr(each, "__module__", "").startswith("__editable")]
"""


@pytest.fixture
def bare(tmp_path):
    """Copy the package without integrations/, and return what runs Python on the copy."""
    shutil.copytree(
        ROOT / "uidsync", tmp_path / "uidsync", ignore=shutil.ignore_patterns("integrations", "__pycache__")
    )
    shutil.copytree(ROOT / "sql", tmp_path / "uidsync/sql")
    (tmp_path / "sitecustomize.py").write_text(FORGET_THE_REST)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    return run


def test_every_module_loads_without_neighbours(bare, tmp_path):
    """No module but those of their commands imports an integration when it is loaded."""
    ended = bare("-c", IMPORT_ALL.format(place=str(tmp_path)))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_neighbour_that_is_deleted_has_no_command(bare, tmp_path):
    """The list of commands shows those that are there, and another is told to be none."""
    (tmp_path / "uidsync/integrations/tunnels").mkdir(parents=True)
    listed = bare("-m", "uidsync", "--help")
    assert (listed.returncode, "tunnels" in listed.stdout, "exporter" in listed.stdout) == (0, True, False)
    ended = bare("-m", "uidsync", "exporter")
    assert (ended.returncode, "No such command 'exporter'" in ended.stderr) == (2, True)


def test_the_main_job_works_without_neighbours(bare, site):
    """A run delivers as ever, with the tables of integrations in the configuration."""
    with Simulator.start("firewall") as firewall:
        site.use_rows([("10.0.0.1", "jdoe01"), ("10.0.0.2", "asmith")])
        site.add_firewall("fw", firewall)
        site.tables = {"tunnels": {"require_all": ["*"]}}
        site.state_dir.mkdir()
        ended = bare("-m", "uidsync", "sync", "--config", site.write())
        assert ended.returncode == 0, ended.stderr
        assert firewall.mappings() == {"10.0.0.1": "jdoe01", "10.0.0.2": "asmith"}
