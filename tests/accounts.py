"""Calls the command as another account: in a fork that has imported all of it, for others may not read this Python."""

import encodings
import importlib
import os
import pkgutil

import pytest

import uidsync
from tests.command import call
from tests.forks import call_in_fork

ORDINARY, OWNER = 65534, 4711  # nobody, and an account that has no name here
ELSEWHERE = {"encodings.mbcs", "encodings.oem"}  # of another system

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to go on as others")


def call_as(uid, *calls):
    """Call the command as an account, once with each of these lists of words; return what each call came to."""
    called, _ = call_in_fork(_call, uid, calls)
    return called


def _call(uid, calls):
    for package in (encodings, uidsync):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__") and module.name not in ELSEWHERE:
                importlib.import_module(module.name)
    os.umask(0o022)
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    return [call(*words) for words in calls]
