"""200 replaces and 200 kills under load: queries sent, lost and wrong in each; overrides and serials kept."""

import argparse
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import load

ROLLCALL = os.environ["ROLLCALL"]
SERVER = """
zones = "zones"
state_dir = "state"
[listen]
dns = ["127.0.0.1:{dns}"]
tls = ["127.0.0.1:{tls}"]
control = "unix:control.sock"
[tls]
cert = "cert.pem"
key = "key.pem"
[dns]
udp_workers = {workers}
"""
# The interval is longer than the whole trial: a successor that did not take the verdicts over would answer the dead
# backend, or wait for it.
ZONE = """
zone = "lb.example.com"
ttl = 5
[records]
"@" = {{ NS = "ns.example.net." }}
[checks.web]
type = "http"
port = {backend}
interval = "1h"
timeout = "1s"
fast_interval = "100ms"
fall = 2
[pools.web]
check = "web"
policy = "weighted"
backends = [
  {{ name = "a", address = "127.0.0.1", weight = 3 }},
  {{ name = "b", address = "127.0.0.2" }},
  {{ name = "dead", address = "127.0.0.3", weight = 10 }},
  {{ name = "drained", address = "127.0.0.4", weight = 10 }},
]
[names]
www = "web"
"""
RIGHT = ("127.0.0.1", "127.0.0.2")
PASSED = FAILED = 0


def check(what, ok, detail=""):
    global PASSED, FAILED
    PASSED, FAILED = PASSED + bool(ok), FAILED + (not ok)
    print(f"  {'ok  ' if ok else 'FAIL'} {what}{': ' + str(detail) if detail != '' else ''}", flush=True)


