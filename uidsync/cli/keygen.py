"""`uidsync keygen`."""

from __future__ import annotations

from typing import Annotated

import typer

from uidsync.cli.app import Options, command, complete_targets, usage
from uidsync.cli.secret import raise_if_unwritable, store
from uidsync.cli.wiring import Site, TargetMaker
from uidsync.config.credentials import CREDENTIALS
from uidsync.config.models import FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.wire.client import OLD_RELEASE
from uidsync.panos.wire.errors import PanosError, Unauthorized, Unreachable
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, make_keygen, read_key


@command
def keygen(
    options: Options, target: Annotated[str, usage("TARGET", "A firewall's name.", autocompletion=complete_targets)]
) -> None:
    """Ask for an administrator's name and password, get an API key from the firewall, and store it.

    The key is written to the target's `api_key_file`, or to /etc/uidsync/credentials/TARGET-api-key. Neither the
    password nor the key is ever shown.

    Examples:

        uidsync keygen fw-east
        uidsync --config new.toml keygen fw-east
    """
    site = Site.open(options, None, [target])
    (chosen,) = site.targets
    if not isinstance(chosen, FirewallConfig):
        problem = f"{target}: only firewalls have API keys; agents use a client certificate"
        raise ConfigError(str(options.file), [problem])
    file = chosen.api_key_file or CREDENTIALS / f"{target}-api-key"
    raise_if_unwritable(file, str(options.file))
    user = typer.prompt("Administrator", err=True)
    password = typer.prompt("Password", hide_input=True, err=True)
    maker = site.make_targets(attempts=1)
    try:
        key = ask_for_key(maker, chosen, user, password)
    except Unauthorized as error:
        raise Unauthorized(f"{target} does not accept this name and password: {error}") from None
    store(file, key + "\n", str(options.file))
    print(f"stored the API key of {target} in {file}")
    for client in maker.make_clients(chosen, key).values():
        try:
            client.call(SYSTEM_INFO)
        except PanosError as error:  # what else may be wrong is for `check`
            if isinstance(error, Unauthorized) and not error.is_denied:
                site.log.warning("key.refused", target=target, message=str(error), hint=OLD_RELEASE)
        finally:
            client.close()


def ask_for_key(maker: TargetMaker, target: FirewallConfig, user: str, password: str) -> str:
    """Ask a firewall for a key; of a pair the first member that can be reached, for they share administrators."""
    failure: PanosError = Unreachable("has no host")
    for client in maker.make_clients(target, "").values():
        try:
            return read_key(client.call(make_keygen(user, password)))
        except Unreachable as error:
            failure = error
        finally:
            client.close()
    raise failure
