"""Asks a control listener steadily, over connections that stay open, for everything that it shows, in turn.

    api_load.py PORT RATE SECONDS     prints one line of JSON: asked, answered, of these not 200, late, octets

Open loop: a request is due whatever became of those before. Where all connections wait for their answers it is asked as soon
as one is free, and counted as late. A program of its own, so that what measures beside it shares no interpreter with it.
"""

import json
import selectors
import socket
import sys
import time
from collections import deque

CONNECTIONS = 16
# What dashboards, scripts and Prometheus ask for, and how often among the others.
PATHS = [
    *["/readyz"] * 4,
    *["/v1/pools", "/v1/backends?limit=20", "/v1/zones", "/v1/names", "/v1/checks?limit=20"] * 3,
    *["/v1/backends?state=down", "/v1/transitions?limit=20", "/v1/changes?limit=20"] * 2,
    "/v1/zones/bench.example/pools/weighted",
    "/v1/explain?name=weighted.bench.example&client=192.0.2.7",
    "/v1/status",
    "/metrics",
]


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.port, self.buffer, self.left = port, bytearray(), None

    def ask(self, path):
        self.socket.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())

    def read(self):
        """The status of an answer that is whole now, else None."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed a connection")
        if self.left is None:
            self.buffer += data
            head, found, body = bytes(self.buffer).partition(b"\r\n\r\n")
            if not found:
                return None
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self.status = int(head.split(b" ", 2)[1])
            self.length = int(lengths[0].split(b":")[1])
            self.left = self.length - len(body)
            self.buffer.clear()
        else:
            self.left -= len(data)
        if self.left:
            return None
        self.left = None
        return self.status


def load(port, rate, seconds):
    free = deque(Connection(port) for _ in range(CONNECTIONS))
    selector = selectors.DefaultSelector()
    for one in free:
        selector.register(one.socket, selectors.EVENT_READ, one)
    asked = answered = wrong = late = octets = 0
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        due = int(now * rate)
        while asked < due and free:
            free.popleft().ask(PATHS[asked % len(PATHS)])
            asked += 1
        late = max(late, due - asked)
        for key, _ in selector.select(max(0.0002, (asked + 1) / rate - now)):
            status = key.data.read()
            if status is not None:
                answered += 1
                wrong += status != 200
                octets += key.data.length
                free.append(key.data)
    return {"asked": asked, "answered": answered, "wrong": wrong, "late": late, "octets": octets}


if __name__ == "__main__":
    print(json.dumps(load(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))))
