"""Messages by hand: a drill wants to send what no library would, and to see what really came back."""

import collections
import os
import random
import socket
import struct

A, NS, CNAME, SOA, TXT, AAAA, OPT, ANY = 1, 2, 5, 6, 16, 28, 41, 255


class Silence(Exception):
    """No answer in time."""


class Malformed(Exception):
    """A reply that breaks the format."""


Reply = collections.namedtuple("Reply", "id flags rcode tc counts addresses records length raw")


def wire(name):
    return b"".join(bytes([len(label)]) + label for label in name.encode().split(b".") if label) + b"\0"


def query(name="www.lb.example", qtype=A, size=1232, options=b"", edns=True, id=None, counts=None, flags=0):
    """A query; `counts` overrides the header's four numbers."""
    id = random.getrandbits(16) if id is None else id
    counts = counts or (1, 0, 0, 1 if edns else 0)
    message = struct.pack(">6H", id, flags, *counts) + wire(name) + struct.pack(">HH", qtype, 1)
    if edns:
        message += struct.pack(">BHHIH", 0, OPT, size, 0, len(options)) + options
    return message


def option(code, data):
    return struct.pack(">HH", code, len(data)) + data


def skip_name(message, at):
    while True:
        if at >= len(message):
            raise Malformed("a name runs past the end")
        length = message[at]
        if length >= 0xC0:
            return at + 2
        at += 1 + length
        if length == 0:
            return at


def parse(message):
    """Strict about lengths: every count is true, and nothing follows the last record."""
    if len(message) < 12:
        raise Malformed("shorter than a header")
    id, flags, *counts = struct.unpack_from(">6H", message)
    at = 12
    for _ in range(counts[0]):
        at = skip_name(message, at) + 4
    records, addresses = [], []
    for number in range(sum(counts[1:])):
        at = skip_name(message, at)
        if at + 10 > len(message):
            raise Malformed("a record runs past the end")
        rtype, rclass, ttl, length = struct.unpack_from(">HHIH", message, at)
        data = message[at + 10 : at + 10 + length]
        at += 10 + length
        records.append((rtype, rclass, ttl, data))
        if number < counts[1] and rtype == A:
            addresses.append(socket.inet_ntoa(data))
    if at != len(message):
        raise Malformed(f"{len(message) - at} octets more or less than the counts say")
    return Reply(id, flags, flags & 15, bool(flags & 0x0200), counts, addresses, records, len(message), message)


def ask(address, message, wait=1.0, source=None):
    """Over UDP; the answer to this id, or Silence."""
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        if source:
            udp.bind((source, 0))
        udp.connect(address)
        udp.settimeout(wait)
        udp.send(message)
        try:
            while True:
                reply = udp.recv(65535)
                if reply[:2] == message[:2]:
                    return parse(reply)
        except (TimeoutError, ConnectionRefusedError):
            raise Silence(f"no answer within {wait} s") from None


def connect(address, wait=5.0, source=None):
    return socket.create_connection(address, wait, (source, 0) if source else None)


def receive(stream):
    """One whole message over TCP."""
    buffer = b""
    while len(buffer) < 2 or len(buffer) < 2 + struct.unpack(">H", buffer[:2])[0]:
        need = 2 - len(buffer) if len(buffer) < 2 else 2 + struct.unpack(">H", buffer[:2])[0] - len(buffer)
        piece = stream.recv(need)
        if not piece:
            raise Silence("closed")
        buffer += piece
    return buffer[2:]


def framed(message):
    return struct.pack(">H", len(message)) + message


def ask_tcp(address, message, wait=5.0, source=None):
    with connect(address, wait, source) as stream:
        stream.sendall(framed(message))
        try:
            return parse(receive(stream))
        except (TimeoutError, ConnectionResetError):
            raise Silence("no answer over TCP") from None


def client_cookie():
    return os.urandom(8)
