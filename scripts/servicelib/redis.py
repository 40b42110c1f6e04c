"""One Redis without persistence."""
from __future__ import annotations

import socket
from pathlib import Path

from . import downloads

PORTS = 1


def plan(directory: Path, _brokers: int, ports: list[int]) -> dict[str, dict]:
    data = directory / "redis"
    data.mkdir(parents=True, exist_ok=True)
    argv = [downloads.need("redis-server", "redis-server"), "--port", str(ports[0]), "--bind", "127.0.0.1",
            "--dir", str(data), "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]
    return {"redis": {"argv": argv, "ports": {"client": ports[0]}, "data": str(data)}}


def ready(entry: dict, _others: int) -> bool:
    with socket.create_connection(("127.0.0.1", entry["ports"]["client"]), timeout=1) as link:
        link.sendall(b"PING\r\n")
        return link.recv(16).startswith(b"+PONG")


def environment(entries: list[dict]) -> dict[str, str]:
    return {"STATECAST_TEST_REDIS": f"redis://127.0.0.1:{entries[0]['ports']['client']}/"}
