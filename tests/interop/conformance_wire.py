"""Octets for the conformance suite: builds queries that no library would build, reads replies strictly, talks UDP and TCP."""
import socket
import struct

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, DNAME, OPT, DS = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 39, 41, 43
TSIG, IXFR, AXFR, MAILB, MAILA, ANY = 250, 251, 252, 253, 254, 255
IN, CH = 1, 3
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS, BADCOOKIE = 0, 1, 2, 3, 4, 5, 6, 9, 16, 23
ORIGIN = "conf.example."


def name(text):
    """Wire form of a name: relative to the zone unless it ends in a dot; `\\DDD` and `\\.` are understood."""
    if isinstance(text, bytes):
        return text
    if not text.endswith(".") or text.endswith("\\."):
        text = ORIGIN if text == "@" else f"{text}.{ORIGIN}"
    labels, label, at = [], b"", 0
    while at < len(text):
        if text[at] == "\\":
            if text[at + 1].isdigit():
                label += bytes([int(text[at + 1 : at + 4])])
                at += 4
            else:
                label += text[at + 1].encode()
                at += 2
        elif text[at] == ".":
            labels.append(label)
            label = b""
            at += 1
        else:
            label += text[at].encode()
            at += 1
    return b"".join(bytes([len(one)]) + one for one in labels if one) + b"\0"


def opt(size=1232, version=0, flags=0, options=(), upper=0, owner=b"\0"):
    data = b"".join(struct.pack(">HH", code, len(value)) + value for code, value in options)
    return owner + struct.pack(">HHBBHH", OPT, size, upper, version, flags, len(data)) + data


def record(owner, rtype, rclass=IN, ttl=0, data=b""):
    return name(owner) + struct.pack(">HHIH", rtype, rclass, ttl, len(data)) + data


def question(owner, rtype=A, rclass=IN):
    return name(owner) + struct.pack(">HH", rtype, rclass)


def message(body=b"", flags=0, counts=(1, 0, 0, 0), number=0x1234):
    return struct.pack(">HHHHHH", number, flags, *counts) + body


def query(owner, rtype=A, rclass=IN, flags=0, edns=None, number=0x1234):
    return message(question(owner, rtype, rclass) + (edns or b""), flags, (1, 0, 0, 1 if edns else 0), number)


class Bad(AssertionError):
    pass


class Reply:
    """A reply, read strictly: whole names, pointers backward only, counts that hold, nothing behind the last record."""

    def __init__(self, octets):
        self.octets = octets
        if len(octets) < 12:
            raise Bad(f"{len(octets)} octets are no message")
        self.id, self.flags, *self.counts = struct.unpack(">HHHHHH", octets[:12])
        self.rcode = self.flags & 15
        self.opcode = self.flags >> 11 & 15
        self.qr, self.aa, self.tc, self.rd, self.ra, self.z, self.ad, self.cd = (
            bool(self.flags & bit) for bit in (0x8000, 0x400, 0x200, 0x100, 0x80, 0x40, 0x20, 0x10))
        at = 12
        self.questions = []
        for _ in range(self.counts[0]):
            owner, at = self.name(at)
            rtype, rclass = struct.unpack(">HH", octets[at : at + 4])
            at += 4
            self.questions.append((owner, rtype, rclass))
        self.question_octets = octets[12:at]
        self.opt = None
        self.tsig = None
        sections = []
        for section in range(3):
            records = []
            for _ in range(self.counts[section + 1]):
                one, at = self.record(at)
                if one[1] == OPT:
                    if section != 2 or self.opt is not None or one[0] != b"\0":
                        raise Bad("an OPT twice, with an owner, or out of its section")
                    self.opt = one
                elif one[1] == TSIG:
                    self.tsig = one
                else:
                    records.append(one)
            sections.append(records)
        self.answer, self.authority, self.additional = sections
        if at != len(octets):
            raise Bad(f"{len(octets) - at} octets behind the last record")
        if self.opt is not None:
            self.rcode |= self.opt[3] >> 24 << 4
            self.version, self.edns_flags, self.size = self.opt[3] >> 16 & 255, self.opt[3] & 0xFFFF, self.opt[2]
            self.options, data = [], self.opt[4]
            while data:
                code, length = struct.unpack(">HH", data[:4])
                if len(data) < 4 + length:
                    raise Bad("an EDNS option is cut")
                self.options.append((code, data[4 : 4 + length]))
                data = data[4 + length :]

    def name(self, at):
        octets, out, end, least = self.octets, b"", None, at
        while True:
            if at >= len(octets):
                raise Bad("a name runs out of the message")
            length = octets[at]
            if length & 0xC0 == 0xC0:
                target = (length & 0x3F) << 8 | octets[at + 1]
                end = end or at + 2
                if target >= least or target < 12:
                    raise Bad("a pointer that does not point backward")
                at = least = target
            elif length & 0xC0:
                raise Bad(f"label type {length:#x}")
            else:
                out += octets[at : at + 1 + length]
                at += 1 + length
                if len(out) > 255:
                    raise Bad("a name of more than 255 octets")
                if length == 0:
                    return out.lower(), end or at

    def record(self, at):
        owner, at = self.name(at)
        if at + 10 > len(self.octets):
            raise Bad("a record is cut")
        rtype, rclass, ttl, length = struct.unpack(">HHIH", self.octets[at : at + 10])
        at += 10
        data, end = self.octets[at : at + length], at + length
        if end > len(self.octets):
            raise Bad("RDATA is cut")
        if rtype in (NS, CNAME, PTR, DNAME):
            target, behind = self.name(at)
            if behind != end or rtype == DNAME and length != len(target):
                raise Bad("RDATA of a wrong length, or a compressed DNAME")
            data = target
        elif rtype == MX:
            data = data[:2] + self.name(at + 2)[0]
        elif rtype == SRV:
            target, _ = self.name(at + 6)
            if length != 6 + len(target):
                raise Bad("a compressed name in an SRV (RFC 3597 4)")
            data = data[:6] + target
        elif rtype == SOA:
            first, behind = self.name(at)
            second, behind = self.name(behind)
            data = first + second + self.octets[behind:end]
        return (owner, rtype, rclass, ttl, data), end

    def option(self, code):
        for known, data in self.options if self.opt is not None else []:
            if known == code:
                return data
        return None

    @property
    def is_empty(self):
        return not (self.answer or self.authority or self.additional)


