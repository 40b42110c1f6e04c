"""One MongoDB node, a replica set of its own: transactions, change streams and majority writes need one."""
from __future__ import annotations

from pathlib import Path

from . import downloads
from .mongo_wire import command

PORTS = 1


def plan(directory: Path, _brokers: int, ports: list[int]) -> dict[str, dict]:
    data = directory / "mongodb"
    data.mkdir(parents=True, exist_ok=True)
    argv = [downloads.mongod(), "--dbpath", str(data), "--port", str(ports[0]), "--bind_ip", "127.0.0.1",
            "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "256", "--quiet", "--nounixsocket",
            "--setParameter", "ttlMonitorSleepSecs=1", "--setParameter", "diagnosticDataCollectionEnabled=false"]
    return {"mongodb": {"argv": argv, "ports": {"client": ports[0]}, "data": str(data)}}


def ready(entry: dict, _others: int) -> bool:
    """Primary, and so able to write. Asking may take the first step there: initiating a set that has no configuration."""
    port = entry["ports"]["client"]
    hello = command(port, {"hello": 1})
    if hello.get("isreplicaset") and not hello.get("setName"):
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        command(port, {"replSetInitiate": {"_id": "rs0", "members": [member]}}, timeout=20)
        return False
    return hello.get("isWritablePrimary") is True


def environment(entries: list[dict]) -> dict[str, str]:
    return {"STATECAST_TEST_MONGODB": f"mongodb://127.0.0.1:{entries[0]['ports']['client']}/?replicaSet=rs0"}
