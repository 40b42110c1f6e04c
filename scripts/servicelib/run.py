"""`run`: services around one command. Whatever ends first, and however, nothing is left.

Three layers, because each has a hole: we clean up ourselves; a watchdog does it when we are killed; the kernel kills
the services when both are. What even then stays on disk is removed by the next run.
"""
from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import nodes, processes, state
from .common import Failure, cache_dir, say

GRACE_SECONDS = 10
STALE_SECONDS = 60
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(Exception):
    """We were told to end, by this signal."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def ended(number: int, _frame) -> None:
    raise Ended(number)


def run(kinds: list[str], brokers: int, parent: Path | None, keep_logs: Path | None, command: list[str]) -> int:
    caller = os.getppid()
    parent = parent or cache_dir() / "runs"
    parent.mkdir(parents=True, exist_ok=True)
    remove_stale(parent)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    guard(directory)
    os.environ[processes.MARK] = str(directory)
    for number in ENDING:
        signal.signal(number, ended)
    processes.die_with_parent(signal.SIGTERM)
    processes.adopt_orphans()
    child: list[int] = []
    try:
        if os.getppid() != caller:
            # It was gone before the kernel had been asked to tell us.
            raise Ended(signal.SIGTERM)
        nodes.start_kinds(directory, kinds, brokers, with_parent=True)
        return follow(directory, command, child)
    except Ended as why:
        say(f"ended by {signal.Signals(why.number).name}")
        hush()
        end_child(child, why.number)
        return 128 + why.number
    finally:
        hush()
        clear(directory, keep_logs)


def hush() -> None:
    """From here on cleaning up is all that is left, and a second Ctrl-C must not cut it short."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def follow(directory: Path, command: list[str], child: list[int]) -> int:
    say("running " + " ".join(command))
    try:
        process = subprocess.Popen(command, env={**os.environ, **state.load(directory)["env"]})
    except OSError as why:
        raise Failure(f"cannot run {command[0]}: {why.strerror}") from None
    child.append(process.pid)
    process.returncode = 0
    while True:
        # Also reaps services that a test killed and orphans that came to us.
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            child.clear()
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def end_child(child: list[int], number: int) -> None:
    if not child:
        return
    try:
        os.kill(child[0], number)
    except OSError:
        return
    deadline = time.monotonic() + GRACE_SECONDS
    while processes.run_state(child[0]) != "dead" and time.monotonic() < deadline:
        time.sleep(0.05)


def clear(directory: Path, keep_logs: Path | None) -> None:
    processes.kill_marked(str(directory))
    nodes.reap()
    if keep_logs:
        keep_logs.mkdir(parents=True, exist_ok=True)
        for log in directory.glob("*.log"):
            shutil.copy(log, keep_logs)
    shutil.rmtree(directory, ignore_errors=True)


def guard(directory: Path) -> None:
    """A second process that waits for our end, in a session of its own, so that no signal to our group reaches it."""
    owner = os.open(directory / "owner", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    heard, told = os.pipe()
    if os.fork():
        # `told` stays open as long as we live, and is inherited by nobody.
        os.close(heard)
        return
    os.close(told)
    os.setsid()
    hush()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.chdir("/")
    os.read(heard, 1)
    processes.kill_marked(str(directory))
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def remove_stale(parent: Path) -> None:
    """A run whose owner and watchdog are both gone holds no lock on its `owner` file any more."""
    for directory in parent.glob("run-*"):
        try:
            with open(directory / "owner") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            if time.time() - directory.stat().st_mtime < STALE_SECONDS:
                continue
        except OSError:
            continue
        say(f"removing {directory}, left by a run that was killed")
        processes.kill_marked(str(directory))
        shutil.rmtree(directory, ignore_errors=True)
