"""Starts each server on loopback with the same zone and one worker, as its own documentation advises for speed.

The zone bench.example. has 1,000 hosts, a weighted name with health checks (3:2:1 over 127.0.0.11 to .13), and a name with
eight addresses in rotation. NSD, Knot and BIND know neither weights nor checks: there the weighted name is one address.
"""

import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "bench.example"
HOSTS = 1000
WEIGHTED = [("127.0.0.11", 3), ("127.0.0.12", 2), ("127.0.0.13", 1)]
ROTATED = [f"127.0.1.{last}" for last in range(1, 9)]
SERVER_CORE, LOAD_CORE = "0", "1"
SOA = "ns1 hostmaster 1 7200 900 1209600 5"


def static_zone(extra):
    lines = [f"$ORIGIN {ORIGIN}.", "$TTL 300", f"@ IN SOA {SOA}", "@ IN NS ns1", "ns1 IN A 127.0.0.53"]
    lines += [f"h{host} IN A 10.0.{host // 256}.{host % 256}" for host in range(HOSTS)]
    return "\n".join(lines + extra) + "\n"


def rotated_records():
    return [f"rotated 30 IN A {address}" for address in ROTATED]


def weighted_once():
    return [f"weighted 30 IN A {WEIGHTED[0][0]}"]


class Server:
    """One running server. `pids()` are the processes whose CPU time counts."""

    name = ""

    def __init__(self, directory, port, health_port, interval=None):
        self.directory = Path(directory) / self.name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.port, self.health_port, self.interval = port, health_port, interval
        self.process = None

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def start(self, core=SERVER_CORE):
        command = self.command()
        log = open(self.directory / "log", "wb")
        pin = ["taskset", "-c", core] if core else []
        self.process = subprocess.Popen(pin + command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.time() + 20
        while ask(self.port, f"h1.{ORIGIN}") is None:
            if time.time() > deadline or self.process.poll() is not None:
                text = (self.directory / "log").read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"{self.name} does not answer:\n{text}")
            time.sleep(0.05)

    def stop(self):
        if self.process:
            for kind in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(self.process.pid, kind)
                except ProcessLookupError:
                    pass
                try:
                    self.process.wait(3)
                    break
                except subprocess.TimeoutExpired:
                    pass
            self.process = None

    def pids(self):
        found, wanted = [], [self.process.pid]
        while wanted:
            pid = wanted.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                wanted += [int(child) for child in task.read_text().split()]
        return found

    def version(self):
        return ""


class Rollcall(Server):
    name = "rollcall"

    def command(self):
        interval = self.interval or "1s"
        quick = 'watch = true\nfall = 1\nrise = 1\n' if self.interval else ""
        weighted = ", ".join(f'{{ address = "{address}", weight = {weight} }}' for address, weight in WEIGHTED)
        rotated = ", ".join(f'"{address}"' for address in ROTATED)
        rotated = ", ".join(f'{{ address = {address} }}' for address in rotated.split(", "))
        self.write("zones/bench.toml", f"""
zone = "{ORIGIN}"
zonefile = "bench.zone"
ttl = 30

[checks.web]
type = "tcp"
port = {self.health_port}
interval = "{interval}"
{quick}
[pools.weighted]
check = "web"
policy = "weighted"
backends = [{weighted}]

[pools.rotated]
check = "web"
policy = "round-robin"
backends = [{rotated}]

[names]
weighted = "weighted"
rotated = "rotated"
""")
        self.write("zones/.keep", "")
        (self.directory / "zones" / "bench.zone").write_text(static_zone([]))
        os.rename(self.directory / "zones" / "bench.zone", self.directory / "bench.zone")
        text = (self.directory / "zones" / "bench.toml").read_text()
        self.write("zones/bench.toml", text.replace('"bench.zone"', '"../bench.zone"'))
        config = self.write("rollcall.toml", f"""
[listen]
dns = ["127.0.0.1:{self.port}"]
[dns]
udp_workers = 1
[log]
level = "warn"
""")
        binary = os.environ.get("ROLLCALL", ROOT / "target/release/rollcall")
        return [str(binary), "serve", "--config", str(config)]

    def version(self):
        return "this tree"