class Server:
    """One server under test; `transport` is "udp" or "tcp"."""

    def __init__(self, host, port, transport="udp"):
        self.address, self.transport = (host, port), transport
        self.wait = 1.0

    def raw(self, octets, wait=None, tries=2):
        """The reply's octets, or None for silence."""
        wait = wait or self.wait
        if self.transport == "tcp":
            try:
                with socket.create_connection(self.address, timeout=wait) as stream:
                    stream.sendall(struct.pack(">H", len(octets)) + octets)
                    return read_message(stream)
            except OSError:
                return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(self.address)
            client.settimeout(wait)
            for _ in range(tries):
                client.send(octets)
                try:
                    return client.recv(65535)
                except OSError:
                    continue
        return None

    def ask(self, octets):
        reply = self.raw(octets)
        if reply is None:
            raise Bad("no answer")
        parsed = Reply(reply)
        if reply[:2] != octets[:2]:
            raise Bad("another id")
        if not parsed.qr or parsed.ra or parsed.z or parsed.opcode != octets[2] >> 3 & 15:
            raise Bad(f"flags {parsed.flags:04x}")
        return parsed

    def is_silent(self, octets):
        return self.raw(octets, wait=0.3, tries=1) is None

    def burst(self, queries, window=48):
        """Sends many over UDP, a few in flight; returns reply or None for each. The id is each query's number."""
        replies = [None] * len(queries)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(self.address)
            client.settimeout(1)
            todo = list(range(len(queries)))
            for _ in range(4):
                at = flying = 0
                while at < len(todo) or flying:
                    while flying < window and at < len(todo):
                        number = todo[at]
                        client.send(struct.pack(">H", number & 0xFFFF) + queries[number][2:])
                        at += 1
                        flying += 1
                    try:
                        reply = client.recv(65535)
                        number = struct.unpack(">H", reply[:2])[0]
                        if replies[number] is None:
                            replies[number] = reply
                            flying = max(0, flying - 1)
                    except OSError:
                        flying = 0
                before = len(todo)
                todo = [number for number in todo if replies[number] is None]
                # What a whole turn did not bring will not come: packets that are lost are lost at random.
                if not todo or len(todo) == before:
                    break
        return replies


def read_exactly(stream, length):
    data = b""
    while len(data) < length:
        part = stream.recv(length - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def read_message(stream):
    return read_exactly(stream, struct.unpack(">H", read_exactly(stream, 2))[0])
