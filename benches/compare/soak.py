"""Mixed load, reloads and flapping pools on one rollcall. See soak.sh."""

import argparse
import os
import random
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

import servers
from health import Backend
from servers import HOSTS, ORIGIN, ROTATED, WEIGHTED


class Asker(threading.Thread):
    """Sends at a steady rate, whatever comes back, and checks every answer."""

    def __init__(self, port, rate, until):
        super().__init__()
        self.port, self.rate, self.until = port, rate, until
        self.sent, self.lost, self.wrong, self.latencies, self.examples = 0, 0, 0, [], []
        self.own_port, self.drops = 0, {}

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
            if now < self.until and self.sent < (now - begin) * self.rate:
                kind = random.randrange(4)
                host = random.randrange(HOSTS)
                name = [f"h{host}", "weighted", "rotated", f"no{host}"][kind]
                number = (number + 1) % 65536
                if number not in waiting:
                    query, at = servers.encode(f"{name}.{ORIGIN}", number=number, edns=random.random() < 0.5), self.clock()
                    client.send(query)
                    waiting[number] = (at, kind, host)
                    self.sent += 1
            try:
                while True:
                    reply, at = self.receive(client)
                    sent = waiting.pop(struct.unpack("!H", reply[:2])[0], None)
                    if sent:
                        self.latencies.append(at - sent[0])
                        self.check(reply, *sent[1:])
            except BlockingIOError:
                pass
            if waiting and self.clock() - next(iter(waiting.values()))[0] > 2:
                waiting.pop(next(iter(waiting)))
                self.lost += 1
                self.drops = drops({self.port, self.own_port})
            time.sleep(0.0002)

    # What is asked with, and the moment of a reply by that clock: for those who measure more finely.
    clock = staticmethod(time.monotonic)

    def prepare(self, client):
        pass

    def receive(self, client):
        reply = client.recv(4096)
        return reply, self.clock()

    def check(self, reply, kind, host):
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


def state(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--qps", type=int, default=5000)
    arguments = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="soak-")
    backends = [Backend(address, 18095) for address in [address for address, _ in WEIGHTED] + ROTATED]
    for backend in backends:
        backend.start()
    server = servers.Rollcall(directory, 15600, 18095, interval="1s")
    server.start(core=None)
    time.sleep(2)
    end = time.monotonic() + arguments.minutes * 60
    asker = Asker(server.port, arguments.qps, end)
    asker.start()
    zone = server.directory / "bench.zone"
    text, reloads, flaps, samples, next_sample = zone.read_text(), 0, 0, [], time.monotonic() + 5
    try:
        while time.monotonic() < end:
            time.sleep(random.uniform(0.2, 0.8))
            backend = random.choice(backends)
            backend.stop()
            time.sleep(random.uniform(0.05, 0.5))
            backend.start()
            flaps += 1
            if flaps % 4 == 0:
                beside = zone.with_name("bench.zone.next")
                beside.write_text(text + f"extra{reloads % 7} IN A 192.0.2.{reloads % 250}\n")
                beside.rename(zone)
                server.process.send_signal(signal.SIGHUP)
                reloads += 1
            if time.monotonic() > next_sample:
                samples.append(state(server.process.pid))
                next_sample += 10
        asker.join()
        samples.append(state(server.process.pid))
    finally:
        server.stop()
        log = (server.directory / "log").read_text(errors="replace")
        shutil.rmtree(directory, ignore_errors=True)
    latencies = sorted(asker.latencies)
    part = lambda share: latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1e6  # noqa: E731
    print(f"{asker.sent} queries, {reloads} reloads, {flaps} flaps in {arguments.minutes} minutes")
    where = f"(dropped by the kernel at the server's socket: {asker.drops.get(server.port, 0)}, at the asker's: " \
            f"{asker.drops.get(asker.own_port, 0)})" if asker.lost else ""
    print(f"lost {asker.lost} {where}, wrong {asker.wrong} {asker.examples or ''}")
    print(f"latency seen by the asker (Python): median {part(.5):.0f} µs, 99 % {part(.99):.0f} µs, 99.9 % {part(.999):.0f} µs, "
          f"most {latencies[-1] * 1e6:.0f} µs")
    print(f"RSS first {samples[0][0]} KiB, last {samples[-1][0]} KiB, most {max(one[0] for one in samples)} KiB")
    print(f"descriptors first {samples[0][1]}, last {samples[-1][1]}, most {max(one[1] for one in samples)}")
    errors = [line for line in log.splitlines() if "ERROR" in line or "panic" in line]
    print(f"errors in the log: {len(errors)}", *errors[:3], sep="\n  ")
    # Memory may settle during the first minute; afterwards it must not grow by more than a tenth.
    settled = samples[min(6, len(samples) - 1)][0]
    grown = samples[-1][0] > settled * 1.1 + 2048 or samples[-1][1] > samples[0][1] + 16
    raise SystemExit(1 if asker.lost or asker.wrong or errors or grown else 0)


if __name__ == "__main__":
    main()
