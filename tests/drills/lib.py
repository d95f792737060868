"""Shared by the drills: the server as a child process, namespaces, counting. Standard library only.

A chapter is a list of functions marked `@drill`; `main()` runs them one after another. A drill calls `check(what, good)` as
often as it has something to say, and uses `with Server(...)`, which ends the process however the drill ends.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import dns

ROLLCALL = os.environ.get("ROLLCALL", "target/release/rollcall")
WORK = os.environ.get("DRILL_WORK") or tempfile.mkdtemp(prefix="rollcall-drill.")
APART = os.environ.get("DRILL_APART") == "yes"
SHORT = "--short" in sys.argv

DRILLS = []
passed = failed = 0


class Skip(Exception):
    """The machine cannot do this drill; says what is missing."""


def drill(what, short=True, apart=False):
    """Marks a drill. `short`: part of `--short`; `apart`: needs namespaces of its own."""

    def mark(function):
        DRILLS.append((function, what, short, apart))
        return function

    return mark


def check(what, good, seen=""):
    """One promise, kept or not. Returns whether it was."""
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
    print(f"{'ok   ' if good else 'FAIL '} {what}{f': {seen}' if seen != '' else ''}")
    return good


def say(text):
    print(f"      {text}")


def main():
    """Runs the chapter; the last line is the count, the exit code says whether anything failed."""
    global failed
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    if APART:
        run("ip", "link", "set", "lo", "up")
    for function, what, short, apart in DRILLS:
        if only not in function.__name__ or (SHORT and not short):
            continue
        if "--list" in sys.argv:
            print(f"{function.__name__:32} {'short' if short else '     '} {what}")
            continue
        print(f"-- {function.__name__}: {what}")
        begun = time.monotonic()
        try:
            if apart and not APART:
                raise Skip("no namespaces can be made here")
            function()
        except Skip as reason:
            print(f"skip  {reason}")
        except Exception:
            failed += 1
            print(f"FAIL  {function.__name__} broke off\n{traceback.format_exc()}")
        say(f"{time.monotonic() - begun:.1f} s")
    if "--list" not in sys.argv:
        print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def free_port(address="127.0.0.1"):
    """A port that is free there for UDP and TCP alike."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            tcp.bind((address, 0))
            with contextlib.suppress(OSError):
                udp.bind((address, tcp.getsockname()[1]))
                return tcp.getsockname()[1]