class Backend(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.server.server_address[0] != "127.0.0.3" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def free_port():
    """A port that is free for UDP and TCP on 127.0.0.1, below those that clients get."""
    for port in range(20000, 30000):
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        if port not in free_port.given:
            free_port.given.add(port)
            return port
    raise SystemExit("no free port")


free_port.given = set()


class Server:
    def __init__(self, directory, workers):
        self.directory = directory
        self.workers = workers
        self.dns, self.tls = free_port(), free_port()
        self.backends = []
        port = free_port()
        for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"):
            backend = ThreadingHTTPServer((host, port), Backend)
            threading.Thread(target=backend.serve_forever, daemon=True).start()
            self.backends.append(backend)
        (directory / "zones").mkdir()
        (directory / "zones/lb.toml").write_text(ZONE.format(backend=port))
        self.write(workers)
        make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        subprocess.run(["openssl", *make.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=directory, check=True,
                       stderr=subprocess.DEVNULL)
        self.log = open(directory / "log", "a")
        self.process = None

    def write(self, workers):
        text = SERVER.format(dns=self.dns, tls=self.tls, workers=workers)
        (self.directory / "rollcall.toml").write_text(text)

    def start(self):
        self.process = subprocess.Popen([ROLLCALL, "serve"], cwd=self.directory, stderr=self.log, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        end = time.monotonic() + 20
        while self.serial_at_once() is None:
            if time.monotonic() > end:
                raise SystemExit("the server does not answer:\n" + (self.directory / "log").read_text())

    def command(self, *arguments):
        return subprocess.run([ROLLCALL, *arguments], cwd=self.directory, capture_output=True, text=True)

    def status(self):
        return json.loads(self.command("status", "--json").stdout)

    def serial(self):
        """The zone's serial as answered now; a loaded machine gets a second for it."""
        end = time.monotonic() + 1
        while (serial := self.serial_at_once()) is None and time.monotonic() < end:
            pass
        return serial

    def serial_at_once(self):
        """The same; None without an answer within 50 ms."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(0.05)
            name = b"\x02lb\x07example\x03com\x00"
            try:
                one.connect(("127.0.0.1", self.dns))
                one.send(struct.pack(">6H", 7, 0, 1, 0, 0, 0) + name + struct.pack(">HH", 6, 1))
                reply = one.recv(2048)
            except OSError:
                return None
            return struct.unpack(">I", reply[-20:-16])[0]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def end(self):
        if self.pid and pathlib.Path(f"/proc/{self.pid}").exists():
            os.kill(self.pid, signal.SIGTERM)
        for backend in self.backends:
            backend.shutdown()


def tell(tallies, times):
    for tally in tallies:
        cut = f", {tally.cut} connections closed while idle" if tally.cut else ""
        print(f"  {tally.name}: {tally.sent} sent, {tally.lost} lost, {tally.wrong} wrong, "
              f"slowest {tally.latest * 1000:.0f} ms{cut}")
        for example in tally.examples[:3]:
            print(f"      {example}")
    times = sorted(times)
    print(f"  each took {times[len(times) // 2]:.0f} ms (median), {times[-1]:.0f} ms (longest)")


def shares(tallies):
    counts = {}
    for tally in tallies:
        for address, count in tally.answers.items():
            counts[address] = counts.get(address, 0) + count
    right = sum(counts.get(address, 0) for address in RIGHT)
    return counts.get("127.0.0.1", 0) / max(right, 1)


def drained(status):
    backends = {one["backend"]: one for one in status["zones"][0]["pools"][0]["backends"]}
    forced = backends["drained"]["override"]
    return forced and forced["reason"], backends["dead"]["state"]


def begin(options):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-upgrade."))
    server = Server(directory, options.workers)
    server.start()
    said = server.command("state", "*/web/drained", "drain", "--reason", "kept")
    if said.returncode != 0:
        raise SystemExit(said.stderr)
    end = time.monotonic() + 20
    while drained(server.status())[1] != "down" and time.monotonic() < end:
        time.sleep(0.05)
    return server


def replaces(options):
    print(f"{options.replaces} replaces", flush=True)
    server = begin(options)
    before, queries, pids, times, late = server.serial(), 0, {server.pid}, [], 0
    clients = load.Load(server.dns, server.tls, RIGHT, options.rate)
    time.sleep(0.5)
    descriptors, monotone = None, True
    for number in range(options.replaces):
        if number % 4 == 3:
            # The number of workers changes too: more, fewer, and back.
            server.write(options.workers + (number // 4) % 3 - 1 or 1)
        if number % 10 == 9:
            # A file with an error: refused, and nothing changes.
            zone = server.directory / "zones/lb.toml"
            good = zone.read_text()
            zone.write_text(good + "nonsense = 1\n")
            refused = server.command("replace")
            zone.write_text(good)
            if refused.returncode != 1 or "nonsense" not in refused.stderr or server.status()["pid"] != server.pid:
                check("a bad file is refused by name", False, refused.stderr)
        said = server.command("replace", "--json")
        if said.returncode != 0:
            check(f"replace {number}", False, said.stderr)
            break
        replaced = json.loads(said.stdout)
        server.pid = replaced["pid"]
        pids.add(server.pid)
        times.append(replaced["took_ms"])
        serial = server.serial()
        monotone = monotone and serial is not None and (serial - before) % 2**32 < 2**31
        before = serial or before
        if number == 5:
            descriptors = server.descriptors()
        time.sleep(options.pause)
    tallies = clients.end()
    tell(tallies, times)
    status = server.status()
    check("every replace left another process", len(pids) == options.replaces + 1, f"{len(pids)} processes")
    check("lost", sum(tally.lost for tally in tallies) == 0, sum(tally.lost for tally in tallies))
    check("wrong", sum(tally.wrong for tally in tallies) == 0, sum(tally.wrong for tally in tallies))
    check("override and verdict kept", drained(status) == ("kept", "down"), drained(status))
    check("the serial never goes back", monotone)
    share = shares(tallies)
    check("the share of a backend with three of four", abs(share - 0.75) < 0.005, f"{share:.4f}")
    sent = sum(tally.sent for tally in tallies)
    # The last processes hold connections for up to 15 s, and tell what they counted when they leave.
    end = time.monotonic() + 45
    while (counted := sum(one["queries"] for one in status.get("traffic", []))) < sent and time.monotonic() < end:
        time.sleep(1)
        status = server.status()
    if counted:
        check("counters go on", counted >= sent, f"{counted} counted, {sent} sent by the clients")
    if descriptors:
        check("descriptors do not pile up", server.descriptors() <= descriptors + 20, f"{descriptors}, {server.descriptors()}")
    server.end()


def kills(options):
    print(f"{options.kills} kills and restarts", flush=True)
    server = begin(options)
    clients = load.Load(server.dns, server.tls, RIGHT, options.rate)
    time.sleep(0.5)
    before, times, monotone, kept = server.serial(), [], True, True
    for number in range(options.kills):
        reason = f"round {number}"
        said = server.command("state", "*/web/drained", "drain", "--reason", reason)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        gone = time.monotonic()
        server.start()
        times.append((time.monotonic() - gone) * 1000)
        serial = server.serial()
        monotone = monotone and serial is not None and (serial - before) % 2**32 < 2**31
        before = serial or before
        now = drained(server.status())
        if said.returncode != 0 or now != (reason, "down"):
            kept = False
            check(f"kill {number}", False, f"{said.stderr} {now}")
        time.sleep(options.pause)
    tallies = clients.end()
    tell(tallies, times)
    sent, lost = sum(tally.sent for tally in tallies), sum(tally.lost for tally in tallies)
    print(f"  lost in all: {lost} of {sent}, {lost / max(options.kills, 1):.1f} a kill")
    check("every override that was acknowledged was kept", kept)
    check("the serial never goes back", monotone)
    check("wrong", sum(tally.wrong for tally in tallies) == 0, sum(tally.wrong for tally in tallies))
    server.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--replaces", type=int, default=200)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rate", type=int, default=3000, help="UDP queries a second")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.short:
        options.replaces, options.kills = 20, 20
    if options.replaces:
        replaces(options)
    if options.kills:
        kills(options)
    print(f"{PASSED} passed, {FAILED} failed")
    sys.exit(FAILED != 0)


if __name__ == "__main__":
    main()
