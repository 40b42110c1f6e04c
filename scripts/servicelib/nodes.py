"""Start, wait, restart, remove: what is the same for every kind of service."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import kafka, mongodb, processes, redis, state
from .common import Failure, say, tail

KINDS = {"kafka": kafka, "mongodb": mongodb, "redis": redis}
READY_SECONDS = 120
ATTEMPTS = 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class PortTaken(Exception):
    """Somebody else got the port between our looking and the service's binding."""


def launch(directory: Path, name: str, entry: dict, with_parent: bool) -> None:
    """In a session of its own: Ctrl-C on the terminal must not reach a service before the tests that use it."""
    entry["log"] = str(directory / f"{name}.log")
    with open(entry["log"], "ab") as log:
        process = subprocess.Popen(
            entry["argv"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=entry["data"], start_new_session=True,
            env={**os.environ, processes.MARK: str(directory)},
            preexec_fn=processes.die_with_parent if with_parent else None)
    entry["launched"] = time.monotonic()
    entry["pid"], entry["started"] = process.pid, processes.started_at(process.pid)
    # Only /proc is asked from here on, since a restarted service is nobody's child; Popen would warn about that.
    process.returncode = 0


def reap() -> None:
    """A child that ended early stays a zombie until somebody asks."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def answers(entry: dict, peers: int) -> bool:
    try:
        if not KINDS[entry["kind"]].ready(entry, peers):
            return False
    except OSError:
        return False
    return processes.listens(entry["pid"], entry["ports"]["client"])


def is_ready(name: str, entry: dict, peers: int) -> bool:
    if answers(entry, peers):
        say(f"{name} is ready on 127.0.0.1:{entry['ports']['client']} after {time.monotonic() - entry['launched']:.1f} s")
        return True
    reap()
    if processes.run_state(entry["pid"], entry["started"]) == "dead":
        if "Address already in use" in tail(entry["log"], 200):
            raise PortTaken(entry["kind"])
        raise Failure(f"{name} ended while starting; the end of its log:\n{tail(entry['log'])}")
    if time.monotonic() > entry["launched"] + READY_SECONDS:
        raise Failure(f"{name} is not ready after {READY_SECONDS} s; the end of its log:\n{tail(entry['log'])}")
    return False


def wait_ready(entries: dict[str, dict], peers: dict[str, int]) -> None:
    """All in turn, so that each is reported when it is ready and not when the slowest is."""
    pending = dict(entries)
    while pending:
        pending = {name: entry for name, entry in pending.items() if not is_ready(name, entry, peers[entry["kind"]])}
        time.sleep(0.05)


def start_kinds(directory: Path, kinds: list[str], brokers: int, with_parent: bool) -> None:
    """All kinds start side by side; each is waited for afterwards. What was started goes again if one fails."""
    with state.edit(directory) as known:
        fresh: dict[str, dict] = {}
        try:
            for kind in kinds:
                if any(entry["kind"] == kind for entry in known["services"].values()):
                    say(f"{kind} is there already")
                    continue
                fresh.update(start_kind(directory, known, kind, brokers, with_parent))
                record(known, directory, fresh)
            wait_started(directory, known, fresh, brokers, with_parent)
        except BaseException:
            remove(fresh)
            for name in fresh:
                del known["services"][name]
            raise


def wait_started(directory: Path, known: dict, fresh: dict[str, dict], brokers: int, with_parent: bool) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return wait_ready(fresh, {**dict.fromkeys(KINDS, 1), "kafka": brokers})
        except PortTaken as taken:
            kind = str(taken)
            if attempt == ATTEMPTS:
                raise Failure(f"{kind} found a port taken {ATTEMPTS} times") from None
            say(f"{kind} found a port taken, trying others")
            remove({name: entry for name, entry in fresh.items() if entry["kind"] == kind})
            fresh.update(start_kind(directory, known, kind, brokers, with_parent))
            record(known, directory, fresh)


def start_kind(directory: Path, known: dict, kind: str, brokers: int, with_parent: bool) -> dict[str, dict]:
    module = KINDS[kind]
    count = brokers if kind == "kafka" else 1
    say(f"{kind} is starting" + (f", {count} brokers" if count > 1 else ""))
    # What was started a moment ago may not have bound its ports yet, and some are for a test to bind.
    spoken_for = {port for entry in known["services"].values() for port in entry["ports"].values()}
    entries = module.plan(directory, count, processes.free_ports(module.PORTS * count, spoken_for))
    if hasattr(module, "before_first_start"):
        module.before_first_start(list(entries.values()))
    for name, entry in entries.items():
        entry["kind"] = kind
        launch(directory, name, entry, with_parent)
    return entries


def record(known: dict, directory: Path, entries: dict[str, dict]) -> None:
    """Written as soon as it runs, not when it is ready: whoever cleans up after a failure must find it."""
    known["services"].update(entries)
    known["env"] = environment(directory, known)
    state.save(directory, known)


def environment(directory: Path, known: dict) -> dict[str, str]:
    variables = {processes.MARK: str(directory)}
    for kind, module in KINDS.items():
        entries = [entry for entry in known["services"].values() if entry["kind"] == kind]
        if entries:
            variables.update(module.environment(entries))
    browser = find_browser()
    if browser:
        variables["STATECAST_TEST_CHROMIUM"] = browser
    return variables


def find_browser() -> str | None:
    preset = os.environ.get("STATECAST_TEST_CHROMIUM")
    return preset or next(filter(None, map(shutil.which, BROWSERS)), None)


def signal_one(name: str, entry: dict, number: signal.Signals) -> None:
    if processes.run_state(entry["pid"], entry["started"]) == "dead":
        raise Failure(f"{name} is not running")
    os.kill(entry["pid"], number)


def end_one(name: str, entry: dict, number: signal.Signals, seconds: float = 60) -> None:
    signal_one(name, entry, number)
    if number != signal.SIGKILL:
        # A stopped process takes no signal but this one.
        os.kill(entry["pid"], signal.SIGCONT)
    if not processes.wait_dead(entry["pid"], entry["started"], seconds):
        raise Failure(f"{name} did not end within {seconds:.0f} s of {number.name}")


def start_again(directory: Path, known: dict, name: str) -> None:
    """Same command line, so same ports and same data. Whoever calls this waits with `wait_again`."""
    launch(directory, name, known["services"][name], with_parent=False)
    state.save(directory, known)


def wait_again(known: dict, name: str) -> None:
    """Ready when it knows as many of its peers as are running: one broker may be back before another is."""
    entry = known["services"][name]
    peers = sum(1 for other in known["services"].values() if other["kind"] == entry["kind"]
                and processes.run_state(other["pid"], other["started"]) == "running")
    try:
        wait_ready({name: entry}, {entry["kind"]: peers})
    except PortTaken:
        raise Failure(f"the port of {name} was taken while it was down:\n{tail(entry['log'])}") from None


def remove(entries: dict[str, dict]) -> None:
    for entry in entries.values():
        if processes.run_state(entry["pid"], entry["started"]) != "dead":
            os.kill(entry["pid"], signal.SIGKILL)
    for entry in entries.values():
        reap()
        processes.wait_dead(entry["pid"], entry["started"], 10)
        shutil.rmtree(entry["data"], ignore_errors=True)