def eventually(test, seconds=10.0, pause=0.05):
    """Whether `test()` becomes true in that time; what it raises counts as not yet."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, KeyError, IndexError, ValueError, dns.Silence, http.client.HTTPException):
            if test():
                return True
        if time.monotonic() > end:
            return False
        time.sleep(pause)


def zone(rest="", name="lb.example", ttl=5):
    """A zone file with what every zone needs."""
    return f'zone = "{name}"\nttl = {ttl}\n[records]\n"@" = {{ NS = "ns.example.net." }}\ntxt = {{ TXT = "static" }}\n{rest}'


PLAIN = """
[pools.web]
backends = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }]
[names]
www = "web"
"*.any" = "web"
"""


def pool_of(addresses):
    """A zone whose `www` answers exactly these."""
    backends = ", ".join(f'{{ address = "{address}" }}' for address in addresses)
    return zone(f'[pools.web]\nbackends = [{backends}]\n[names]\nwww = "web"\n')


@contextlib.contextmanager
def control_group(kind, **settings):
    """A control group of that kind with these settings, and a prefix for a command that shall run in it."""
    group = f"/sys/fs/cgroup/{kind}/rollcall-drill"
    try:
        os.makedirs(group, exist_ok=True)
        for name, value in settings.items():
            with open(f"{group}/{kind}.{name}", "w") as file:
                file.write(str(value))
    except OSError as error:
        raise Skip(f"no control group can be made here: {error}") from None
    try:
        yield group, ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "-"]
    finally:
        eventually(lambda: not os.rmdir(group), 5)


class Server:
    """The real program in a directory of its own."""

    count = 0

    def __init__(self, zones=None, server="", listen=None, dns_keys="", prefix=(), environment=None, log=None, limit=False):
        Server.count += 1
        self.directory = os.path.join(WORK, f"server{Server.count}")
        os.makedirs(self.path("zones"))
        self.port = free_port()
        self.control = free_port()
        listen = listen or [f"127.0.0.1:{self.port}"]
        limits = "" if limit else "[dns.rate_limit]\nenabled = false\n"
        addresses = ", ".join(f'"{one.format(port=self.port)}"' for one in listen)
        self.write(
            "rollcall.toml",
            f'zones = "zones"\n{server}\n[listen]\ndns = [{addresses}]\ncontrol = "127.0.0.1:{self.control}"\n'
            f"[dns]\nudp_workers = 2\n{dns_keys}\n{limits}",
        )
        for name, text in (zones or {"lb.toml": zone(PLAIN)}).items():
            self.write(f"zones/{name}", text)
        self.prefix = list(prefix)
        self.environment = {**os.environ, **(environment or {})}
        self.log = log
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w" if isinstance(text, str) else "wb") as file:
            file.write(text)

    def replace(self, name, text):
        """As editors do: written beside, renamed over."""
        self.write(name + ".new~", text)
        os.rename(self.path(name + ".new~"), self.path(name))

    def start(self, wait=True):
        log = self.log if self.log is not None else open(self.path("log"), "ab")
        command = [*self.prefix, ROLLCALL, "serve", "--config", self.path("rollcall.toml")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=self.environment
        )
        if log is not self.log:
            log.close()
        if wait and not eventually(lambda: self.ask("lb.example", dns.SOA, wait=0.3).rcode == 0, 15, 0.01):
            raise RuntimeError(f"not ready within 15 s (exit {self.process.poll()}):\n{self.log_text()[-2000:]}")

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def stop(self, wait=10.0):
        """SIGTERM; returns the seconds that it took and the exit code."""
        begun = time.monotonic()
        self.process.terminate()
        code = self.process.wait(wait)
        return time.monotonic() - begun, code

    def log_text(self):
        try:
            with open(self.path("log"), errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def ask(self, name="www.lb.example", qtype=dns.A, wait=1.0, **more):
        return dns.ask(("127.0.0.1", self.port), dns.query(name, qtype, **more), wait)

    def addresses(self, name="www.lb.example"):
        return set(self.ask(name).addresses)

    def command(self, *arguments, wait=20):
        """A command of the program, told of this server: exit code and output."""
        command = [ROLLCALL, *arguments, "--config", self.path("rollcall.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=wait)
        return done.returncode, done.stdout + done.stderr

    def status(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.control, timeout=5)
        try:
            connection.request("GET", "/v1/status")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def backend(self, pool, name):
        """One backend's entry in `status`, and its first address's verdict and reason."""
        for one_zone in self.status()["zones"]:
            for one in one_zone["pools"]:
                for entry in one["backends"]:
                    if one["pool"] == pool and entry["backend"] == name:
                        return entry["addresses"][0]
        raise KeyError(name)

    def proc(self, name):
        with open(f"/proc/{self.pid}/{name}") as file:
            return file.read()

    def memory(self, key="VmRSS"):
        """KiB."""
        return int(re.search(rf"{key}:\s+(\d+)", self.proc("status"))[1])

    def capabilities(self):
        """The sets of capabilities that any thread holds, as the kernel writes them; empty: none."""
        held = {}
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/status") as file:
                for name, value in re.findall(r"(Cap(?:Inh|Prm|Eff|Amb)):\s+([0-9a-f]+)", file.read()):
                    if int(value, 16):
                        held[f"{name} of thread {thread}"] = value
        return held

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def say_growth(self, before, what):
        """Memory and descriptors before and after: `before` is what `size()` gave."""
        memory, descriptors = self.size()
        say(f"{what}: RSS {before[0]} KiB before, {memory} after; descriptors {before[1]} before, {descriptors} after")
        return memory - before[0]

    def size(self):
        return self.memory(), self.descriptors()

    def panics(self):
        """Contained panics, of transports and probes."""
        status = self.status()
        return status["probing"]["panics"] + sum(one["panics"] for one in status["traffic"])

    def cpu(self):
        """Seconds of processor used so far."""
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Load(threading.Thread):
    """Asks without pause while something else happens; counts what came back and remembers what was not `right`."""

    def __init__(self, server, right=None, name="www.lb.example", pause=0.004, wait=2.0):
        super().__init__(daemon=True)
        self.address = ("127.0.0.1", server.port)
        self.right = right or (lambda reply: reply.rcode == 0 and reply.addresses)
        self.name, self.pause, self.wait = name, pause, wait
        self.answered = self.lost = 0
        self.wrong, self.delays, self.seen = [], [], set()
        self.ending = threading.Event()

    def run(self):
        while not self.ending.wait(self.pause):
            begun = time.monotonic()
            try:
                reply = dns.ask(self.address, dns.query(self.name), self.wait)
            except (dns.Silence, OSError):
                self.lost += 1
                continue
            self.answered += 1
            self.delays.append(time.monotonic() - begun)
            self.seen.add(tuple(sorted(reply.addresses)))
            if not self.right(reply):
                self.wrong.append((reply.rcode, reply.addresses))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join()

    def percentile(self, part):
        """Milliseconds."""
        ordered = sorted(self.delays)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("inf")

    def verdict(self, what):
        """No answer lost, none wrong."""
        good = self.answered > 0 and self.lost == 0 and not self.wrong
        check(what, good, f"{self.answered} answered, {self.lost} lost, {len(self.wrong)} wrong {self.wrong[:2] or ''}")
