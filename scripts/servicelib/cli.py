"""The commands."""
from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

from . import downloads, kafka, nodes, processes, state
from .common import Failure, cache_dir, say
from .run import run

USAGE = """\
  scripts/services run kafka mongodb redis -- cargo test --release
  scripts/services up kafka mongodb && eval "$(scripts/services env)" ... scripts/services down
  scripts/services kill kafka && scripts/services restart kafka       inside a run, or with --dir
  scripts/services kafka-tool topics --create --topic t --partitions 4"""
WANTED = ("kafka", "mongodb", "redis", "chromium")


def main(argv: list[str]) -> int:
    command: list[str] = []
    if "--" in argv:
        at = argv.index("--")
        argv, command = argv[:at], argv[at + 1:]
    options = parser().parse_args(argv)
    options.command = command
    try:
        return options.act(options) or 0
    except Failure as failure:
        print(f"scripts/services: {failure}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="scripts/services", description="Real services for tests, without Docker.",
                                  epilog=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, act, text in (("up", up, "start services and leave them running"),
                            ("run", run_command, "start services, run what follows --, remove them whatever happens")):
        one = add(commands, name, act, text)
        one.add_argument("services", nargs="*", metavar="kafka|mongodb|redis|chromium",
                         help="what is needed; chromium is only looked for")
        one.add_argument("--brokers", type=int, choices=(1, 3), default=1)
        if name == "run":
            one.add_argument("--keep-logs", type=Path, metavar="DIR", help="copy the services' logs there at the end")
    add(commands, "down", down, "end what `up` started and remove its data")
    add(commands, "status", status, "what runs, where, and how large")
    add(commands, "env", env, "the variables tests read, for eval")
    add(commands, "fetch", fetch, "only download, for use offline later")
    for name, number in (("kill", "KILL"), ("stop", "STOP"), ("cont", "CONT"), ("restart", "TERM")):
        text = f"send {number} to a service" + (", then start it on its ports and data" if name == "restart" else "")
        one = add(commands, name, send, text)
        one.add_argument("service", help="kafka, kafka-2, mongodb, redis")
        one.add_argument("--signal", default=number, help="another signal, by name")
        one.set_defaults(name=name)
    one = add(commands, "kafka-tool", kafka_tool, "Kafka's own console tools against these brokers")
    one.add_argument("tool", choices=sorted(kafka.TOOLS))
    one.add_argument("arguments", nargs=argparse.REMAINDER)
    return top


def add(commands, name: str, act, text: str) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=text, description=text)
    one.add_argument("--dir", type=Path, help="where data, logs and state.json are")
    one.set_defaults(act=act)
    return one


def directory(options) -> Path:
    """Inside a run, that run; otherwise what `up` started."""
    return (options.dir or Path(os.environ.get(processes.MARK) or cache_dir() / "up")).resolve()


def kinds(options) -> list[str]:
    for name in options.services:
        if name not in WANTED:
            raise Failure(f"no such service: {name}; there is {', '.join(WANTED)}")
    if "chromium" in options.services and not nodes.find_browser():
        raise Failure("chromium is not on the PATH; apt-get install chromium")
    return [name for name in dict.fromkeys(options.services) if name in nodes.KINDS]


def up(options) -> None:
    # Not inside another run's folder, even when called from within one: it would be removed with that run.
    place = (options.dir or cache_dir() / "up").resolve()
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()) and not (place / "state.json").exists():
        raise Failure(f"{place} holds something else, and `down` would remove it; name an empty folder")
    nodes.start_kinds(place, kinds(options) or ["kafka", "mongodb"], options.brokers, with_parent=False)
    print_env(place)


def run_command(options) -> int:
    if not options.command:
        raise Failure("run needs a command after --")
    return run(kinds(options), options.brokers, options.dir, options.keep_logs, options.command)


def down(options) -> None:
    place = (options.dir or cache_dir() / "up").resolve()
    if not (place / "state.json").exists():
        say(f"nothing is up in {place}")
        return
    # Only what is listed: a shell that has eval'ed `env` carries our mark, and so does all that was started from it.
    nodes.remove(state.load(place)["services"])
    shutil.rmtree(place, ignore_errors=True)
    say("down, and the data removed")


def status(options) -> None:
    place = directory(options)
    for name, entry in state.load(place)["services"].items():
        condition = processes.run_state(entry["pid"], entry["started"])
        memory = processes.resident_mib(entry["pid"]) if condition != "dead" else 0
        address = f"127.0.0.1:{entry['ports']['client']}"
        print(f"{name:9} {condition:8} pid {entry['pid']:<8} {address:16} {memory:5} MiB  {entry['log']}")


def print_env(place: Path) -> None:
    for name, value in state.load(place).get("env", {}).items():
        print(f"export {name}={shlex.quote(value)}")


def env(options) -> None:
    place = directory(options)
    if not (place / "state.json").exists():
        raise Failure(f"nothing is up in {place}; scripts/services up kafka mongodb")
    print_env(place)


def fetch(_options) -> None:
    downloads.kafka_libs()
    downloads.mongod()


def send(options) -> None:
    try:
        number = signal.Signals["SIG" + options.signal.upper().replace("SIG", "", 1)]
    except KeyError:
        raise Failure(f"no such signal: {options.signal}") from None
    place = directory(options)
    with state.edit(place) as known:
        names = state.named(known, options.service)
        for name in names:
            send_one(place, known, name, number, restart=options.name == "restart")
    # Not under the lock: while a broker takes its seconds, a test may want to freeze or thaw another service.
    for name in names:
        if options.name == "restart":
            nodes.wait_again(known, name)
        print(f"{name} {known['services'][name]['pid']}")


def send_one(place: Path, known: dict, name: str, number: signal.Signals, restart: bool) -> None:
    entry = known["services"][name]
    if restart:
        if processes.run_state(entry["pid"], entry["started"]) != "dead":
            nodes.end_one(name, entry, number)
        nodes.start_again(place, known, name)
    elif number in (signal.SIGSTOP, signal.SIGCONT):
        nodes.signal_one(name, entry, number)
    else:
        nodes.end_one(name, entry, number)


def kafka_tool(options) -> None:
    place = directory(options)
    brokers = os.environ.get("STATECAST_TEST_KAFKA") if options.dir is None else None
    brokers = brokers or state.load(place).get("env", {}).get("STATECAST_TEST_KAFKA")
    if not brokers:
        raise Failure(f"no Kafka is up in {place}; scripts/services up kafka")
    argv = kafka.tool_argv(options.tool, brokers, options.arguments + options.command)
    os.execv(argv[0], argv)
