"""state.json: the one place that says which service runs where, for tests and for our own later commands."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from .common import Failure


def load(directory: Path) -> dict:
    try:
        return json.loads((directory / "state.json").read_text())
    except FileNotFoundError:
        return {"dir": str(directory), "services": {}}


def save(directory: Path, state: dict) -> None:
    """Replaced whole: a test reading it meanwhile sees the old or the new, never half."""
    fresh = directory / f"state.json.{os.getpid()}"
    fresh.write_text(json.dumps(state, indent=2) + "\n")
    fresh.replace(directory / "state.json")


@contextlib.contextmanager
def locked(path: Path):
    """One at a time, across processes; the kernel lets go when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def edit(directory: Path):
    with locked(directory / "lock"):
        state = load(directory)
        yield state
        save(directory, state)


def named(state: dict, name: str) -> list[str]:
    """`kafka` means every broker; `kafka-2` means that one."""
    names = [own for own, entry in state["services"].items() if name in (own, entry["kind"])]
    if not names:
        known = ", ".join(state["services"]) or "nothing"
        raise Failure(f"no service {name!r} in {state['dir']}; there is {known}")
    return names
