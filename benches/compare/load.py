"""Asks at a steady rate, whatever comes back (an open loop), and checks every answer."""

import random
import socket
import struct
import threading
import time
from pathlib import Path

import servers
from servers import HOSTS, ORIGIN, ROTATED, WEIGHTED

# Queries sent in one go at most, by an asker that woke late.
CATCH_UP = 8


class Asker(threading.Thread):
    """So many queries a second until then, of hosts, a weighted name, a rotated one and names that are not there."""

    def __init__(self, port, rate, until):
        super().__init__()
        self.port, self.rate, self.until = port, rate, until
        self.sent, self.lost, self.wrong, self.latencies, self.examples = 0, 0, 0, [], []
        self.own_port, self.drops = 0, {}
        self.pause = min(max(0.2 / rate, 0.0002), 0.001)

    def run(self):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            client.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE: what waits here is not lost by the server.
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        client.connect(("127.0.0.1", self.port))
        self.prepare(client)
        self.own_port = client.getsockname()[1]
        client.setblocking(False)
        waiting, number, begin = {}, 0, time.monotonic()
        while (now := time.monotonic()) < self.until or waiting:
            for _ in range(CATCH_UP):
                if now >= self.until or self.sent >= (now - begin) * self.rate:
                    break
                number = (number + 1) % 65536
                if number in waiting:
                    break
                name, what = self.question()
                query, at = servers.encode(f"{name}.{ORIGIN}", number=number, edns=random.random() < 0.5), self.clock()
                client.send(query)
                waiting[number] = (at, what)
                self.sent += 1
            try:
                while True:
                    reply, at = self.receive(client)
                    sent = waiting.pop(struct.unpack("!H", reply[:2])[0], None)
                    if sent:
                        self.latencies.append(at - sent[0])
                        self.check(reply, sent[1])
            except BlockingIOError:
                pass
            if waiting and self.clock() - next(iter(waiting.values()))[0] > 2:
                waiting.pop(next(iter(waiting)))
                self.lost += 1
                self.drops = drops({self.port, self.own_port})
            time.sleep(self.pause)

    # What is asked with, and the moment of a reply by that clock: for those who measure more finely.
    clock = staticmethod(time.monotonic)

    def prepare(self, client):
        pass

    def receive(self, client):
        reply = client.recv(4096)
        return reply, self.clock()

    def question(self):
        """A name below the zone, and what `check` will want to know of it."""
        kind, host = random.randrange(4), random.randrange(HOSTS)
        return [f"h{host}", "weighted", "rotated", f"no{host}"][kind], (kind, host)

    def check(self, reply, what):
        kind, host = what
        rcode, found = servers.addresses(reply)
        right = {
            0: lambda: rcode == 0 and found == [f"10.0.{host // 256}.{host % 256}"],
            1: lambda: rcode == 0 and len(found) == 1 and found[0] in [address for address, _ in WEIGHTED],
            2: lambda: rcode == 0 and 1 <= len(found) <= 8 and set(found) <= set(ROTATED) and len(set(found)) == len(found),
            3: lambda: rcode == 3 and not found,
        }[kind]()
        if not right:
            self.wrong += 1
            self.examples = (self.examples + [(kind, host, rcode, found)])[:5]


def drops(ports):
    """Packets that the kernel dropped at the sockets of these ports."""
    found = {}
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        port = int(fields[1].split(":")[1], 16)
        if port in ports:
            found[port] = found.get(port, 0) + int(fields[12])
    return found
