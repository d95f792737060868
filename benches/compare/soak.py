"""Mixed load, reloads and flapping pools on one rollcall, for as long as asked. See soak.sh.

Asked at once: good questions over UDP, each answer checked; mutated packets; TCP, with pipelines in pieces, connections
left idle and connections broken off; and, where NSD is installed, every second question put to NSD as well, whose answer about
what does not move must be the same. Meanwhile backends die and come back, the zone is replaced, and `/metrics` is read.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import load
import servers
from health import Backend
from servers import HOSTS, ORIGIN, ROTATED, WEIGHTED

sys.path.insert(0, str(servers.ROOT / "tests/drills"))
import dns  # noqa: E402

PORT, HEALTH = 15600, 18095
CONTROL = PORT + 9
# Parts of the whole that the table at the end has a row for.
PARTS = 10


class Soaked(servers.Rollcall):
    """With a control listener."""

    def command(self):
        command = super().command()
        config = self.directory / "rollcall.toml"
        config.write_text(config.read_text().replace("[dns]", f'control = "127.0.0.1:{CONTROL}"\n[dns]'))
        return command


class Worker(threading.Thread):
    """Does `step` again and again until then; what goes wrong is kept."""

    def __init__(self, until):
        super().__init__()
        self.until, self.done, self.wrong = until, 0, []

    def run(self):
        while time.monotonic() < self.until:
            try:
                self.step()
                self.done += 1
            except Exception as problem:  # noqa: BLE001  (whatever it is, it belongs in the report)
                self.wrong = (self.wrong + [f"{type(problem).__name__}: {problem}"])[:100]


class Mutated(Worker):
    """Queries with some octets other than they were, a hundred a second. What comes back must parse."""

    def __init__(self, until):
        super().__init__(until)
        self.dice, self.replies = random.Random(1), 0
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.connect(("127.0.0.1", PORT))
        self.udp.setblocking(False)

    def step(self):
        message = bytearray(servers.encode(self.dice.choice(["h1", "weighted", "rotated", "no"]) + f".{ORIGIN}", edns=True))
        for _ in range(self.dice.randrange(1, 6)):
            message[self.dice.randrange(len(message))] = self.dice.randrange(256)
        self.udp.send(message[: self.dice.randrange(len(message) + 20)])
        time.sleep(0.01)
        try:
            while True:
                dns.parse(self.udp.recv(65535))
                self.replies += 1
        except BlockingIOError:
            pass


class Streams(Worker):
    """Connections, ten a second: pipelines cut anywhere, some left idle for a while, some broken off."""

    def __init__(self, until):
        super().__init__(until)
        self.dice, self.idle, self.answers = random.Random(2), [], 0

    def step(self):
        hosts = [self.dice.randrange(HOSTS) for _ in range(self.dice.randrange(1, 9))]
        octets = b"".join(dns.framed(servers.encode(f"h{host}.{ORIGIN}", number=number)) for number, host in enumerate(hosts))
        stream = dns.connect(("127.0.0.1", PORT))
        if self.dice.random() < 0.2:
            stream.sendall(octets[: self.dice.randrange(len(octets))])
            stream.close()
        else:
            at = 0
            while at < len(octets):
                piece = self.dice.randrange(1, 200)
                stream.sendall(octets[at : at + piece])
                at += piece
            replies = [dns.parse(dns.receive(stream)) for _ in hosts]
            for reply in replies:
                host = hosts[reply.id]
                if reply.addresses != [f"10.0.{host // 256}.{host % 256}"]:
                    raise ValueError(f"h{host} has {reply.addresses}")
            self.answers += len(hosts)
            self.idle.append(stream)
        while len(self.idle) > 50:
            self.idle.pop(self.dice.randrange(len(self.idle))).close()
        time.sleep(0.1)


class Compared(Worker):
    """The same question to both, twenty a second: RCODE, AA and every record of what does not move."""

    def __init__(self, until, nsd):
        super().__init__(until)
        self.dice, self.nsd = random.Random(3), nsd

    def step(self):
        host = self.dice.randrange(HOSTS)
        name = self.dice.choice([f"h{host}", f"no{host}", f"x.h{host}", "ns1"]) + f".{ORIGIN}"
        name = ORIGIN if self.dice.random() < 0.1 else name
        rtype = self.dice.choice([dns.A, dns.AAAA, dns.NS, dns.SOA, dns.TXT, 65280])
        ours, theirs = (self.seen(port, name, rtype) for port in (PORT, self.nsd.port))
        if ours != theirs:
            raise ValueError(f"{name} {rtype}: {ours}, NSD {theirs}")
        time.sleep(0.05)

    def seen(self, port, name, rtype):
        reply = dns.ask(("127.0.0.1", port), servers.encode(name, rtype), 5)
        answers = reply.counts[1] + reply.counts[2]
        # Data that holds names is compared by its type alone: compression may differ.
        records = [(one[0], one[2], one[3] if one[0] in (dns.A, dns.AAAA) else None) for one in reply.records[:answers]]
        return reply.rcode, reply.flags & 0x0400, reply.counts[1], sorted(records, key=str)


class Changes(Worker):
    """Backends die and come back; every so often the zone is another one."""

    def __init__(self, until, server, backends, every):
        super().__init__(until)
        self.server, self.backends, self.every = server, backends, every
        self.zone = server.directory / "bench.zone"
        self.text, self.reloads, self.next = self.zone.read_text(), 0, time.monotonic() + every

    def step(self):
        backend = random.choice(self.backends)
        time.sleep(random.uniform(0.2, 0.8))
        backend.stop()
        time.sleep(random.uniform(0.05, 0.5))
        backend.start()
        if time.monotonic() >= self.next:
            self.next += self.every
            beside = self.zone.with_name("bench.zone.next")
            beside.write_text(self.text + f"extra{self.reloads % 7} IN A 192.0.2.{self.reloads % 250}\n")
            beside.rename(self.zone)
            self.server.process.send_signal(signal.SIGHUP)
            self.reloads += 1


def state(pid):
    """RSS in KiB, descriptors, and seconds of processor."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())), seconds


