"""What every part needs: where things are, how to speak, how to fail."""
from __future__ import annotations

import os
import sys
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
STARTED = time.monotonic()


class Failure(Exception):
    """Something a person can mend; its text says how. Shown without a stack trace."""


def cache_dir() -> Path:
    """Downloads and running data. Shared between checkouts when STATECAST_CACHE names one place for them."""
    return Path(os.environ.get("STATECAST_CACHE") or SCRIPTS.parent / ".cache").resolve() / "services"


def say(text: str) -> None:
    """Progress goes to stderr, so that `env` and `status` can be piped."""
    print(f"[services {time.monotonic() - STARTED:5.1f} s] {text}", file=sys.stderr, flush=True)


def tail(path: str, lines: int = 15) -> str:
    try:
        text = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join("    " + line[:300] for line in text[-lines:])
