"""A Debian of its own on this machine: systemd is PID 1 in namespaces of its own, over a tree that is copied for it.

The network is that of whoever starts it: let that be one of its own (`unshare --net`). Run as a program, this says what
is missing here.
"""

# ruff: noqa: S607 (the system's own tools, wherever they are)

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("unshare", "nsenter", "pivot_root", "debootstrap", "dpkg-deb", "ip")
BOOT_TIME = 60  # seconds; it takes one
# What a container's init expects: its own /proc, /dev, /run and control groups, and a kernel that it cannot change.
START = r"""
mkdir -p "$2"
exec unshare --pid --mount --uts --ipc --fork --kill-child sh -c '
    echo 0 >"$2/cgroup.procs"
    exec unshare --cgroup sh -c "$3" - "$1"
' - "$1" "$2" "$3"
"""
ENTER = r"""
    set -e
    cd "$1"
    mount --make-rprivate /; mount --bind . .; cd "$1"
    mount -t proc proc proc; mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys; mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=0755 tmpfs run; mount -t tmpfs -o mode=0755 tmpfs dev; mkdir dev/pts dev/shm
    for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts; ln -s pts/ptmx dev/ptmx; mount -t tmpfs tmpfs dev/shm
    hostname uidsync-test
    mkdir -p .outside; pivot_root . .outside; umount -l /.outside; rmdir /.outside
    exec env -i container=uidsync-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal
"""


class MachineError(Exception):
    """The machine did not start, or what was run there failed."""


def find_obstacle() -> str | None:
    """Return why no machine can be started here, if so."""
    if os.geteuid() != 0:
        return "needs root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if missing := [tool for tool in TOOLS if shutil.which(tool, path=path) is None]:
        return f"{', '.join(missing)}: not installed"
    if find_control_groups() is None:
        return "no control groups of version 2 are mounted here"
    tried = subprocess.run(
        ["unshare", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return tried.stderr.strip() or None


def find_control_groups() -> Path | None:
    """Return where control groups of version 2 are, beside those of version 1 or alone."""
    found = re.search(r"^\S+ (\S+) cgroup2 rw", Path("/proc/mounts").read_text(), re.MULTILINE)
    return Path(found[1]) if found else None


@dataclass(slots=True)
class Machine:
    """A machine over the tree at `root`. It can be started again after it ended, as after a reboot."""

    root: Path
    _unshare: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Boot, and return once all that is to start has been started. Raise MachineError."""
        command = ["sh", "-c", START, "sh", self.root, self._groups, ENTER]
        self._unshare = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.wait_until(lambda: self.ask("systemctl is-system-running").strip() in {"running", "degraded"}, "it is up")

    def reboot(self) -> None:
        """End as `systemctl reboot` has it, everything stopped in order, and boot again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Shut down."""
        if self._unshare is not None:
            self.ask("systemctl --no-block --job-mode=replace-irreversibly start reboot.target")
            self._unshare.wait(BOOT_TIME)
            self._unshare = None
            for group in [*sorted(self._groups.rglob("*/"), reverse=True), self._groups]:
                group.rmdir()

    def run(self, command: str) -> str:
        """Run a shell command there and return what it printed. Raise MachineError when it fails."""
        ended = self._enter(command)
        if ended.returncode:
            raise MachineError(f"{command}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def ask(self, command: str) -> str:
        """Run a shell command there and return what it printed, whether it failed or not."""
        return self._enter(command).stdout

    def wait_until(self, holds, what: str, seconds: float = BOOT_TIME) -> None:
        """Return once something holds; raise MachineError, with the end of the journal, when it does not."""
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until or (self._unshare and self._unshare.poll() is not None):
                raise MachineError(f"waited in vain until {what}\n{self.ask('journalctl --no-pager -n 40')}")
            time.sleep(0.2)

    @property
    def _groups(self) -> Path:
        """The control groups of its own."""
        return (find_control_groups() or Path("/sys/fs/cgroup")) / f"uidsync-test-{os.getpid()}"

    @property
    def _pid(self) -> str:
        """The PID, on this side, of the machine's PID 1."""
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        return children.read_text().strip() if children.exists() else ""

    def _enter(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": "/root",
        }
        enter = [
            "nsenter",
            "--target",
            self._pid,
            "--pid",
            "--mount",
            "--uts",
            "--ipc",
            "--cgroup",
            "sh",
            "-c",
            command,
        ]
        if not self._pid:
            return subprocess.CompletedProcess(enter, 1, "", "it has ended")
        return subprocess.run(
            enter,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


if __name__ == "__main__":
    if obstacle := find_obstacle():
        sys.exit(f"skipped: {obstacle}")
