"""The network and those who abuse it: loss, floods, forgeries, slow and mute clients, and octets that mean nothing."""

import contextlib
import os
import random
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import backend
import dns
from lib import (
    PLAIN, SHORT, WORK, Load, Server, check, control_group, drill, eventually, free_port, main, run, say, zone,
)

OTHERS = "198.51.100.0/24"  # addresses that are not loopback's, but this machine's own



def big_zone():
    """A set beyond 512 octets but below 1232, and one that fills a reply over TCP."""
    strings = lambda count: ", ".join(f'"{n:03} {"x" * 90}"' for n in range(count))
    return {"lb.toml": zone(f"big = {{ TXT = [{strings(9)}] }}\nhuge = {{ TXT = [{strings(500)}] }}\n{PLAIN}")}


def others():
    with contextlib.suppress(Exception):
        run("ip", "addr", "add", OTHERS, "dev", "lo")


def many_files():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def sources():
    """Many clients' addresses: three a /24 of 127/8."""
    return (f"127.{a}.{b}.{c}" for c in range(2, 250) for a in range(16, 250) for b in range(250))


class Relay(threading.Thread):
    """Between client and server: loses, doubles and delays packets, by a seeded die."""

    def __init__(self, server, rate, seed=7):
        super().__init__(daemon=True)
        self.server, self.rate, self.dice = server, rate, random.Random(seed)
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.connect(("127.0.0.1", server.port))
        self.clients, self.delayed, self.ending = {}, [], False
        self.address = self.front.getsockname()

    def send(self, send):
        if self.dice.random() < self.rate:
            return
        times = 2 if self.dice.random() < self.rate else 1
        for _ in range(times):
            if self.dice.random() < self.rate:
                self.delayed.append((time.monotonic() + self.dice.random() * 0.05, send))
            else:
                send()

    def run(self):
        while not self.ending:
            for one in select.select([self.front, self.back], [], [], 0.005)[0]:
                if one is self.front:
                    query, client = self.front.recvfrom(65535)
                    self.clients[query[:2]] = client
                    self.send(lambda query=query: self.back.send(query))
                else:
                    reply = self.back.recv(65535)
                    client = self.clients[reply[:2]]
                    self.send(lambda reply=reply, client=client: self.front.sendto(reply, client))
            now = time.monotonic()
            due = [send for at, send in self.delayed if at <= now]
            self.delayed = [(at, send) for at, send in self.delayed if at > now]
            for send in due:
                send()


@drill("packets lost, doubled, out of order: who asks again gets the right answer; TCP in any pieces")
def bad_lines():
    with Server() as server:
        for rate in (0.01, 0.05, 0.2):
            relay = Relay(server, rate)
            relay.start()
            asked = wrong = failed = 0
            for number in range(60 if SHORT else 2000):
                query = dns.query("www.lb.example", id=number % 65536)
                for _ in range(8):
                    asked += 1
                    try:
                        reply = dns.ask(relay.address, query, 0.1)
                    except dns.Silence:
                        continue
                    wrong += set(reply.addresses) != {"192.0.2.1", "192.0.2.2"}
                    break
                else:
                    failed += 1
            relay.ending = True
            relay.join()
            check(f"{rate:.0%} lost, doubled, late: all answered, none wrong", not wrong and not failed, f"{asked} packets")
        dice = random.Random(3)
        count = 300
        stream = b"".join(dns.framed(dns.query("www.lb.example", id=n)) for n in range(count))
        with dns.connect(("127.0.0.1", server.port)) as tcp:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            at = 0
            while at < len(stream):
                size = dice.choice([1, 2, 3, 7, 50, 500])
                tcp.sendall(stream[at : at + size])
                at += size
            tcp.shutdown(socket.SHUT_WR)
            ids = [dns.parse(dns.receive(tcp)).id for _ in range(count)]
            check("a pipeline in pieces of every size, then half-closed: all answered in order", ids == list(range(count)) and tcp.recv(1) == b"")


def flood(server, count, name_of, sockets=16):
    """Sends that many queries, reading what comes without looking at it; returns seconds."""
    pool = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sockets)]
    for one in pool:
        one.connect(("127.0.0.1", server.port))
        one.setblocking(False)
    begun = time.monotonic()
    for number in range(count):
        one = pool[number % sockets]
        with contextlib.suppress(OSError):
            one.send(name_of(number))
        if number % 64 == 63:
            for other in pool:
                with contextlib.suppress(OSError):
                    while True:
                        other.recv(2048)
    for one in pool:
        one.close()
    return time.monotonic() - begun


