"""Signals, ports and /proc: who runs, who listens, and how to be rid of them for certain."""
from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import time
from pathlib import Path

from .common import Failure

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)
# Every process of a run inherits this; it is how strays are recognised, whoever their parent is by then.
MARK = "STATECAST_TEST_SERVICES_DIR"


def die_with_parent(sig: int = signal.SIGKILL) -> None:
    """Tied to the parent's thread that forked, so only the main thread may start such a process."""
    LIBC.prctl(PR_SET_PDEATHSIG, int(sig), 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants whose parent ended come to us, so that none stays behind as a zombie."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in brackets may hold spaces; the fields after it do not.
    return text[text.rindex(")") + 2:].split()


def started_at(pid: int) -> int | None:
    """Clock ticks since boot at which it began: with the pid, a name no later process can have."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def run_state(pid: int, started: int | None = None) -> str:
    """`running`, `stopped` or `dead`. A zombie is dead: it holds no port and writes no data."""
    fields = stat_fields(pid)
    if not fields or fields[0] in "ZX" or (started is not None and int(fields[19]) != started):
        return "dead"
    return "stopped" if fields[0] in "Tt" else "running"


def resident_mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:
        return 0


def wait_dead(pid: int, started: int | None, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while run_state(pid, started) != "dead":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def listening_inodes() -> dict[int, set[str]]:
    """Port to socket inodes in state LISTEN; Java shows up in the IPv6 table even for 127.0.0.1."""
    found: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A":
                found.setdefault(int(fields[1].rsplit(":", 1)[1], 16), set()).add(fields[9])
    return found


def listens(pid: int, port: int) -> bool:
    """Whether this very process holds the port: a readiness probe may be answered by a stranger."""
    wanted = {f"socket:[{inode}]" for inode in listening_inodes().get(port, ())}
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{name}") in wanted for name in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def free_ports(count: int, spoken_for: set[int]) -> list[int]:
    """Free ports below the range the kernel gives to outgoing connections.

    A port out of that range could not be had again after a kill: a client that keeps trying to connect to it may be
    given that same number as its own and so hold it, even connected to itself.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    taken = spoken_for.union(listening_inodes())
    candidates = [port for port in range(max(low - 16000, 10000), low) if port not in taken]
    random.shuffle(candidates)
    ports: list[int] = []
    for port in candidates:
        if len(ports) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    if len(ports) < count:
        raise Failure(f"{count} free ports were wanted below {low}, and there are {len(ports)}")
    return ports


def marked(directory: str) -> list[int]:
    """Every process that was started inside the run of this directory, except ourselves."""
    mark = f"{MARK}={directory}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environment = Path("/proc", name, "environ").read_bytes()
        except OSError:
            continue
        if mark in environment.split(b"\0"):
            found.append(int(name))
    return found


def kill_marked(directory: str) -> None:
    """More than once, because a process may fork while it is being looked for."""
    for _ in range(3):
        pids = marked(directory)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        for pid in pids:
            wait_dead(pid, None, 5)
