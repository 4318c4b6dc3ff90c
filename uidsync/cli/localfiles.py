"""Looks at the files that the configuration names: whether they are there and hold what they should. No network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from uidsync.cli.rights import list_secrets
from uidsync.cli.words import advise_secret
from uidsync.config.credentials import SecretError, SecretFiles
from uidsync.config.models import AgentConfig, Config, MySQLConfig, TargetConfig
from uidsync.panos.wire.errors import PanosError
from uidsync.panos.wire.tls import Trust, make_context

PRIVATE_KEYS = ("-client-key", "-ssh-key")  # whole files, where other secrets are a line


def list_problems(config: Config, secrets: SecretFiles) -> list[str]:
    """List what is wrong with the files of the source and of every target, a line for each."""
    source = config.source
    listed = []
    if isinstance(source, MySQLConfig):
        names = [(source.password_file, "source-password")]
        listed += [f"source: {words}" for words in _judge(Trust(source.ca_file), names, secrets)]
    for target in config.target:
        words = _judge_target(config, target, secrets)
        listed += [f'target "{target.name}": {each}' for each in words]
    return listed


def _judge_target(config: Config, target: TargetConfig, secrets: SecretFiles) -> Iterator[str]:
    yield from _judge(Trust(target.ca_file), list_secrets(config, target), secrets)
    if isinstance(target, AgentConfig) and target.client_cert_file:
        try:
            key = secrets.find(target.client_key_file, f"{target.name}-client-key")
        except SecretError:
            return  # told above
        try:
            make_context(Trust(verify=False), (target.client_cert_file, key))
        except PanosError as error:
            yield str(error)


def _judge(trust: Trust, names: Iterable[tuple[Path | None, str]], secrets: SecretFiles) -> Iterator[str]:
    """Tell of a CA file that cannot be used, and of secrets any of which would do, if none is there."""
    try:
        make_context(trust)
    except PanosError as error:
        yield str(error)
    missing = []
    for explicit, name in names:
        try:
            (secrets.find if name.endswith(PRIVATE_KEYS) else secrets.read)(explicit, name)
        except SecretError as error:
            missing.append(f"{error}; {advise_secret(name)}")
        else:
            return
    yield from missing[:1]
