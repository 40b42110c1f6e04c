"""One or three Kafka brokers in KRaft mode, each its own controller."""
from __future__ import annotations

import base64
import os
import shlex
import socket
import struct
import subprocess
import uuid
from pathlib import Path

from . import downloads
from .common import Failure, SCRIPTS

PORTS = 4  # of each broker: client, proxied, proxy, controller
PORT_NAMES = ("client", "proxied", "proxy", "controller")
METADATA, VERSION = 3, 1


def java(heap: str) -> list[str]:
    # The first compiler alone: half the CPU of a short-lived broker goes into optimising code that is soon thrown away.
    # STATECAST_KAFKA_JVM comes last, so that a benchmark can ask for -XX:TieredStopAtLevel=4 or a larger heap.
    return [downloads.need("java", "default-jre-headless"), f"-Xmx{heap}", "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData", "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={SCRIPTS / 'kafka/log4j2.properties'}",
            *shlex.split(os.environ.get("STATECAST_KAFKA_JVM", "")), "-cp", f"{downloads.kafka_libs()}/*"]


def plan(directory: Path, brokers: int, ports: list[int]) -> dict[str, dict]:
    groups = [dict(zip(PORT_NAMES, ports[at:at + PORTS])) for at in range(0, brokers * PORTS, PORTS)]
    voters = ",".join(f"{node}@127.0.0.1:{group['controller']}" for node, group in enumerate(groups, 1))
    cluster, entries = random_id(), {}
    for node, group in enumerate(groups, 1):
        name = "kafka" if brokers == 1 else f"kafka-{node}"
        data = directory / name
        data.mkdir(parents=True, exist_ok=True)
        settings = directory / f"{name}.properties"
        settings.write_text(filled({**group, "node": node, "voters": voters, "data": data, "replicas": brokers,
                                    "in_sync": 2 if brokers > 1 else 1, "session": 3000 if brokers == 1 else 6000}))
        argv = java("512m" if brokers == 1 else "256m") + ["kafka.Kafka", str(settings)]
        entries[name] = {"argv": argv, "ports": group, "data": str(data), "format": [cluster, str(settings)]}
    return entries


def filled(values: dict) -> str:
    text = (SCRIPTS / "kafka/server.properties").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def random_id() -> str:
    """A cluster id as Kafka makes them: base64url of a UUID, without a leading dash that a tool would take for an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def before_first_start(entries: list[dict]) -> None:
    """A data folder must be formatted once. All at the same time: most of it is the start of a JVM."""
    pending = []
    for entry in entries:
        cluster, settings = entry.pop("format")
        argv = java("128m") + ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", settings]
        pending.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True))
    for process in pending:
        output = process.communicate()[0]
        if process.returncode:
            raise Failure(f"Kafka could not format its data folder:\n{output.strip()}")


def ready(entry: dict, brokers: int) -> bool:
    """It answers a metadata request and knows every broker of the cluster to be in service.

    A connection proves little: the port is open seconds before topics can be created.
    """
    request = struct.pack(">hhih", METADATA, VERSION, 1, -1) + struct.pack(">i", 0)
    with socket.create_connection(("127.0.0.1", entry["ports"]["client"]), timeout=1) as link:
        link.sendall(struct.pack(">i", len(request)) + request)
        answer = b""
        while len(answer) < 12:
            more = link.recv(4096)
            if not more:
                return False
            answer += more
    return struct.unpack_from(">i", answer, 8)[0] >= brokers


def environment(entries: list[dict]) -> dict[str, str]:
    return {"STATECAST_TEST_KAFKA": ",".join(f"127.0.0.1:{entry['ports']['client']}" for entry in entries)}


TOOLS = {
    "topics": "TopicCommand",
    "groups": "consumer.group.ConsumerGroupCommand",
    "configs": "ConfigCommand",
    "produce": "ConsoleProducer",
    "consume": "consumer.ConsoleConsumer",
    "get-offsets": "GetOffsetShell",
}


def tool_argv(name: str, brokers: str, arguments: list[str]) -> list[str]:
    package = "kafka.admin" if name == "configs" else "org.apache.kafka.tools"
    return java("256m") + [f"{package}.{TOOLS[name]}", "--bootstrap-server", brokers, *arguments]
