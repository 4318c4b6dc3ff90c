"""What a relay is told, by its table or by the original's environment variables, and what is made of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timezone, tzinfo
from pathlib import Path
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from uidsync.config.values import SecretError
from uidsync.integrations.relay.config import RelayConfig, find_ca_variable, read_environment
from uidsync.integrations.relay.names import BY_ENVIRONMENT, BY_TABLE, Names
from uidsync.integrations.relay.service import NOBODY, People, Plan, make_plan
from uidsync.integrations.relay.tenant import KeyUnreadable, Tenant, make_tenant
from uidsync.integrations.relay.tls import CannotStart

Found = TypeVar("Found")
ENVIRONMENT = "environment"  # in the place of the file's name


class Secrets(Protocol):
    """Finds secrets, in the file that the table names or by their names. Both raise SecretError."""

    def find(self, explicit: Path | None, name: str) -> Path:
        """Return the file of a secret."""
        ...

    def read(self, explicit: Path | None, name: str) -> str:
        """Return a secret."""
        ...


class Given(Struct, frozen=True):
    """What a relay is told. With an `environment`, that is where the original's secrets are."""

    file: str
    table: RelayConfig
    zone: tzinfo
    state_dir: Path
    secrets: Secrets
    names: Names
    environment: Mapping[str, str] | None = None

    def read_psk(self) -> str:
        """Return what the Authorization header must be; empty if nothing is asked for. Raises CannotStart."""
        if self.environment is not None:
            return self.environment.get("PSK", "").strip()
        if self.table.psk_file is None:
            try:
                self.secrets.find(None, "relay-psk")
            except SecretError:
                return ""
        return self._get("relay-psk", lambda: self.secrets.read(self.table.psk_file, "relay-psk"))

    def find_key(self) -> Path | None:
        """Return the private key of the server's certificate, None without TLS. Raises CannotStart."""
        if self.table.certificate_file is None:
            return None
        return self._get("relay-tls-key", lambda: self.secrets.find(self.table.key_file, "relay-tls-key"))

    def read_api_key(self) -> str:
        """Return the API key. Raises KeyUnreadable."""
        if self.environment is not None:
            return self.environment.get("API_KEY", "").strip()
        try:
            return self.secrets.read(self.table.api_key_file, "relay-api-key")
        except SecretError as error:
            raise KeyUnreadable(str(error), self._find_command("relay-api-key")) from None

    def find_missing(self) -> list[str]:
        """Tell which keys are missing without which there is no tenant."""
        return [f"relay.{name}: missing" for name in ("fqdn", "api_key_id") if not getattr(self.table, name)]

    def make_tenant(self) -> Tenant:
        """Make the tenant."""
        return make_tenant(self.table, self.names, self.read_api_key)

    def make_plan(self, people: People = NOBODY) -> Plan:
        """Make the plan of what was given. Raises CannotStart."""
        return make_plan(self.table, self.zone, self.state_dir, self.read_psk(), self.find_key(), people)

    def _find_command(self, name: str) -> str:
        return next(secret.command for secret in self.table.find_secrets() if secret.name == name)

    def _get(self, name: str, get: Callable[[], Found]) -> Found:
        try:
            return get()
        except SecretError as error:
            raise CannotStart(str(error), self._find_command(name)) from None


def by_environment(environment: Mapping[str, str], secrets: Secrets, state_dir: Path) -> Given:
    """Read the original's variables. Raises ValueError with every problem, one a line."""
    table, ahead = read_environment(environment)
    names = replace(BY_ENVIRONMENT, ca_file=find_ca_variable(environment)[0])
    return Given(ENVIRONMENT, table, timezone(ahead), state_dir, secrets, names, environment)


def by_table(file: str, table: RelayConfig, environment: Mapping[str, str], secrets: Secrets, state_dir: Path) -> Given:
    """Take what a table says, but for the file of CAs: that may be the environment's."""
    names, (ca_name, ca_file) = BY_TABLE, find_ca_variable(environment)
    if table.ca_file is None and ca_file:
        table, names = replace(table, ca_file=Path(ca_file)), replace(names, ca_file=ca_name)
    return Given(file, table, ZoneInfo(table.time_zone), state_dir, secrets, names)