def percentile(latencies, share):
    latencies = sorted(latencies) or [0]
    return latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1e6


def growth(samples, figure):
    """Of that figure over these samples, by least squares."""
    line = statistics.linear_regression([one["at"] for one in samples], [one[figure] for one in samples])
    return line.slope * (samples[-1]["at"] - samples[0]["at"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--qps", type=int, default=2000)
    parser.add_argument("--reload", type=float, default=10, help="seconds between two reloads")
    parser.add_argument("--json", help="where every sample goes as it is taken, a line each")
    arguments = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="soak-")
    backends = [Backend(address, HEALTH) for address in [address for address, _ in WEIGHTED] + ROTATED]
    for backend in backends:
        backend.start()
    server = Soaked(directory, PORT, HEALTH, interval="1s")
    server.start(core=None)
    nsd = servers.Nsd(directory, PORT + 1, HEALTH) if shutil.which("nsd") else None
    if nsd:
        nsd.start(core=None)
    time.sleep(2)
    begin = time.monotonic()
    end = begin + arguments.minutes * 60
    asker = load.Asker(server.port, arguments.qps, end)
    mutated, streams, changes = Mutated(end), Streams(end), Changes(end, server, backends, arguments.reload)
    compared = Compared(end, nsd) if nsd else None
    workers = [one for one in (mutated, streams, changes, compared) if one]
    samples, panics = [], 0
    every = min(10, arguments.minutes * 60 / PARTS / 2)
    progress = open(arguments.json, "w", buffering=1) if arguments.json else None
    try:
        for thread in [asker, *workers]:
            thread.start()
        while asker.is_alive():
            asker.join(every)
            latencies, asker.latencies = asker.latencies, []
            rss, descriptors, seconds = state(server.process.pid)
            with urllib.request.urlopen(f"http://127.0.0.1:{CONTROL}/metrics", timeout=5) as reply:
                lines = reply.read().decode().splitlines()
            panics = sum(float(line.split()[-1]) for line in lines if "panic" in line and not line.startswith("#"))
            samples.append({"at": time.monotonic() - begin, "rss": rss, "descriptors": descriptors, "cpu": seconds, "sent": asker.sent,
                            "lost": asker.lost, "p50": percentile(latencies, .5), "p99": percentile(latencies, .99),
                            "p999": percentile(latencies, .999)})
            if progress:
                progress.write(json.dumps(samples[-1]) + "\n")
        for worker in workers:
            worker.join()
    finally:
        server.stop()
        if nsd:
            nsd.stop()
        log = (server.directory / "log").read_text(errors="replace")
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{arguments.minutes:g} minutes: {asker.sent} queries over UDP, {changes.reloads} reloads, {changes.done} flaps, {mutated.done} "
          f"mutated packets ({mutated.replies} replies), {streams.done} connections ({streams.answers} answers)"
          + (f", {compared.done} questions compared with NSD" if compared else ", no NSD here"))
    where = f"(dropped by the kernel at the server's socket: {asker.drops.get(server.port, 0)}, at the asker's: " \
            f"{asker.drops.get(asker.own_port, 0)})" if asker.lost else ""
    print(f"lost {asker.lost} {where}, wrong {asker.wrong} {asker.examples or ''}")
    print("| minutes | RSS KiB | descriptors, most | CPU µs a query | median µs | 99 % µs | 99.9 % µs |\n|--:|--:|--:|--:|--:|--:|--:|")
    size = max(len(samples) // PARTS, 1)
    parts = [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]
    before = None
    for part in parts:
        last, middle = part[-1], lambda key: statistics.median(one[key] for one in part)  # noqa: B023
        cpu = (last["cpu"] - before["cpu"]) / max(last["sent"] - before["sent"], 1) * 1e6 if before else 0
        print(f"| {last['at'] / 60:.1f} | {middle('rss'):.0f} | {max(one['descriptors'] for one in part)} | {cpu:.0f} | {middle('p50'):.0f} "
              f"| {middle('p99'):.0f} | {middle('p999'):.0f} |")
        before = last
    settled = samples[len(samples) // PARTS :]
    print(f"after the first tenth RSS grew by {growth(settled, 'rss'):.0f} KiB, descriptors by {growth(settled, 'descriptors'):.1f}")
    errors = [line for line in log.splitlines() if "ERROR" in line or "panic" in line]
    print(f"panics {panics:.0f}, errors in the log: {len(errors)}", *errors[:3], sep="\n  ")
    troubles = [f"{type(worker).__name__}: {len(worker.wrong)}{'+' if len(worker.wrong) == 100 else ''} times, as {worker.wrong[0]}"
                for worker in workers if worker.wrong]
    print("nothing else went wrong" if not troubles else "\n".join(troubles))
    first, last = settled[0], settled[-1]
    grown = last["rss"] > first["rss"] * 1.1 + 2048 or last["descriptors"] > first["descriptors"] + 60
    raise SystemExit(1 if asker.lost or asker.wrong or panics or errors or troubles or grown else 0)


if __name__ == "__main__":
    main()
