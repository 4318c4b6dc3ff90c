"""What a command works with: the configuration, and what is made from it."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import Options
from uidsync.cli.rights import Needs, become_owner, raise_if_locked_out
from uidsync.cli.wiring import (
    TargetMaker,
    choose_targets,
    find_state_dir,
    heed_signals,
    make_deadline,
    make_secret_files,
    make_source,
)
from uidsync.config.models import Config, FirewallConfig, TargetConfig
from uidsync.deadline import Deadline
from uidsync.deliver.recorder import Progress
from uidsync.ledger.ledger import Ledger
from uidsync.panos.wire.retries import ATTEMPTS
from uidsync.source import Source
from uidsync.sync import Parts


class Site:
    """A configuration, with the targets that are meant, from the moment at which rights are given up."""

    def __init__(
        self,
        options: Options,
        needs: Needs | None = "read",
        names: Sequence[str] | None = None,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """Read the configuration, and give up what rights are not needed; None keeps them all. Raises ConfigError."""
        self.log: FilteringBoundLogger = log or structlog.get_logger()
        self.file = options.file
        self.config: Config = options.read_config()
        self.targets: tuple[TargetConfig, ...] = choose_targets(self.config, names or (), str(self.file))
        self.state_dir = find_state_dir(self.config)
        if needs:
            become_owner(self.state_dir, needs)
        self.deadline: Deadline = make_deadline(self.config)
        self.secrets = make_secret_files(self.log)

    @property
    def firewalls(self) -> list[FirewallConfig]:
        """The firewalls among the targets."""
        return [target for target in self.targets if isinstance(target, FirewallConfig)]

    def make_source(self) -> Source:
        """Make the source of login events."""
        return make_source(self.config, self.secrets, self.deadline)

    def make_targets(self, attempts: int = ATTEMPTS) -> TargetMaker:
        """Make what makes targets."""
        return TargetMaker(self.secrets, self.log, self.deadline, attempts)

    def make_parts(self, source: Source, ledger: Ledger, maker: TargetMaker, progress: Progress) -> Parts:
        """Make the parts of a job."""
        return Parts(
            self.config,
            self.targets,
            source,
            ledger,
            lambda dispatch: maker(dispatch.target),
            self.deadline,
            self.log,
            progress,
        )

    def heed_signals(self) -> None:
        """Let SIGTERM and Ctrl-C end the job in order."""
        heed_signals(self.deadline)

    def raise_if_locked_out(self, targets: Sequence[TargetConfig], *, is_source_needed: bool) -> None:
        """Raise ConfigError where this account may read none of the secrets of these targets."""
        raise_if_locked_out(self.config, self.state_dir, targets, is_source_needed=is_source_needed)
