#!/usr/bin/env python3
"""What a JSON file and polling cost, beside Statecast on its embedded log and store: the tables of docs/quality.md.

    python3 loadtest/quality.py target/release/statecast

Both sides run on this machine, one after the other, in a folder that is removed. The file is the usual one: read whole, change, write
whole. Watchers and writer share the server's clock, so a delay is the time of reading minus the time of the record.
Only Python's own library is used. Figures are of this machine in this minute; what matters is how the two differ.
"""
import http.client
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from urllib.parse import urlsplit

WATCHERS = 50
WRITE_EVERY_S = 0.5
WATCH_S = 20
HEADERS = {"content-type": "application/json"}


class Server:
    """The binary on a folder of its own."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.start()

    def start(self):
        command = [self.binary, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                   "--data-dir", self.folder, "--log-level", "warn"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.address = urlsplit(line.split()[-1]).netloc
            if line.startswith("ready"):
                return
        sys.exit("the server did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(20)

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def connect(self):
        return http.client.HTTPConnection(self.address, timeout=70)


def ask(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, {**HEADERS, **(headers or {})})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def value(n):
    return {"n": n, "pad": "x" * 80}


def milliseconds(samples):
    ordered = sorted(samples)
    at = lambda q: ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1000
    return f"{at(0.5):.1f} / {at(0.99):.1f}"


# --- the file ----------------------------------------------------------------------------------------------------


def file_write(path, key, new):
    with open(path) as file:
        all_keys = json.load(file)
    all_keys[key] = new(all_keys.get(key)) if callable(new) else new
    with open(path, "w") as file:
        json.dump(all_keys, file)
        file.flush()
        os.fsync(file.fileno())


def fill_file(path, keys):
    with open(path, "w") as file:
        json.dump({f"key-{i}": value(i) for i in range(keys)}, file)


def timed(times, act):
    samples = []
    for i in range(times):
        began = time.perf_counter()
        act(i)
        samples.append(time.perf_counter() - began)
    return samples


def write_costs(server, folder):
    print("\n| keys held | file: bytes written for one change | file: ms, p50 / p99 | Statecast: ms, p50 / p99 |\n|---|---|---|---|")
    path, filled = os.path.join(folder, "all.json"), 0
    for keys in (100, 1_000, 10_000):
        fill_file(path, keys)
        by_file = timed(100, lambda i: file_write(path, f"key-{i}", value(-i)))
        fill_server(server, filled, keys)
        filled, connection = keys, server.connect()  # an idle connection is closed after a while
        put = lambda i: ask(connection, "PUT", f"/api/streams/kv/key-{i}?wait=stored", json.dumps(value(-i)))
        by_server = timed(100, put)
        print(f"| {keys:,} | {os.path.getsize(path):,} | {milliseconds(by_file)} | {milliseconds(by_server)} |")


def fill_server(server, start, end):
    local = threading.local()

    def put(i):
        if not hasattr(local, "connection"):
            local.connection = server.connect()
        status, _, body = ask(local.connection, "PUT", f"/api/streams/kv/key-{i}", json.dumps(value(i)))
        assert status == 202, body

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(start, end)))
    connection = server.connect()
    status, _, body = ask(connection, "PUT", "/api/streams/kv/last?wait=stored", "1")
    assert status == 200, body


def add_by_file(path, times):
    for _ in range(times):
        while True:
            try:
                file_write(path, "counter", lambda n: (n or 0) + 1)
                break
            except json.JSONDecodeError:  # another was writing
                continue


def add_by_server(server, times):
    connection, retries = server.connect(), 0
    for _ in range(times):
        while True:
            status, headers, body = ask(connection, "GET", "/get/counter")
            now = json.loads(body)["value"] if status == 200 else 0
            condition = {"if-match": headers["etag"]} if status == 200 else {"if-none-match": "*"}
            status, _, _ = ask(connection, "PUT", "/api/streams/kv/counter", json.dumps(now + 1), condition)
            if status == 200:
                break
            assert status == 412, status
            retries += 1
    return retries


def lost_updates(server, folder):
    writers, times = 4, 50
    path = os.path.join(folder, "counter.json")
    fill_file(path, 100)
    processes = [multiprocessing.Process(target=add_by_file, args=(path, times)) for _ in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with open(path) as file:
        by_file = json.load(file)["counter"]
    with ThreadPoolExecutor(writers) as pool:
        retries = sum(pool.map(lambda _: add_by_server(server, times), range(writers)))
    by_server = json.loads(ask(server.connect(), "GET", "/get/counter")[2])["value"]
    print(f"\n| {writers} writers add 1 to a counter {times} times each | counted | of |\n|---|---|---|")
    print(f"| file | {by_file} | {writers * times} |\n| Statecast, `If-Match` ({retries} refused and made again) | {by_server} | {writers * times} |")


def rewrite_for_ever(path):
    for i in range(1 << 30):
        file_write(path, "key-1", value(i))


def kills(server, folder):
    path, torn, rounds = os.path.join(folder, "torn.json"), 0, 50
    for _ in range(rounds):
        fill_file(path, 10_000)
        process = multiprocessing.Process(target=rewrite_for_ever, args=(path,))
        process.start()
        time.sleep(0.1 + random.random() / 5)
        process.kill()
        process.join()
        try:
            with open(path) as file:
                json.load(file)
        except json.JSONDecodeError:
            torn += 1
    print("\n| killed (SIGKILL) while writing | kills | broken afterwards |\n|---|---|---|")
    print(f"| file of 10,000 keys | {rounds} | the whole file unreadable {torn} times |")
    confirmed, missing, rounds = {}, 0, 10
    for round_number in range(rounds):
        writer = threading.Thread(target=put_until_gone, args=(server.connect(), round_number, confirmed))
        writer.start()
        time.sleep(0.3 + random.random() / 2)
        server.kill()
        writer.join()
        server.start()
        connection = server.connect()
        for key, wanted in confirmed.items():
            status, _, body = ask(connection, "GET", f"/get/{key}")
            missing += status != 200 or json.loads(body)["value"]["n"] < wanted
    print(f"| Statecast | {rounds} | {missing} of {len(confirmed)} keys behind their confirmed write |")


def put_until_gone(connection, round_number, confirmed):
    for i in range(1 << 30):
        key = f"kill-{round_number}-{i % 20}"
        try:
            status, _, _ = ask(connection, "PUT", f"/api/streams/kv/{key}?wait=stored", json.dumps(value(i)))
        except (OSError, http.client.HTTPException):
            return
        if status == 200:
            confirmed[key] = i


# --- watching ----------------------------------------------------------------------------------------------------


class Watch:
    """What one way of watching heard."""

    def __init__(self):
        self.lock, self.delays, self.requests, self.versions = threading.Lock(), [], 0, {}

    def heard(self, watcher, body):
        text = body.decode()
        for version, updated in re.findall(r'"version":(\d+).*?"updated":"([^"]+)"', text):
            at = datetime.fromisoformat(updated.replace("Z", "+00:00")).timestamp()
            with self.lock:
                seen = self.versions.setdefault(watcher, set())
                if int(version) not in seen:
                    seen.add(int(version))
                    self.delays.append(time.time() - at)


def poll(interval_s):
    def run(server, key, watch, number, until):
        connection, tag = server.connect(), None
        time.sleep(random.random() * interval_s)
        while time.time() < until:
            status, headers, body = ask(connection, "GET", f"/get/{key}", headers={"if-none-match": tag} if tag else {})
            with watch.lock:
                watch.requests += 1
            if status == 200:
                tag = headers["etag"]
                watch.heard(number, body)
            time.sleep(interval_s)

    return run


def long_poll(server, key, watch, number, until):
    connection, since = server.connect(), ""
    while time.time() < until:
        path = f"/api/streams/kv/{key}?wait=2s&since={since}"
        status, headers, body = ask(connection, "GET", path)
        with watch.lock:
            watch.requests += 1
        if status == 200:
            since = headers["statecast-position"]
            watch.heard(number, body)


def events(server, key, watch, number, until):
    connection = server.connect()
    connection.request("GET", f"/live?room=kv/{key}")
    answer = connection.getresponse()
    with watch.lock:
        watch.requests += 1
    while time.time() < until:
        line = answer.readline()
        if line.startswith(b"data:"):
            watch.heard(number, line)


def watching(server):
    ways = [("poll each second", poll(1.0)), ("poll each 100 ms", poll(0.1)), ("long poll (`?wait=`)", long_poll)]
    status, _, _ = ask(server.connect(), "GET", "/live")
    if status != 404:
        ways.append(("server-sent events (`/live`)", events))
    print(f"\n{WATCHERS} watchers of one key, which changes each {WRITE_EVERY_S} s for {WATCH_S} s:\n")
    print("| way | delay ms, p50 / p99 | changes seen | requests per change and watcher | server CPU s |\n|---|---|---|---|---|")
    for name, way in ways:
        print(one_way(server, name, way))


def one_way(server, name, way):
    key, watch = "watched-" + re.sub(r"\W+", "-", name), Watch()
    connection = server.connect()
    ask(connection, "PUT", f"/api/streams/kv/{key}?wait=stored", json.dumps(value(0)))
    changes = int(WATCH_S / WRITE_EVERY_S)
    until, cpu = time.time() + WATCH_S + 2.5, server.cpu_s()
    watchers = [threading.Thread(target=way, args=(server, key, watch, n, until), daemon=True) for n in range(WATCHERS)]
    for watcher in watchers:
        watcher.start()
    time.sleep(1.5)
    with watch.lock:
        watch.delays.clear()  # what stood there before is no change
    for i in range(1, changes + 1):
        ask(connection, "PUT", f"/api/streams/kv/{key}", json.dumps(value(i)))
        time.sleep(WRITE_EVERY_S)
    time.sleep(max(0, until - time.time()) + 0.2)
    spent = server.cpu_s() - cpu
    seen = len(watch.delays) / (changes * WATCHERS)
    each = watch.requests / (changes * WATCHERS)
    return f"| {name} | {milliseconds(watch.delays)} | {seen:.0%} | {each:.2f} | {spent:.2f} |"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(sys.argv[1], os.path.join(folder, "data"))
        try:
            write_costs(server, folder)
            lost_updates(server, folder)
            kills(server, folder)
            watching(server)
        finally:
            if server.process.poll() is None:
                print(f"\nstopped with exit code {server.stop()}")


if __name__ == "__main__":
    main()