class Steered(Rollcall):
    """With pools and routes beside `weighted`, of the same backends: a hash pool, a map of 100,000 networks, a tree of four
    levels (map, shares, rendezvous, shares)."""

    name = "steered"

    def command(self):
        command = super().command()
        backends = ", ".join(f'{{ address = "{address}", weight = {weight} }}' for address, weight in WEIGHTED)
        zone = self.directory / "zones/bench.toml"
        zone.write_text(zone.read_text().replace("[names]", f"""
[pools.hashed]
check = "web"
policy = "hash"
backends = [{backends}]
[maps.networks]
file = "../networks.csv"
[routes.mapped]
type = "map"
map = "networks"
choices = {{ here = "weighted", there = "rotated", default = "rotated" }}
[routes.tree]
type = "map"
map = "networks"
choices = {{ here = "split", there = "rotated", default = "rotated" }}
[routes.split]
type = "weighted"
choices = [{{ to = "owned", weight = 3 }}, {{ to = "more", weight = 2 }}]
[routes.owned]
type = "hash"
choices = ["inner", "more"]
[routes.more]
type = "weighted"
choices = ["weighted", "hashed"]
[routes.inner]
type = "weighted"
choices = ["hashed", {{ to = "weighted", weight = 2 }}]
[names]
hashed = "hashed"
mapped = "mapped"
tree = "tree"
"""))
        networks = [f"{20 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24,{'there' if n % 2 else 'here'}" for n in range(100_000)]
        self.write("networks.csv", "\n".join(["127.0.0.0/24,here", *networks]) + "\n")
        return command


class Gdnsd(Server):
    name = "gdnsd"

    def command(self):
        interval = self.interval or "2"  # Its least.
        weighted = "\n".join(f"      a{n} => [ {address}, {weight} ]" for n, (address, weight) in enumerate(WEIGHTED))
        self.write("config", f"""
options => {{
  listen => 127.0.0.1:{self.port}
  udp_threads => 1
  tcp_threads => 1
  run_dir => {self.directory}/run
  state_dir => {self.directory}/state
}}
service_types => {{
  web => {{ plugin => tcp_connect, port => {self.health_port}, interval => {interval}, timeout => 1,
            up_thresh => 1, ok_thresh => 1, down_thresh => 1 }}
}}
plugins => {{
  tcp_connect => {{}}
  weighted => {{
    weighted => {{
      service_types => web
      multi => false
{weighted}
    }}
  }}
}}
""")
        self.write(f"zones/{ORIGIN}", static_zone(rotated_records() + ["weighted 30 DYNA weighted!weighted"]))
        for name in ("run", "state"):
            (self.directory / name).mkdir(exist_ok=True)
        return ["gdnsd", "-c", str(self.directory), "start"]

    def version(self):
        return first_line(["gdnsd"])


class Nsd(Server):
    name = "nsd"

    def command(self):
        self.write("bench.zone", static_zone(rotated_records() + weighted_once()))
        config = self.write("nsd.conf", f"""
server:
  server-count: 1
  ip-address: 127.0.0.1@{self.port}
  username: ""
  zonesdir: "{self.directory}"
  database: ""
  pidfile: ""
  xfrdfile: "{self.directory}/xfrd.state"
  zonelistfile: "{self.directory}/zone.list"
  rrl-ratelimit: 0
  round-robin: yes
  minimal-responses: yes
remote-control:
  control-enable: no
zone:
  name: {ORIGIN}
  zonefile: bench.zone
""")
        return ["nsd", "-d", "-c", str(config)]

    def version(self):
        return first_line(["nsd", "-v"])


