"""As much of MongoDB's wire protocol as it takes to ask `hello` and to initiate a replica set: OP_MSG and a little BSON."""
from __future__ import annotations

import socket
import struct

OP_MSG = 2013


def encode(value: dict) -> bytes:
    body = b"".join(element(name, item) for name, item in value.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def element(name: str, item) -> bytes:
    key = name.encode() + b"\0"
    if isinstance(item, str):
        text = item.encode() + b"\0"
        return b"\x02" + key + struct.pack("<i", len(text)) + text
    if isinstance(item, int):
        return b"\x10" + key + struct.pack("<i", item)
    if isinstance(item, list):
        return b"\x04" + key + encode({str(index): each for index, each in enumerate(item)})
    return b"\x03" + key + encode(item)


# Types of a fixed size that nobody here asks for by value: date, timestamp, ObjectId, null and the like.
SKIPPED = {0x06: 0, 0x07: 12, 0x09: 8, 0x0A: 0, 0x11: 8, 0x13: 16}


def decode(data: bytes, at: int = 0) -> dict:
    end, found = at + struct.unpack_from("<i", data, at)[0] - 1, {}
    at += 4
    while at < end:
        kind, stop = data[at], data.index(b"\0", at + 1)
        name, at = data[at + 1:stop].decode(), stop + 1
        found[name], at = item_at(kind, data, at)
    return found


def item_at(kind: int, data: bytes, at: int):
    if kind == 0x01:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == 0x08:
        return data[at] == 1, at + 1
    if kind == 0x10:
        return struct.unpack_from("<i", data, at)[0], at + 4
    if kind == 0x12:
        return struct.unpack_from("<q", data, at)[0], at + 8
    if kind in SKIPPED:
        return None, at + SKIPPED[kind]
    size = struct.unpack_from("<i", data, at)[0]
    if kind == 0x02:
        return data[at + 4:at + 3 + size].decode(), at + 4 + size
    if kind in (0x03, 0x04):
        return decode(data, at), at + size
    if kind == 0x05:
        return None, at + 5 + size
    raise ValueError(f"BSON type {kind:#x} is not one this client knows")


def read_exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise ConnectionError("mongod closed the connection")
        data += more
    return data


def command(port: int, document: dict, timeout: float = 2) -> dict:
    """One command on one connection, to the `admin` database."""
    body = struct.pack("<IB", 0, 0) + encode({**document, "$db": "admin"})
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as link:
        link.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, OP_MSG) + body)
        size = struct.unpack("<i", read_exactly(link, 4))[0]
        # 12 bytes are left of the header, then 4 of flags and 1 of section kind.
        return decode(read_exactly(link, size - 4), 17)
