"""Writes metrics in Prometheus's text format, version 0.0.4. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, float]


def write_family(name: str, kind: Literal["gauge", "counter"], meaning: str, samples: Iterable[Sample]) -> str:
    """Return the lines of a metric; nothing without samples."""
    lines = [f"{name}{_write_labels(labels)} {_write_value(value)}\n" for labels, value in samples]
    return "".join([f"# HELP {name} {_escape(meaning)}\n# TYPE {name} {kind}\n", *lines]) if lines else ""


def _write_labels(labels: Labels) -> str:
    pairs = [name + '="' + _escape(value).replace('"', r"\"") + '"' for name, value in labels]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _write_value(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _escape(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # half of a character, which JSON may hold, is none
    return text.replace("\\", r"\\").replace("\n", r"\n")