class Knot(Server):
    name = "knot"

    def command(self):
        self.write("bench.zone", static_zone(rotated_records() + weighted_once()))
        config = self.write("knot.conf", f"""
server:
  listen: 127.0.0.1@{self.port}
  rundir: {self.directory}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  answer-rotation: on
database:
  storage: {self.directory}
log:
  - target: stderr
    any: error
zone:
  - domain: {ORIGIN}
    storage: {self.directory}
    file: bench.zone
    zonefile-load: whole
    journal-content: none
""")
        return ["knotd", "-c", str(config)]

    def version(self):
        return first_line(["knotd", "-V"])


class PowerDns(Server):
    name = "powerdns"

    def command(self):
        # Health-checked and weighted: an address stands in the list as often as it weighs.
        listed = ",".join(f"'{address}'" for address, weight in WEIGHTED for _ in range(weight))
        lua = f"weighted 30 IN LUA A \"ifportup({self.health_port}, {{{listed}}}, {{selector='random'}})\""
        zone = self.write("bench.zone", static_zone(rotated_records() + [lua]))
        self.write("named.conf", f'zone "{ORIGIN}" {{ type master; file "{zone}"; }};\n')
        self.write("pdns.conf", f"""
launch=bind
bind-config={self.directory}/named.conf
local-address=127.0.0.1
local-port={self.port}
socket-dir={self.directory}
enable-lua-records=yes
lua-health-checks-interval={self.interval or 1}
receiver-threads=1
distributor-threads=1
loglevel=3
daemon=no
guardian=no
""")
        return ["pdns_server", f"--config-dir={self.directory}"]

    def version(self):
        return first_line(["pdns_server", "--version"])


class Bind(Server):
    name = "bind"

    def command(self):
        zone = self.write("bench.zone", static_zone(rotated_records() + weighted_once()))
        config = self.write("named.conf", f"""
options {{
  directory "{self.directory}";
  pid-file none; session-keyfile "{self.directory}/session.key"; managed-keys-directory "{self.directory}";
  listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; minimal-responses yes; notify no;
}};
controls {{ }};
zone "{ORIGIN}" {{ type primary; file "{zone}"; }};
""")
        return ["named", "-f", "-n", "1", "-c", str(config)]

    def version(self):
        return first_line(["named", "-v"])


class Echo(Server):
    name = "echo"
    more = 16

    def command(self):
        return [str(ROOT / "target/release/examples/echo"), f"127.0.0.1:{self.port}", str(self.more)]


ALL = [Rollcall, Gdnsd, Nsd, Knot, Bind, PowerDns]


def first_line(command):
    result = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    return lines[0].strip() if lines else ""


def encode(name, rtype=1, number=0x1234, edns=False):
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split(".")) + b"\0"
    query = struct.pack("!HHHHHH", number, 0, 1, 0, 0, int(edns)) + question + struct.pack("!HH", rtype, 1)
    return query + (b"\0\0\x29\x04\xd0\0\0\0\0\0\0" if edns else b"")


def ask(port, name, rtype=1, edns=False, timeout=0.3):
    """The reply's octets, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.connect(("127.0.0.1", port))
        try:
            client.send(encode(name, rtype, edns=edns))
            return client.recv(4096)
        except OSError:
            return None


def addresses(reply):
    """RCODE, and the A records of an answer whose owners are pointers."""
    count, at, found = struct.unpack("!H", reply[6:8])[0], 12, []
    while reply[at]:
        at += 1 + reply[at]
    at += 5
    for _ in range(count):
        while reply[at] & 0xC0 == 0 and reply[at]:
            at += 1 + reply[at]
        at += 2 if reply[at] & 0xC0 else 1
        rtype, _, _, length = struct.unpack("!HHIH", reply[at:at + 10])
        at += 10
        if rtype == 1:
            found.append(socket.inet_ntoa(reply[at:at + 4]))
        at += length
    return reply[3] & 15, found
