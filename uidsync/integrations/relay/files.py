"""Tells what is wrong with the files that the relay's table names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from uidsync.integrations.relay.config import RelayConfig
from uidsync.integrations.relay.tls import CannotStart, TlsFiles, find_ca_problem, make_server_context


def find_problems(table: RelayConfig, keys: Mapping[str, Path]) -> Iterator[str]:
    """Find what is wrong with certificates. `keys` are the files of private keys that are there, by name."""
    if table.ca_file and (problem := find_ca_problem(table.ca_file)):
        yield f"relay: ca_file {table.ca_file} {problem}"
    if table.certificate_file and (key := keys.get("relay-tls-key")):
        try:
            make_server_context(TlsFiles(table.certificate_file, key, table.client_ca_file))
        except CannotStart as error:
            yield f"relay: {error}; {error.advice}"
