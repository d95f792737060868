"""Panics in the release program: each costs one packet, one probe or one connection, is counted, and all else goes on.

A panic is a defect, and none is known; so the drill builds a program of its own, with the feature `panic-drill`, that panics when
asked for certain names and paths. It begins by showing that the program that ships does nothing of the kind.
"""

import contextlib
import os
import struct
import subprocess

import backend
import dns
import lib
from lib import PLAIN, ROLLCALL, Load, Server, Skip, check, drill, eventually, main, say, zone

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMES = ("panic-respond.any.lb.example", "panic-outside.any.lb.example")
WRITTEN = (b"panic-respond", b"panic-outside", b"/panic-drill", b"the drill asked for a panic")


def panicking():
    """The program with the feature; built when it is not there or older than the sources."""
    path = os.environ.get("ROLLCALL_PANIC")
    if not path:
        say("building rollcall-panic-drill")
        command = ["cargo", "build", "--release", "--locked", "--features", "panic-drill", "--bin", "rollcall-panic-drill"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise Skip(f"it cannot be built here: {done.stderr[-300:]}")
        path = os.path.join(ROOT, "target/release/rollcall-panic-drill")
    return path


@contextlib.contextmanager
def program(path):
    before, lib.ROLLCALL = lib.ROLLCALL, path
    try:
        yield
    finally:
        lib.ROLLCALL = before


def counted(server, transport):
    return next(one for one in server.status()["traffic"] if one["transport"] == transport)["panics"]


def silent(server, name):
    try:
        server.ask(name, wait=0.3)
        return False
    except dns.Silence:
        return True


def closed(server, name):
    """Whether a connection that asks for this is closed without an answer."""
    with dns.connect(("127.0.0.1", server.port)) as tcp:
        tcp.sendall(dns.framed(dns.query(name)))
        return tcp.recv(100) == b""


@drill("the program that ships holds no such thing, and answers those names like others", short=True)
def not_in_production():
    with open(ROLLCALL, "rb") as file:
        octets = file.read()
    check("it does not hold their names", not any(word in octets for word in WRITTEN))
    version = subprocess.run([ROLLCALL, "--version"], capture_output=True, text=True).stdout.strip()
    check("its version has no mark", "panic" not in version, version)
    with Server() as server:
        for name in NAMES:
            reply = server.ask(name)
            check(f"{name}: answered", reply.rcode == 0 and len(reply.addresses) == 2)
        check("no panic is counted", sum(one["panics"] for one in server.status()["traffic"]) == 0)


@drill("panics in UDP workers, connections and probes: one packet, one connection, one probe; counted; all else goes on", short=False)
def panics():
    path = panicking()
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.strip()
    check("the version says what it is", version.endswith("+panic-drill"), version)
    with program(path):
        outside = Server(listen=["0.0.0.0:{port}"])
        outside.start(wait=False)
        check("it serves nobody but loopback", outside.process.wait(10) == 2 and "not loopback" in outside.log_text())
        farm = backend.Farm()
        port = farm.serve("127.0.0.1", backend.fixed(b"ok"))
        keys = 'type = "http"\ninterval = "200ms"\ntimeout = "150ms"\nfall = 2\nrise = 1\n'
        pools = "".join(
            f'[pools.{name}]\ncheck = "{name}"\nbackends = [{{ address = "127.0.0.1", port = {port} }}]\n' for name in ("good", "bad")
        )
        text = zone(
            f'[checks.good]\n{keys}[checks.bad]\n{keys}path = "/panic-drill"\n{pools}{PLAIN}good = "good"\nbad = "bad"\n'
        )
        with Server({"lb.toml": text}) as server:
            rounds = 200
            with Load(server, lambda reply: len(reply.addresses) == 2) as load:
                lost = sum(silent(server, NAMES[0]) for _ in range(20))
                check("in respond(), over UDP: that packet gets no answer", lost == 20, f"{lost} of 20")
                check("each is counted", eventually(lambda: counted(server, "udp") == 20, 2), counted(server, "udp"))
                # A burst that the workers take in one batch: the neighbours of a panic are answered.
                udp = dns.socket.socket(dns.socket.AF_INET, dns.socket.SOCK_DGRAM)
                udp.connect(("127.0.0.1", server.port))
                udp.settimeout(1)
                for number in range(rounds):
                    udp.send(dns.query("www.lb.example" if number % 2 else NAMES[0], id=number))
                got = set()
                with contextlib.suppress(TimeoutError):
                    while len(got) < rounds:
                        got.add(struct.unpack(">H", udp.recv(2048)[:2])[0])
                check("its neighbours in a burst are answered, all of them", got == set(range(1, rounds, 2)), f"{len(got)} of {rounds // 2}")
                check("in respond(), over TCP: that connection is closed", all(closed(server, NAMES[0]) for _ in range(20)))
                check("around it, in the connection's task: closed too", all(closed(server, NAMES[1]) for _ in range(20)))
                check("each is counted", eventually(lambda: counted(server, "tcp") == 40, 2), counted(server, "tcp"))
                check("another connection is answered", dns.ask_tcp(("127.0.0.1", server.port), dns.query()).rcode == 0)
                check(
                    "in a probe: that backend is down by it, its neighbour stays up",
                    eventually(lambda: server.backend("bad", "127.0.0.1")["verdict"] == "down", 5)
                    and server.backend("bad", "127.0.0.1")["reason"] == "internal error"
                    and server.backend("good", "127.0.0.1")["verdict"] == "up",
                )
                before = server.status()["probing"]
                check("probes are counted, and go on", eventually(lambda: server.status()["probing"]["panics"] > before["panics"] + 3, 5))
                check("status says so to people", "panics contained" in server.command("status")[1])
            load.verdict("UDP meanwhile")
            lost = sum(silent(server, NAMES[1]) for _ in range(5))
            check("in a worker's loop itself: it starts again", lost == 5 and eventually(lambda: server.ask().rcode == 0, 2))
            check("that is counted too", eventually(lambda: counted(server, "udp") == 20 + rounds // 2 + 5, 2), counted(server, "udp"))
            udp = next(one for one in server.status()["traffic"] if one["transport"] == "udp")
            check("and so is each new start", udp["restarts"] == 5, udp["restarts"])
            check("every worker answers", all(server.ask().rcode == 0 for _ in range(50)))
            descriptors = server.descriptors()
            check("nothing is left open", descriptors < 40, descriptors)
            seconds, code = server.stop()
            check("stops in order", code == 0 and seconds < 5, f"{seconds:.2f} s")
        farm.close()


if __name__ == "__main__":
    main()