@drill("a flood of random names: memory stays flat, a name that does not exist costs no more than one that does")
def random_names():
    count = 100_000 if SHORT else 10_000_000
    with Server() as server:
        head = struct.pack(">6H", 7, 0, 1, 0, 0, 0)
        tail = dns.wire("lb.example") + b"\0\x01\0\x01"
        known = head + dns.wire("www.lb.example") + b"\0\x01\0\x01"
        flood(server, 20_000, lambda _: known)
        before, cpu = server.size(), server.cpu()
        flood(server, count // 5, lambda _: known)
        each = (server.cpu() - cpu) / (count // 5)
        cpu = server.cpu()
        seconds = flood(server, count, lambda n: head + b"\x0c" + b"%012x" % (n * 2654435761 % (1 << 48)) + tail)
        random_each = (server.cpu() - cpu) / count
        say(f"{count} random names in {seconds:.1f} s; {each * 1e6:.1f} µs of processor for one that exists, {random_each * 1e6:.1f} for one that does not")
        check("memory stays flat", server.say_growth(before, f"{count} random names") < 2048 and server.panics() == 0)
        check("and so does the cost", random_each < 3 * each + 2e-6)
        # What waits in the socket's queue comes first.
        check("answers are right after it", eventually(lambda: server.ask("nothing.lb.example").rcode == 3 and server.ask().addresses))


@drill("ANY and large sets: never more than 1232 octets for a query, and few for ANY")
def amplification():
    with Server(big_zone()) as server:
        sent, got, most = {}, {}, 0
        rounds = 40 if SHORT else 1000
        questions = [("lb.example", dns.ANY), ("big.lb.example", dns.TXT), ("huge.lb.example", dns.TXT), ("big.lb.example", dns.ANY),
                     ("www.lb.example", dns.A), ("x.lb.example", dns.ANY), ("lb.example", dns.NS), ("lb.example", 48), ("version.bind", dns.TXT)]
        for size in (512, 1232, 4096, 65535):
            for name, qtype in questions:
                for _ in range(rounds):
                    query = dns.query(name, qtype, size)
                    reply = dns.ask(("127.0.0.1", server.port), query)
                    key = f"{name} {qtype}"
                    sent[key] = sent.get(key, 0) + len(query)
                    got[key] = got.get(key, 0) + reply.length
                    most = max(most, reply.length)
                    if reply.length > min(max(size, 512), 1232):
                        check("within the limit", False, (name, qtype, size, reply.length))
        for key in sent:
            say(f"{key}: {sent[key]} octets in, {got[key]} out, {got[key] / sent[key]:.2f}")
        check("no reply beyond 1232 octets", most <= 1232, most)
        check("ANY at the apex gives less than twice what it takes", got["lb.example 255"] < 2 * sent["lb.example 255"])
        check("what does not fit is cut to next to nothing", dns.ask(("127.0.0.1", server.port), dns.query("huge.lb.example", dns.TXT)).length < 100)


def udp_packet(source, target, payload):
    """For a raw socket with IPPROTO_RAW: whatever source one likes."""
    udp = struct.pack(">4H", source[1], target[1], 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(source[0]), socket.inet_aton(target[0]))
    return ip + udp


@drill("forged packets: responses get silence, errors are not answered with errors, echo ports are ignored, no loops", apart=True)
def forgeries():
    with Server() as one, Server() as two:
        for name, message in {
            "a response": dns.query(flags=0x8000),
            "an error": dns.query(flags=0x8001),
            "a response cut short": dns.query(flags=0x8000)[:14],
            "a response of two octets less than a header": dns.query(flags=0x8000)[:10],
            "nothing": b"",
            "two octets": b"\1\2",
        }.items():
            try:
                dns.ask(("127.0.0.1", one.port), message, 0.15)
                silent = False
            except dns.Silence:
                silent = True
            check(f"{name}: silence", silent)
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        sniffer = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)

        def packets(seconds):
            counts, end = {}, time.monotonic() + seconds
            while time.monotonic() < end:
                if select.select([sniffer], [], [], 0.05)[0]:
                    packet = sniffer.recv(65535)
                    ports = struct.unpack_from(">2H", packet, 20)
                    counts[ports] = counts.get(ports, 0) + 1
            return counts

        a, b = ("127.0.0.1", one.port), ("127.0.0.1", two.port)
        forged = [dns.query(), dns.query(flags=0x8000), dns.query("elsewhere.test"), dns.query(counts=(9, 9, 9, 9)), dns.query()[:20], dns.query(flags=0x7800), os.urandom(60)]
        packets(0.1)
        for message in forged:
            raw.sendto(udp_packet(a, b, message), b)
            raw.sendto(udp_packet(b, a, message), a)
        counts = packets(1.5)
        total = sum(number for ports, number in counts.items() if set(ports) == {one.port, two.port})
        check("two servers made to answer each other: it ends at once", total <= 4 * len(forged), f"{2 * len(forged)} forged, {total} seen")
        packets(0.1)
        for port in (0, 7, 13, 17, 19, 37, 464):
            raw.sendto(udp_packet(("127.0.0.1", port), a, dns.query()), a)
        # A server asked in its own name.
        raw.sendto(udp_packet(a, a, dns.query()), a)
        counts = packets(0.5)
        replied = [ports for ports in counts if ports[0] == one.port and ports[1] in (0, 7, 13, 17, 19, 37, 464)]
        check("port 0 and the old echo services' ports: silence", not replied, replied or "")
        own = sum(number for ports, number in counts.items() if ports == (one.port, one.port))
        check("asked in its own name: one reply, which it ignores", own <= 2, own)
        check("both still answer", one.ask().rcode == 0 and two.ask().rcode == 0)


@drill("slowloris: an octet now and then from many clients; each is closed at its deadline, UDP does not notice")
def slowloris():
    count = min(300 if SHORT else 5000, many_files() // 2)
    with Server() as server, Load(server) as load:
        memory, begun = server.memory(), time.monotonic()
        held = [dns.connect(("127.0.0.1", server.port), 5, source) for source, _ in zip(sources(), range(count))]
        message = dns.framed(dns.query())
        open_at, closed_by = set(held), None
        for at in range(30):
            for one in list(open_at):
                try:
                    one.setblocking(False)
                    one.send(message[at : at + 1])
                    if one.recv(1) == b"":
                        open_at.discard(one)
                except BlockingIOError:
                    pass
                except OSError:
                    open_at.discard(one)
            if not open_at:
                closed_by = time.monotonic() - begun
                break
            time.sleep(0.5)
        check(f"{count} drip-feeding clients are closed at the deadline", closed_by is not None and closed_by < 14, f"{closed_by and round(closed_by, 1)} s, {len(open_at)} left")
        say(f"{server.memory() - memory} KiB more at the end")
        for one in held:
            one.close()
        check("a good client over TCP meanwhile", dns.ask_tcp(("127.0.0.1", server.port), dns.query()).rcode == 0)
        check("descriptors are back", eventually(lambda: server.descriptors() < 40, 3), server.descriptors())
    load.verdict("UDP did not notice")


@drill("connections upon connections, idle, from many networks: bounded, cheap, and new clients still get in")
def idle_crowd():
    count = min(1500 if SHORT else 12_000, many_files() - 200)
    with Server() as server, Load(server) as load:
        memory = server.memory()
        held = []
        for source, _ in zip(sources(), range(count)):
            with contextlib.suppress(OSError):
                held.append(dns.connect(("127.0.0.1", server.port), 5, source))
        more = server.memory() - memory
        check(f"{len(held)} idle connections cost little", more < 8 * count, f"{more} KiB, {server.descriptors()} descriptors")
        reply = dns.ask_tcp(("127.0.0.1", server.port), dns.query(), 5, "127.250.1.1")
        check("a new client gets in", reply.rcode == 0)
        for one in held:
            one.close()
        check("descriptors are back", eventually(lambda: server.descriptors() < 40, 5), server.descriptors())
        held = []
        for number in range(400):
            with contextlib.suppress(OSError):
                held.append(dns.connect(("127.0.0.1", server.port), 5, f"127.7.7.{number % 250 + 1}"))
        check("one network does not keep another out", dns.ask_tcp(("127.0.0.1", server.port), dns.query(), 5, "127.8.8.8").rcode == 0)
        for one in held:
            one.close()
    load.verdict("UDP did not notice")


@drill("connections that vanish at each octet, by FIN and by RST; a storm of connects: nothing is left behind")
def vanishing():
    count = 3000 if SHORT else 1_000_000
    with Server() as server:
        message = dns.framed(dns.query())
        for at in range(len(message) + 1):
            for reset in (False, True):
                tcp = dns.connect(("127.0.0.1", server.port))
                tcp.sendall(message[:at])
                if reset:
                    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                tcp.close()
        begun = time.monotonic()
        source = sources()
        for number in range(count):
            if number == count // 5:
                # By then the tables have the size that so many at a time need.
                before = server.size()
            with contextlib.suppress(OSError):
                with socket.socket() as tcp:
                    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    tcp.bind((next(source), 0))
                    tcp.settimeout(3)
                    tcp.connect(("127.0.0.1", server.port))
        check("descriptors are back", eventually(lambda: server.descriptors() < 40, 5), server.descriptors())
        seconds = time.monotonic() - begun
        grown = server.say_growth(before, f"{count} connects in {seconds:.1f} s, from a fifth of them on")
        check("memory too", grown < 4096 and server.panics() == 0)
        check("it answers over TCP", dns.ask_tcp(("127.0.0.1", server.port), dns.query()).rcode == 0)


@drill("clients of TLS and HTTPS that vanish at each octet of a handshake, and octets that are no QUIC: nothing is left behind")
def vanishing_encrypted():
    certificate = backend.certificates(WORK)["fine"]
    ports = [free_port() for _ in range(3)]
    lists = "".join(f'{name} = ["127.0.0.1:{port}"]\n' for name, port in zip(("tls", "https", "quic"), ports))
    keys = f'[tls]\ncert = "{certificate[0]}"\nkey = "{certificate[1]}"\n'
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = Server(dns_keys=keys)
    text = open(server.path("rollcall.toml")).read()
    server.write("rollcall.toml", text.replace("[listen]\n", f"[listen]\n{lists}"))
    with server, Load(server) as load:
        # UDP answers a moment before the others are all there.
        descriptors = max(server.descriptors() for _ in range(20) if time.sleep(0.05) is None)
        for port, protocol in ((ports[0], "dot"), (ports[1], "h2")):
            context.set_alpn_protocols([protocol])
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing, server_hostname="web.test").do_handshake()
            hello = outgoing.read()
            for at in range(0, len(hello) + 1, 5 if SHORT else 1):
                for reset in (False, True):
                    with dns.connect(("127.0.0.1", port)) as tcp:
                        tcp.sendall(hello[:at] if at % 2 else hello[:at] + os.urandom(40))
                        if reset:
                            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Behind the handshake: a message, or a preface, cut anywhere.
            said = dns.framed(dns.query()) if protocol == "dot" else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
            for at in range(len(said) + 1):
                with dns.connect(("127.0.0.1", port)) as tcp, context.wrap_socket(tcp, server_hostname="web.test") as tls:
                    tls.sendall(said[:at])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(("127.0.0.1", ports[2]))
            for number in range(3000):
                with contextlib.suppress(OSError):
                    # A long header with a version, known or not, and octets behind it.
                    udp.send(bytes([0xC0 | number % 64]) + struct.pack(">I", number % 3) + os.urandom(number % 1200))
        check("descriptors are back", eventually(lambda: server.descriptors() <= descriptors + 2, 12), f"{descriptors} before, {server.descriptors()} after")
        check("no panic", server.panics() == 0 and "panic" not in server.log_text())
        context.set_alpn_protocols(["dot"])
        with dns.connect(("127.0.0.1", ports[0])) as tcp, context.wrap_socket(tcp, server_hostname="web.test") as tls:
            tls.sendall(dns.framed(dns.query()))
            check("TLS answers as before", dns.parse(dns.receive(tls)).rcode == 0)
    load.verdict("UDP did not notice")


@drill("a client that never reads, and one that asks without end: bounded memory, others as quick as before")
def never_reading():
    with Server(big_zone()) as server:
        with Load(server) as calm:
            time.sleep(1)
        memory = server.memory()
        message = dns.framed(dns.query("huge.lb.example", dns.TXT)) * 100
        clients = []
        for number in range(20):
            tcp = socket.socket()
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            tcp.bind((f"127.30.{number}.1", 0))
            tcp.connect(("127.0.0.1", server.port))
            tcp.setblocking(False)
            clients.append(tcp)
        sent, begun, closed = 0, time.monotonic(), 0
        with Load(server) as busy:
            open_clients = set(clients)
            while open_clients and time.monotonic() < begun + 20:
                for tcp in list(open_clients):
                    try:
                        sent += tcp.send(message)
                    except BlockingIOError:
                        pass
                    except OSError:
                        open_clients.discard(tcp)
                        closed += 1
                time.sleep(0.05)
        say(f"{sent} octets of queries taken; {server.memory('VmHWM') - memory} KiB more at most; closed after {time.monotonic() - begun:.1f} s")
        check("memory is bounded", server.memory("VmHWM") - memory < 20 * 1024)
        check("all are given up", closed == 20, closed)
        busy.verdict("UDP meanwhile")
        check("as quick as before", busy.percentile(0.99) < calm.percentile(0.99) + 20, f"{calm.percentile(0.99):.2f} and {busy.percentile(0.99):.2f} ms")
        for tcp in clients:
            tcp.close()
        count = 100_000 if SHORT else 1_000_000
        piece = b"".join(dns.framed(dns.query("www.lb.example", id=n)) for n in range(1000))
        memory = server.memory()
        with dns.connect(("127.0.0.1", server.port), 30) as tcp, Load(server) as busy:
            begun = time.monotonic()
            sender = threading.Thread(target=lambda: [tcp.sendall(piece) for _ in range(count // 1000)])
            sender.start()
            left = None
            received = 0
            while left is None or received < left * count:
                data = tcp.recv(1 << 20)
                if not data:
                    break
                left = left or 2 + struct.unpack(">H", data[:2])[0]
                received += len(data)
            sender.join()
            seconds = time.monotonic() - begun
        check(f"a pipeline of {count} queries is answered whole", received == left * count, f"{seconds:.1f} s, {server.memory() - memory} KiB more")
        busy.verdict("UDP meanwhile")


@drill("queries of 65,535 octets, headers that promise 65,535 records: refused or answered, and nothing is allocated for it")
def enormous():
    with Server() as server:
        address = ("127.0.0.1", server.port)
        memory = server.memory("VmHWM")
        rcodes = set()
        for counts in [(65535, 65535, 65535, 65535), (1, 65535, 0, 0), (1, 0, 65535, 0), (1, 0, 0, 65535), (65535, 0, 0, 0), (0, 0, 0, 0)]:
            for message in (struct.pack(">6H", 9, 0, *counts), dns.query(counts=counts)):
                for _ in range(50):
                    try:
                        rcodes.add(dns.ask(address, message, 0.5).rcode)
                    except dns.Silence:
                        rcodes.add("silence")
        check("promises of records that are not there: FORMERR", rcodes <= {1}, rcodes)
        rcodes = {}
        padding = dns.option(12, bytes(65_000))
        records = b"".join(dns.wire("x") + struct.pack(">HHIH", 1, 1, 0, 4) + bytes(4) for _ in range(3600))
        bodies = {
            "an option of 65,000 octets": dns.query(options=padding),
            "3600 records behind the question": dns.query(edns=False, counts=(1, 0, 0, 3600)) + records,
            "octets without meaning behind it": dns.query() + os.urandom(65_400),
            "65,535 zeros": bytes(65_535),
            "65,535 times 0xFF, as a query": struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\xff" * 65_523,
            "a name of pointers": struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c" * 32_000,
        }
        for name, body in bodies.items():
            body = body[:65_535]
            for _ in range(5):
                try:
                    rcodes[name] = dns.ask_tcp(address, body, 2).rcode
                except dns.Silence:
                    rcodes[name] = "silence"
                with contextlib.suppress(dns.Silence, OSError):
                    dns.ask(address, body[:65_000], 0.2)
        check("queries of 65,535 octets", rcodes["an option of 65,000 octets"] == 0 and server.ask().rcode == 0, rcodes)
        check("no memory for it", server.memory("VmHWM") - memory < 4096, f"{server.memory('VmHWM') - memory} KiB more at most")


@drill("mutated packets, seeded: alive, every reply strict, the zone as before, memory flat")
def mutated():
    count = 100_000 if SHORT else 1_000_000
    dice = random.Random(2026)
    with Server(big_zone()) as server:
        seeds = [dns.query(), dns.query(edns=False), dns.query("big.lb.example", dns.TXT), dns.query("x.any.lb.example", dns.AAAA),
                 dns.query(options=dns.option(10, bytes(8)) + dns.option(8, b"\0\1\x18\0\xc0\0\2") + dns.option(3, b"")),
                 dns.query("lb.example", dns.SOA, flags=0x2000), dns.query("lb.example", 252), dns.query("lb.example", dns.SOA, flags=0x2800)]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        udp.connect(("127.0.0.1", server.port))
        udp.setblocking(False)
        before, replies, bad, rcodes = None, 0, [], {}
        responses = 0

        def read(wait=0.0):
            nonlocal replies
            while select.select([udp], [], [], wait)[0]:
                raw = udp.recv(65535)
                replies += 1
                try:
                    reply = dns.parse(raw)
                    rcodes[reply.rcode] = rcodes.get(reply.rcode, 0) + 1
                    if not reply.flags & 0x8000 or reply.length > 1232:
                        bad.append(raw.hex())
                except dns.Malformed as problem:
                    bad.append(f"{problem}: {raw.hex()}")

        for number in range(count):
            message = bytearray(dice.choice(seeds))
            for _ in range(dice.choice((1, 1, 2, 3, 8))):
                kind, at = dice.randrange(5), dice.randrange(len(message)) if message else 0
                if kind == 0 and message:
                    message[at] = dice.randrange(256)
                elif kind == 1 and message:
                    message[at] ^= 1 << dice.randrange(8)
                elif kind == 2:
                    del message[at:]
                elif kind == 3:
                    message[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 9)))
                else:
                    message += message[at : at + dice.randrange(40)]
            responses += len(message) > 2 and message[2] >> 7
            with contextlib.suppress(OSError):
                udp.send(message)
            if number % 32 == 31:
                read()
            if number == count // 10:
                before = server.size()
        read(0.3)
        check(f"{count} mutated packets, {replies} replies, each one strict", server.alive() and not bad, bad[:2] or dict(sorted(rcodes.items())))
        check("memory stays flat", server.say_growth(before, f"{count} mutated packets, from a tenth of them on") < 1024)
        check("no worker panicked", "panic" not in server.log_text() and server.panics() == 0)
        check("the zone is as before", server.addresses() == {"192.0.2.1", "192.0.2.2"} and server.ask("txt.lb.example", dns.TXT).counts[1] == 1)


@drill("response rate limiting: a forged network gets its rate, every second reply cut to TC; TCP, cookies and others are spared", apart=True)
def rate_limiting():
    others()
    limits = "[dns.rate_limit]\nexempt = []\nresponses_per_second = 50\nslip = 2\n"
    text = {"lb.toml": zone(PLAIN)}

    def burst(server, count, source, message=None):
        """Full answers, cut ones, and silence."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            udp.bind((source, 0))
            udp.connect(("127.0.0.1", server.port))
            for number in range(count):
                udp.send(message or dns.query())
            whole = cut = 0
            while select.select([udp], [], [], 0.3)[0]:
                reply = dns.parse(udp.recv(65535))
                whole, cut = whole + (not reply.tc), cut + reply.tc
            return whole, cut, count - whole - cut

    with Server(text, dns_keys=limits, limit=True) as server:
        whole, cut, silent = burst(server, 1000, "198.51.100.7")
        # Two workers, each with its own balance; a second may turn over meanwhile.
        check("a flood gets its rate", 25 <= whole <= 250, f"{whole} whole, {cut} cut, {silent} not")
        check("every second of the others is cut to TC", abs(cut - silent) <= 4 and cut > 300)
        # Another socket may come to the other worker.
        whole, cut, silent = burst(server, 300, "198.51.100.200")
        check("its network shares the limit", whole <= 110, f"{whole} of 300 whole")
        reply = dns.ask_tcp(("127.0.0.1", server.port), dns.query(), 2, "198.51.100.7")
        check("who comes by TCP is answered", reply.rcode == 0 and reply.addresses)
        check("another network is not limited", burst(server, 20, "127.77.0.1")[0] == 20)
        first = None
        for _ in range(20):
            with contextlib.suppress(dns.Silence):
                first = dns.ask(("127.0.0.1", server.port), dns.query(options=dns.option(10, bytes(range(8)))), 0.2, "198.51.100.7")
                break
        check("even a cut reply teaches a cookie", first is not None and first.counts[3] == 1)
        cookie = first.raw[-24:]
        whole, cut, silent = burst(server, 500, "198.51.100.7", dns.query(options=dns.option(10, cookie)))
        check("a client with a valid cookie is spared", whole == 500, f"{whole} of 500 whole")
        whole, _, _ = burst(server, 500, "198.51.100.8", dns.query(options=dns.option(10, cookie)))
        check("its cookie is worth nothing elsewhere", whole < 250, f"{whole} of 500 whole")
        whole, cut, silent = burst(server, 300, "198.51.100.7", dns.query("no.such.name.lb.example"))
        check("negative answers are limited by zone, not by name", whole <= 150, f"{whole} whole")
    with Server(text, dns_keys="[dns.rate_limit]\nresponses_per_second = 5\n", limit=True) as server:
        check("loopback is exempt by default", burst(server, 300, "127.0.0.9")[0] == 300)
    with Server(text, dns_keys=limits + "log_only = true\n", limit=True) as server:
        check("log_only withholds nothing", burst(server, 300, "198.51.100.7")[0] == 300)


@drill("a flood from many networks takes all the processor: who comes by TCP or with a cookie is answered", short=False, apart=True)
def flood_and_honest_clients():
    others()
    limits = "[dns.rate_limit]\nexempt = []\nresponses_per_second = 50\nslip = 2\n"
    with Server(dns_keys=limits, limit=True) as server:
        address = ("127.0.0.1", server.port)
        cookie = dns.ask(address, dns.query(options=dns.option(10, bytes(8))), 2, "198.51.100.7").raw[-24:]
        memory, cpu, begun = server.memory(), server.cpu(), time.monotonic()
        flooding = [subprocess.Popen([sys.executable, "-c", FLOOD, str(server.port), str(which), "20"]) for which in range(2)]
        time.sleep(1)
        by_tcp, by_cookie, asked, delays = 0, 0, 0, []
        while time.monotonic() < begun + 18:
            asked += 1
            at = time.monotonic()
            with contextlib.suppress(dns.Silence, OSError):
                by_tcp += dns.ask_tcp(address, dns.query(), 3, "198.51.100.7").rcode == 0
                delays.append(time.monotonic() - at)
            for _ in range(3):
                # As a resolver: once more when there is no answer.
                with contextlib.suppress(dns.Silence):
                    by_cookie += len(dns.ask(address, dns.query(options=dns.option(10, cookie)), 1, "198.51.100.7").addresses) == 2
                    break
        used = (server.cpu() - cpu) / (time.monotonic() - begun)
        for one in flooding:
            one.kill()
            one.wait()
        traffic = [one for one in server.status()["traffic"] if one["transport"] == "udp"]
        count = {key: sum(one[key] for one in traffic) for key in ("queries", "replies", "rate_limited", "slipped")}
        say(f"{count}, {100 * used:.0f} % of a processor for the server")
        check("the flood is limited", count["rate_limited"] > count["replies"] / 4)
        check("who comes by TCP is answered", by_tcp >= 0.99 * asked, f"{by_tcp} of {asked}, {1000 * max(delays):.0f} ms at most")
        check("who shows a cookie is answered", by_cookie >= 0.99 * asked, f"{by_cookie} of {asked}")
        check("memory stays flat", server.memory() - memory < 4096, f"{server.memory() - memory} KiB more")


# From some hundred networks that are this machine's own, as fast as one process sends.
FLOOD = """
import socket, sys, time
port, which, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
query = bytes.fromhex("00010000000100000000000003777777026c62076578616d706c650000010001")
sockets = []
for number in range(150):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((f"127.{40 + which}.{number}.1", 0))
    one.connect(("127.0.0.1", port))
    one.setblocking(False)
    sockets.append(one)
end = time.monotonic() + seconds
while time.monotonic() < end:
    for one in sockets:
        try:
            for _ in range(8):
                one.send(query)
            while True:
                one.recv(2048)
        except OSError:
            pass
"""


@drill("64 MB of memory in all, and every flood at once: it lives, and answers", apart=True)
def little_memory():
    with control_group("memory", limit_in_bytes=64 << 20) as (group, prefix), Server(big_zone(), prefix=prefix) as server:
        address = ("127.0.0.1", server.port)
        idle = []
        for source, _ in zip(sources(), range(400 if SHORT else 4000)):
            with contextlib.suppress(OSError):
                idle.append(dns.connect(address, 5, source))
        unread = []
        for number in range(40):
            tcp = socket.socket()
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            tcp.bind((f"127.31.{number}.1", 0))
            tcp.connect(address)
            tcp.setblocking(False)
            with contextlib.suppress(OSError):
                tcp.send(dns.framed(dns.query("huge.lb.example", dns.TXT)) * 1000)
            unread.append(tcp)
        with Load(server) as load:
            flood(server, 50_000 if SHORT else 1_000_000, lambda n: dns.query(f"x{n}.lb.example", id=n % 65536))
            flood(server, 20_000 if SHORT else 200_000, lambda n: os.urandom(60))
        for tcp in idle + unread:
            tcp.close()
        with open(f"{group}/memory.max_usage_in_bytes") as file:
            most = int(file.read()) >> 10
        if not check("it lives", server.alive(), f"{most} KiB at most"):
            return
        check("UDP answers", eventually(lambda: server.ask().rcode == 0, 5))
        check("TCP too", dns.ask_tcp(address, dns.query()).rcode == 0)
        check("nothing of it wrong", not load.wrong and load.answered > 0, f"{load.answered} answered, {load.lost} lost in full queues")
        server.process.kill()
        server.process.wait()


@drill("a long day: good and bad questions, TCP, reloads, a backend that flaps; memory and descriptors stay as they are", short=False)
def soak():
    seconds = float(os.environ.get("DRILL_SOAK", "120"))
    farm = backend.Farm()
    state = {"number": 0}

    async def flap(reader, writer):
        state["number"] += 1
        await backend.fixed(b"ok", "500 Oops" if state["number"] // 10 % 2 else "200 OK")(reader, writer)

    port = farm.serve("127.0.0.1", flap)
    check_keys = '[checks.web]\ntype = "http"\ninterval = "200ms"\ntimeout = "150ms"\nfall = 2\nrise = 2\n'
    pool = f'[pools.flap]\ncheck = "web"\nbackends = [{{ name = "flap", address = "127.0.0.1", port = {port} }}, {{ address = "192.0.2.9" }}]\n'
    dice = random.Random(9)

    def text(number):
        return zone(f'round = {{ TXT = "{number}" }}\n{check_keys}{pool}{PLAIN}flap = "flap"\n')

    with Server({"lb.toml": text(0)}) as server:
        address, begun, rounds, sizes, wrong = ("127.0.0.1", server.port), time.monotonic(), 0, [], 0
        with Load(server, lambda reply: set(reply.addresses) == {"192.0.2.1", "192.0.2.2"}) as load:
            while time.monotonic() < begun + seconds:
                rounds += 1
                server.replace("zones/lb.toml", text(rounds) if rounds % 5 else "wrong")
                server.command("reload")
                if rounds % 5 == 0:
                    server.replace("zones/lb.toml", text(rounds))
                    server.command("reload")
                end = time.monotonic() + min(10, seconds / 12)
                while time.monotonic() < end:
                    flood(server, 500, lambda n: dns.query(f"n{dice.random()}.lb.example"))
                    flood(server, 200, lambda n: os.urandom(dice.randrange(80)))
                    flood(server, 200, lambda n: dns.query("flap.lb.example", options=os.urandom(dice.randrange(30))))
                    with contextlib.suppress(dns.Silence, OSError):
                        with dns.connect(address) as tcp:
                            tcp.sendall(dns.framed(dns.query())[: dice.randrange(40)])
                    reply = dns.ask_tcp(address, dns.query("round.lb.example", dns.TXT))
                    wrong += reply.records[0][3][1:] != str(rounds).encode()
                sizes.append(server.size())
        at_third, at_end = sizes[len(sizes) // 3], sizes[-1]
        say(f"{rounds} reloads; RSS and descriptors after a third {at_third}, at the end {at_end}")
        check("every reload was live, every answer right", wrong == 0 and not load.wrong, f"{load.answered} answered, {load.lost} lost in floods")
        check("memory stays", at_end[0] - at_third[0] < 2048, f"{at_end[0] - at_third[0]} KiB more")
        check("descriptors stay", abs(at_end[1] - at_third[1]) <= 8)
        check("no panic", server.panics() == 0)
    farm.close()


@drill("a path of 576 octets: what is too long for it comes cut, TCP gets it whole; a client that is gone costs nothing", apart=True)
def narrow_path():
    with Server(big_zone()) as server:
        address = ("127.0.0.1", server.port)
        check("before", dns.ask(address, dns.query("big.lb.example", dns.TXT)).length > 600)
        run("ip", "link", "set", "lo", "mtu", "576")
        try:
            reply = dns.ask(address, dns.query("big.lb.example", dns.TXT))
            check("EMSGSIZE: the reply comes cut", reply.tc and reply.length <= 512, f"{reply.length} octets")
            check("TCP has it whole", dns.ask_tcp(address, dns.query("big.lb.example", dns.TXT)).counts[1] == 9)
        finally:
            run("ip", "link", "set", "lo", "mtu", "65536")
        for _ in range(500):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(dns.query(), address)
        check("500 clients gone before their reply: it answers on", server.ask().rcode == 0)


ELSEWHERE = """
import os, signal, socket, sys, threading
def serve(address):
    listener = socket.create_server((address, 8000))
    while True:
        listener.accept()[0].close()
for address in sys.argv[1:]:
    threading.Thread(target=serve, args=[address], daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def elsewhere():
    """Another network, behind one link: its process id, and a function that starts backends in it."""
    far = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    started = [far]
    inside = ["nsenter", "--target", str(far.pid), "--net"]
    try:
        same = lambda: os.readlink(f"/proc/{far.pid}/ns/net") == os.readlink("/proc/self/ns/net")
        eventually(lambda: not same(), 5)
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(far.pid))
        run("ip", "addr", "add", "10.99.0.1/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run(*inside, "ip", "link", "set", "far", "up")
        for last in range(11, 31):
            run(*inside, "ip", "addr", "add", f"10.99.0.{last}/24", "dev", "far")

        def backends(*addresses):
            process = subprocess.Popen([*inside, sys.executable, "-c", ELSEWHERE, *addresses], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            started.append(process)
            process.stdout.readline()
            return process

        backends.inside = inside
        yield backends
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
        with contextlib.suppress(Exception):
            run("ip", "link", "del", "near")


FORGE = """
import socket, struct, sys, time
target, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
query = bytes.fromhex(sys.argv[4])
udp = struct.pack(">4H", 5353, port, 8 + len(query), 0) + query
end, sent = time.monotonic() + seconds, 0
while time.monotonic() < end:
    for last in range(100, 251):
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                           socket.inet_aton(f"10.99.0.{last}"), socket.inet_aton(target))
        raw.sendto(head + udp, (target, 0))
        sent += 1
    time.sleep(0.01)
print(sent)
"""


@drill("queries in the name of neighbours that are not there: their replies fill the socket, and no worker waits for it", apart=True)
def absent_neighbours():
    seconds = 5 if SHORT else 30
    with elsewhere() as backends, Server(big_zone(), listen=["127.0.0.1:{port}", "10.99.0.1:{port}"]) as server:
        # From behind the link comes what claims to be from the link; who is asked for there, nobody is.
        query = dns.query("big.lb.example", dns.TXT).hex()
        forge = [*backends.inside, sys.executable, "-c", FORGE, "10.99.0.1", str(server.port), str(seconds), query]
        with subprocess.Popen(forge, stdout=subprocess.PIPE, text=True) as forger:
            time.sleep(1)
            # The same socket: 10.99.0.1 is this machine's own. Its buffer is full, so some of these are lost; none may be late.
            with Load(server, wait=0.5) as load:
                load.address = ("10.99.0.1", server.port)
                time.sleep(seconds - 1.5)
            sent = forger.communicate()[0].strip()
        udp = [one for one in server.status()["traffic"] if one["transport"] == "udp"]
        failed = sum(one["send_failed"] for one in udp)
        say(f"{sent} forged, {failed} replies without room; of others' queries {load.answered} answered, {load.lost} not")
        check("replies without room are dropped and counted", failed > 0)
        check("those that are sent are sent at once", not load.wrong and load.percentile(0.99) < 250, f"99 % within {load.percentile(0.99):.2f} ms")
        check("other addresses never notice", server.ask(wait=1).rcode == 0)
        # What waits for an address is given up within three seconds; nothing may be left of it behind.
        time.sleep(4)
        with Load(server) as load:
            load.address = ("10.99.0.1", server.port)
            time.sleep(1)
        load.verdict("once it is over all is as before")


@drill("the server's own way out is lost: nothing is withdrawn; one pool dies for good: it is", apart=True)
def lost_way_out():
    timing = 'type = "tcp"\nport = 8000\ninterval = "2s"\ntimeout = "1s"\nfall = 3\n'
    text = f"[checks.c]\n{timing}"
    pools = {"one": (11, 12, 13), "two": (14, 15), "three": (16, 17, 18)}
    for name, lasts in pools.items():
        backends = ", ".join(f'{{ address = "10.99.0.{last}" }}' for last in lasts)
        text += f'[pools.{name}]\ncheck = "c"\nbackends = [{backends}, {{ address = "10.99.0.{lasts[0] + 10}", tier = 1 }}]\n'
    text += "[names]\n" + "".join(f'{name} = "{name}"\n' for name in pools)
    expected = {name: {f"10.99.0.{last}" for last in lasts} for name, lasts in pools.items()}
    for canaries in ("", 'canaries = ["10.99.0.30:8000"]'):
        with_word = "with a canary" if canaries else "without canaries"
        say(with_word)
        with elsewhere() as backends, contextlib.ExitStack() as stack:
            one = backends(*sorted(expected["one"]))
            backends(*(f"10.99.0.{last}" for last in (14, 15, 16, 17, 18, 21, 24, 26, 30)))
            server = stack.enter_context(Server({"lb.toml": zone(text)}, server=f"[checker]\n{canaries}"))
            answers = lambda name: server.addresses(f"{name}.lb.example")
            right = lambda: all(answers(name) == expected[name] for name in pools)
            up = lambda: {one["state"] for pool in server.status()["zones"][0]["pools"] for one in pool["backends"]} == {"up"}
            check(f"{with_word}: all are up at first", eventually(up, 15))
            check(f"{with_word}: all answer at first", eventually(right, 15))
            time.sleep(2)
            with Load(server, lambda reply: set(reply.addresses) == expected["two"], name="two.lb.example") as load:
                run("ip", "link", "set", "near", "down")
                frozen = eventually(lambda: server.status()["frozen"], 10)
                check(f"{with_word}: status says frozen", frozen, str(server.status()["frozen"]))
                time.sleep(6)
                check(f"{with_word}: nothing is withdrawn", right())
                check(f"{with_word}: its exit code says that somebody should look", server.command("status")[0] == 1)
                run("ip", "link", "set", "near", "up")
                check(f"{with_word}: the doubt ends when the way is back", eventually(lambda: not server.status()["frozen"], 20))
                time.sleep(3)
                check(f"{with_word}: and all is as before", right())
            load.verdict(f"{with_word}: every answer was unchanged")
            one.kill()
            gone = eventually(lambda: answers("one") == {"10.99.0.21"}, 15)
            check(f"{with_word}: one pool that dies is withdrawn at once", gone and not server.status()["frozen"])
            check(f"{with_word}: the others stay", answers("two") == expected["two"] and answers("three") == expected["three"])


if __name__ == "__main__":
    main()
