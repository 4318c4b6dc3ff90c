"""The names by which somebody sets what a hint speaks of: keys of `[relay]`, or the original's variables.

Pure: no I/O.
"""

from __future__ import annotations

from msgspec import Struct


class Names(Struct, frozen=True):
    """How hints name what may be wrong, and what to do."""

    fqdn: str = "relay.fqdn"
    listen: str = "relay.listen"
    api_key: str = "the API key (uidsync secret set relay-api-key)"
    api_key_id: str = "relay.api_key_id"
    kind: str = "relay.key_kind"
    psk: str = "uidsync secret set relay-psk"
    ca_file: str = "relay.ca_file"
    proxy: str = "relay.proxy"
    tls: str = "set relay.certificate_file"
    state_dir: str = "sync.state_dir"
    start: str = "systemctl start uidsync-relay"


BY_TABLE = Names()
BY_ENVIRONMENT = Names(
    fqdn="FQDN",
    listen="PORT",
    api_key="API_KEY",
    api_key_id="API_KEY_ID",
    kind="that the key is of the kind Advanced",
    psk="set PSK",
    ca_file="REQUESTS_CA_BUNDLE",
    proxy="HTTPS_PROXY",
    tls="put a proxy with TLS in front, or use the table [relay]",
    state_dir="STATE_DIRECTORY",
    start="start it: uidsync relay",
)
