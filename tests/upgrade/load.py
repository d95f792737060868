"""Clients that ask without pause and count: sent, lost, wrong. Each runs in a process of its own."""

import multiprocessing
import random
import select
import socket
import ssl
import struct
import time

NAME = b"\x03www\x02lb\x07example\x03com\x00"
PATIENCE = 2.0


def query(id):
    return struct.pack(">6H", id, 0, 1, 0, 0, 0) + NAME + struct.pack(">HH", 1, 1)


def address(reply):
    """The one address of an answer; None when it is anything else."""
    if len(reply) != 12 + len(NAME) + 4 + 16 or reply[2] & 0x80 == 0 or reply[3] & 15 != 0:
        return None
    return socket.inet_ntoa(reply[-4:])


class Tally:
    """What one client saw."""

    def __init__(self, name):
        self.name = name
        self.sent = self.lost = self.wrong = self.cut = 0
        self.answers = {}
        self.latest = 0.0
        self.examples = []

    def answered(self, reply, right, took):
        found = address(reply)
        self.answers[found] = self.answers.get(found, 0) + 1
        if found not in right:
            self.wrong += 1
            self.examples.append(f"wrong: {found or reply[:12].hex()}")
        self.latest = max(self.latest, took)

    def losing(self, why):
        self.lost += 1
        if len(self.examples) < 5:
            self.examples.append(f"lost: {why}")


def udp(tally, port, right, stop, rate):
    """Sends at a fixed rate whatever comes back; many sockets, so that every worker gets some."""
    sockets = []
    for _ in range(16):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.connect(("127.0.0.1", port))
        one.setblocking(False)
        sockets.append(one)
    poll = select.epoll()
    by_number = {one.fileno(): one for one in sockets}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    waiting = {}
    begun = time.monotonic()
    ended = None
    id = 0
    while ended is None or (waiting and time.monotonic() < ended + PATIENCE):
        now = time.monotonic()
        if ended is None and stop.is_set():
            ended = now
        if ended is None:
            for _ in range(min(int((now - begun) * rate) - tally.sent, 64)):
                id = (id + 1) & 0xFFFF
                one = random.choice(sockets)
                key = (one.fileno(), id)
                if key in waiting:
                    continue
                try:
                    one.send(query(id))
                except ConnectionRefusedError:
                    # The report of an earlier packet's fate; that one will be counted as lost.
                    one.send(query(id))
                waiting[key] = now
                tally.sent += 1
        for number, _ in poll.poll(0.001):
            while True:
                try:
                    reply = by_number[number].recv(2048)
                except (BlockingIOError, ConnectionRefusedError):
                    break
                sent = waiting.pop((number, struct.unpack(">H", reply[:2])[0]), None)
                if sent is not None:
                    tally.answered(reply, right, time.monotonic() - sent)
        if tally.sent % 512 == 0:
            for key in [key for key, sent in waiting.items() if now - sent > PATIENCE]:
                del waiting[key]
                tally.losing("no answer over UDP")
    for _ in waiting:
        tally.losing("no answer over UDP")


def exchange(stream, id):
    """One query over a stream. An empty reply: the server closed instead of answering."""
    message = query(id)
    stream.sendall(struct.pack(">H", len(message)) + message)
    data = b""
    while len(data) < 2 or len(data) < 2 + struct.unpack(">H", data[:2])[0]:
        some = stream.recv(4096)
        if not some:
            return b""
        data += some
    return data[2:]


def connect(port, context):
    stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(stream) if context else stream


def closed(stream):
    """Whether the server has closed: seen before asking, as RFC 7766 6.2.4 wants of clients."""
    if isinstance(stream, ssl.SSLSocket) and stream.pending():
        return False
    return bool(select.select([stream], [], [], 0)[0])


def stream(tally, port, right, stop, pause, keep, tls=False):
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kept = None
    while not stop.is_set():
        id = random.getrandbits(16)
        tally.sent += 1
        begun = time.monotonic()
        try:
            if kept is not None and closed(kept):
                kept.close()
                kept = None
                tally.cut += 1
            kept = kept or connect(port, context)
            reply = exchange(kept, id)
            if reply:
                tally.answered(reply, right, time.monotonic() - begun)
            else:
                tally.losing("closed under a query")
                kept.close()
                kept = None
        except OSError as error:
            tally.losing(repr(error))
            if kept is not None:
                kept.close()
            kept = None
            time.sleep(0.05)
        if not keep and kept is not None:
            kept.close()
            kept = None
        time.sleep(pause)


def run(work, tally, stop, results, arguments):
    try:
        work(tally, *arguments[:2], stop, *arguments[2:])
    except KeyboardInterrupt:
        pass
    results.put(tally)


class Load:
    """All clients together, from start to `end`."""

    def __init__(self, dns, tls, right, rate):
        self.stop = multiprocessing.Event()
        self.results = multiprocessing.Queue()
        clients = [
            (udp, "UDP", (dns, right, rate)),
            (stream, "TCP, one connection", (dns, right, 0.002, True)),
            (stream, "TCP, a connection each", (dns, right, 0.005, False)),
            (stream, "TLS, one connection", (tls, right, 0.002, True, True)),
        ]
        self.processes = []
        for work, name, arguments in clients:
            arguments = (work, Tally(name), self.stop, self.results, arguments)
            process = multiprocessing.Process(target=run, args=arguments, daemon=True)
            process.start()
            self.processes.append(process)

    def end(self):
        self.stop.set()
        tallies = [self.results.get(timeout=30) for _ in self.processes]
        for process in self.processes:
            process.join(5)
        return sorted(tallies, key=lambda tally: tally.name, reverse=True)
