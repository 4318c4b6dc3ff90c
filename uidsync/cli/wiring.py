"""Makes the parts of a job from the configuration: the source, the targets, the places of secrets and state."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import Options, import_without
from uidsync.cli.rights import Needs, become_owner, raise_if_locked_out
from uidsync.config.credentials import SecretFiles, advise_closing
from uidsync.config.models import STATE_DIR, AgentConfig, Config, CSVConfig, FirewallConfig, MySQLConfig, TargetConfig
from uidsync.config.reader import ConfigError
from uidsync.config.values import SecretError
from uidsync.deadline import Deadline
from uidsync.deliver.recorder import Progress
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.places import LedgerCopy, Ledgers, lock
from uidsync.panos.userid.agent import Agent
from uidsync.panos.userid.firewall import Firewall, make_url
from uidsync.panos.userid.pair import Pair
from uidsync.panos.wire.client import CALLS_IN_FLIGHT, Client
from uidsync.panos.wire.errors import Unauthorized
from uidsync.panos.wire.retries import ATTEMPTS, Bounds, Patience, RetryPolicy
from uidsync.panos.wire.tls import Trust
from uidsync.refusal import suggest
from uidsync.report.output import TEXTFILE_MODE, write_atomically
from uidsync.source import Source, SourceError
from uidsync.standby.lock import Turn, name_lock
from uidsync.sync import Parts

LONGEST_WAIT = 10.0  # seconds for the other host to end its run, which seldom takes longer

Secret = TypeVar("Secret")


def make_secret_files(log: FilteringBoundLogger) -> SecretFiles:
    """Make the search for secrets; one that others can read is warned of."""
    return SecretFiles(
        os.environ,
        lambda file: log.warning("secret.exposed", file=str(file), hint=f"others can use it: {advise_closing(file)}"),
    )


class TargetMaker:
    """Makes targets, and sees to it that those on one host share its calls in flight."""

    def __init__(
        self, secrets: SecretFiles, log: FilteringBoundLogger, deadline: Deadline, attempts: int = ATTEMPTS
    ) -> None:
        self._secrets = secrets
        self._log = log
        self._deadline = deadline
        self._attempts = attempts
        self._in_flight: dict[tuple[str, int], threading.Semaphore] = {}
        self._unverified: set[str] = set()  # targets that were warned of

    def __call__(self, target: TargetConfig, *, is_doubtful: bool = False) -> Firewall | Agent:
        """Make one target. Its secrets are read when it is used first, and one that cannot be is its own failure.

        One that `is_doubtful`, for it failed before, gets a single attempt until it answers.
        """
        if isinstance(target, FirewallConfig):
            return self.make_firewall(target, is_doubtful=is_doubtful)
        return self.make_agent(target, is_doubtful=is_doubtful)

    def make_firewall(self, target: FirewallConfig, *, is_doubtful: bool = False) -> Firewall:
        """Make a firewall."""
        patience = self._make_patience(target, is_doubtful=is_doubtful)
        members = self.make_clients(target, patience=patience)
        seconds = target.request_timeout.total_seconds()
        caller = members.get(target.host or "") or Pair(members, request_timeout=seconds, patience=patience)
        return Firewall(caller, vsys=target.vsys, serial=target.serial)

    def find_login(self, name: str) -> tuple[Path | None, str]:
        """Find a private key's file, or a password, or both, for a firewall's command line. Raises Unauthorized."""
        missing = []

        def look_for(get: Callable[[Path | None, str], Secret], secret: str) -> Secret | None:
            try:
                return get(None, secret)
            except SecretError as error:
                missing.append(str(error))
                return None

        key, password = (
            look_for(self._secrets.find, f"{name}-ssh-key"),
            look_for(self._secrets.read, f"{name}-ssh-password"),
        )
        if not key and not password:
            raise Unauthorized("; ".join(missing))
        return key, password or ""

    def make_clients(
        self, target: FirewallConfig, key: str | None = None, patience: Patience | None = None
    ) -> dict[str, Client]:
        """Make the client of a firewall's API, or one for each member of a pair; with an empty key it can ask for one.

        Without a `key` the stored one is read when it is needed first. They share the patience with their target.
        """
        trust, patience = self._make_trust(target), patience or self._make_patience(target)

        def read_key() -> str:
            return self._secrets.read(target.api_key_file, f"{target.name}-api-key") if key is None else key

        return {
            host: Client(
                make_url(host, target.port),
                trust=trust,
                read_key=_translated(read_key, Unauthorized),
                bounds=self._make_bounds(target, host, patience),
            )
            for host in ([target.host] if target.host else target.hosts)
        }

    def make_agent(self, target: AgentConfig, *, is_doubtful: bool = False) -> Agent:
        """Make a User-ID agent."""

        def find_certificate() -> tuple[Path, Path] | None:
            if target.client_cert_file is None:
                return None
            return target.client_cert_file, self._secrets.find(target.client_key_file, f"{target.name}-client-key")

        return Agent(
            target.host or "",
            target.port,
            trust=self._make_trust(target),
            find_certificate=_translated(find_certificate, Unauthorized),
            framing=target.framing,
            send_timeout=target.send_timeout,
            bounds=self._make_bounds(target, target.host or "", self._make_patience(target, is_doubtful=is_doubtful)),
        )

    def _make_trust(self, target: TargetConfig) -> Trust:
        if not target.verify_tls and target.name not in self._unverified:
            self._unverified.add(target.name)
            hint = "verify_tls = false: anyone can pose as this target"
            self._log.warning("target.unverified", target=target.name, hint=hint)
        return Trust(target.ca_file, target.fingerprint_sha256, target.verify_tls)

    def _make_patience(self, target: TargetConfig, *, is_doubtful: bool = False) -> Patience:
        policy = RetryPolicy(self._attempts, 1 if is_doubtful else None, seconds_left=self._deadline.seconds_left)
        return Patience(policy, self._log.bind(target=target.name))

    def _make_bounds(self, target: TargetConfig, host: str, patience: Patience) -> Bounds:
        slots = self._in_flight.setdefault((host, target.port), threading.Semaphore(CALLS_IN_FLIGHT))
        return Bounds(target.request_timeout.total_seconds(), patience, slots)


def _translated(read: Callable[[], Secret], failure: type[Exception]) -> Callable[[], Secret]:
    """Make a secret that cannot be read the failure of the one who needs it."""

    def read_or_fail() -> Secret:
        try:
            return read()
        except SecretError as error:
            raise failure(str(error)) from None

    return read_or_fail


def find_state_dir(configured: Path | None = None) -> Path:
    """Return where state is kept: as configured, as systemd says, or the default."""
    return configured or Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or STATE_DIR)


class Site:
    """What a command works with: a configuration, and the targets that are meant."""

    def __init__(
        self,
        config: Config,
        file: Path,
        names: Sequence[str] | None = None,
        log: FilteringBoundLogger | None = None,
        secrets: SecretFiles | None = None,
    ) -> None:
        """Choose the targets of these names, or all. Raises ConfigError for a name that no target has."""
        self.log: FilteringBoundLogger = log or structlog.get_logger()
        self.file, self.config = file, config
        known = sorted(target.name for target in config.target)
        if unknown := [name for name in names or () if name not in known]:
            problems = [f"no target has the name {name}; {suggest(name, known)}" for name in unknown]
            raise ConfigError(str(file), problems)
        self.targets = tuple(target for target in config.target if not names or target.name in names)
        self.firewalls = [target for target in self.targets if isinstance(target, FirewallConfig)]
        self._is_all = not names
        self.state_dir = find_state_dir(config.sync.state_dir)
        self.deadline = Deadline(config.sync.deadline.total_seconds())
        self.secrets = secrets or make_secret_files(self.log)

    @classmethod
    def open(
        cls,
        options: Options,
        needs: Needs | None = "read",
        names: Sequence[str] | None = None,
        log: FilteringBoundLogger | None = None,
    ) -> Site:
        """Read the configuration, and give up what rights are not needed; None keeps them all. Raises ConfigError."""
        site = cls(options.read_config(), options.file, names, log)
        if needs:
            become_owner(site.state_dir, needs)
        return site

    def need_firewalls(self, what: str) -> list[FirewallConfig]:
        """Return the firewalls that are meant. Raises ConfigError for agents, which have no such thing."""
        others = [] if self._is_all else [target for target in self.targets if target not in self.firewalls]
        problems = [f"{target.name}: agents have no {what}" for target in others]
        if not (problems or self.firewalls):
            problems = [f"target: there is no firewall, and agents have no {what}"]
        if problems:
            raise ConfigError(str(self.file), problems)
        return self.firewalls

    def write_metrics(self, file: Path, text: str) -> str:
        """Write metrics for node_exporter, and tell why that did not work."""
        try:
            write_atomically(file, text, TEXTFILE_MODE)
        except OSError as error:
            hint = "is the directory there, and may the service write to it (ReadWritePaths=)?"
            self.log.warning("textfile.unwritten", file=str(file), message=error.strerror, hint=hint)
            return f"textfile.unwritten: {file}: {error.strerror}"
        return ""

    def make_source(self) -> Source:
        """Make the source of login events."""
        # Inside the function: a run needs one of the two.
        source = self.config.source
        if isinstance(source, CSVConfig):
            from uidsync.source.csvfile import CSVSource  # noqa: PLC0415

            return CSVSource(source.path)
        import_without("pymysql", "cryptography")  # which few logins need: see `mysql_login`
        from uidsync.source.mysql import MySQLSource  # noqa: PLC0415
        from uidsync.source.mysql_login import Login  # noqa: PLC0415

        login = Login(
            (source.host,) if source.host else source.hosts,
            source.port,
            source.unix_socket,
            source.database,
            source.user,
            source.ca_file,
            source.send_password_unverified,
        )
        if source.may_tell_anybody:
            hint = "send_password_unverified = true: any server that answers may get the password; set source.ca_file"
            self.log.warning("source.unverified", hint=hint)
        read_password = _translated(lambda: self.secrets.read(source.password_file, "source-password"), SourceError)
        return MySQLSource(login, read_password, self.deadline)

    def make_targets(self, attempts: int = ATTEMPTS) -> TargetMaker:
        """Make what makes targets."""
        return TargetMaker(self.secrets, self.log, self.deadline, attempts)

    def make_parts(self, source: Source, ledger: Ledger, maker: TargetMaker, progress: Progress) -> Parts:
        """Make the parts of a job."""
        log, deadline = self.log, self.deadline
        return Parts(
            self.config, self.targets, source, ledger, lambda each: maker(each.target), deadline, log, progress
        )

    def heed_signals(self) -> None:
        """Let SIGTERM and Ctrl-C end the job in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.deadline.cut)

    def raise_if_locked_out(self, targets: Sequence[TargetConfig], *, is_source_needed: bool = False) -> None:
        """Raise ConfigError where this account may read none of the secrets of these targets."""
        raise_if_locked_out(self.config, self.state_dir, targets, is_source_needed=is_source_needed)

    @contextmanager
    def opened_ledger(self, *, writes: bool = False) -> Iterator[Ledger]:
        """Open the ledger: to be read alone, or locked, to be written."""
        with ExitStack() as stack:
            if writes:
                stack.enter_context(lock(self.state_dir, self.log))
            ledgers = (Ledgers if writes else LedgerCopy)(self.state_dir, self.log)
            yield stack.enter_context(closing(ledgers)).open()

    def make_turn(self, source: Source) -> Turn | None:
        """Make the turn to work of one of two hosts, or nothing where there is one; `source` is what will be read."""
        if not self.config.sync.standby_lock or not isinstance(self.config.source, MySQLConfig):
            return None
        from uidsync.source.mysql import MySQLSource, NamedLock  # noqa: PLC0415

        if not isinstance(source, MySQLSource):
            return None
        return Turn(NamedLock(source, name_lock(self.config.source.database, self.config.source.user)), self.log)

    @contextmanager
    def taken_turn(self, source: Source, *, needed: bool = True) -> Iterator[None]:
        """Keep another host from working while the block does what somebody ordered; a run of its own is waited for.

        If the lock is lost, the deadline has come. Where it is not `needed`, a database that does not answer is a
        warning. Raises OnStandby and SourceError.
        """
        turn = self.make_turn(source)
        if turn is None:
            yield
            return
        with closing(turn):
            try:
                turn.take(LONGEST_WAIT)
            except SourceError as error:
                if needed:
                    raise
                hint = "another host may work at the same time"
                self.log.warning("standby.lock_unknown", message=str(error), hint=hint)
            turn.guard(self.deadline)
            yield
