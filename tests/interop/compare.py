#!/usr/bin/python3
"""Asks two servers the same generated questions and compares the replies section by section.

    compare.py DIRECTORY HOST PORT-OF-NSD HOST PORT-OF-ROLLCALL [HOW-MANY]

Compared: RCODE, AA, TC, RD, RA, AD, CD, the question as octets (so its case), the presence of OPT, and the sets of records
with their TTLs in answer and authority. Owner names and names in RDATA are compared without case, since compression lends
them the case of what they point to. The additional section is compared in referrals: what lies at or below the cut must be
equal (RFC 9471), further glue may be left out but not made up. Elsewhere rollcall leaves it empty, as any server may.

A reply that both cut (TC) is compared over TCP: what of it is said over UDP, RCODE included, is each server's own choice.

Not asked: ANY (answered by a HINFO, RFC 8482; NSD answers everything), transfers, and other meta-types.
"""
import random
import socket
import struct
import sys

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

TYPES = ["A", "AAAA", "NS", "SOA", "CNAME", "DNAME", "MX", "TXT", "SRV", "CAA", "PTR", "NAPTR", "SVCB", "HTTPS", "TLSA",
         "SSHFP", "DS", "HINFO", "DNSKEY", "TYPE65280", "TYPE65281", "TYPE1234"]
SHOWN = 15          # differences printed in full; the rest are counted


def main():
    directory, nsd, rollcall = sys.argv[1], (sys.argv[2], int(sys.argv[3])), (sys.argv[4], int(sys.argv[5]))
    how_many = int(sys.argv[6]) if len(sys.argv) > 6 else 5000
    questions = generate(directory, how_many, random.Random(7))
    passed = failed = over_tcp = 0
    servers = [Server(nsd), Server(rollcall)]
    for number, (name, rdtype, edns) in enumerate(questions):
        query = make_query(number, name, rdtype, edns)
        replies = [server.udp(query) for server in servers]
        trouble = differences(query, replies)
        # What is cut over UDP is compared whole over TCP; so is every tenth question.
        if number % 10 == 0 or any(reply and reply[2] & 0x02 for reply in replies):
            over_tcp += 1
            trouble += [f"tcp: {what}" for what in differences(query, [server.tcp(query) for server in servers])]
        if trouble:
            failed += 1
            if failed <= SHOWN:
                text = dns.name.from_wire(name, 0)[0].to_text()
                print(f"--- {text} {dns.rdatatype.to_text(rdtype)}{' +edns' if edns else ''}")
                for what in trouble:
                    print(f"    {what}")
        else:
            passed += 1
    if failed > SHOWN:
        print(f"--- and {failed - SHOWN} more")
    print(f"compared with NSD: {over_tcp} of {passed + failed} questions over TCP as well")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def generate(directory, how_many, random_source):
    """Every owner × every type, then random names in all the places where lookups differ, each letter in random case."""
    owners = sorted(read_owners(directory))
    origin = owners_origin(owners)
    ancestors = {owner[i:] for owner in owners for i in range(len(owner)) if len(owner[i:]) >= len(origin)}
    places = sorted(ancestors | set(owners))
    questions = []
    hand_written = [p for p in places if b"gen" not in p]
    for place in hand_written:
        for rdtype in TYPES:
            questions.append((place, rdtype))
    random_source.shuffle(questions)
    questions = questions[: how_many * 2 // 3]
    while len(questions) < how_many - 20:
        place = random_source.choice(places)
        labels = list(place)
        kind = random_source.random()
        if kind < 0.35:
            labels = random_labels(random_source) + labels
        elif kind < 0.45:
            labels = [b"*"] + labels
        elif kind < 0.55 and len(labels) > len(origin):
            labels = random_labels(random_source) + labels[1:]
        elif kind < 0.6 and len(labels) > len(origin):
            labels = labels[1:]
        elif kind < 0.63:
            labels = [b"x" * 60] * random_source.randint(1, 3) + labels
        if sum(len(label) + 1 for label in labels) + 1 > 255:
            continue
        questions.append((tuple(labels), random_source.choice(TYPES)))
    for text in ["example.", "other.test.", ".", "notinterop.example.", "interop.example.com.", "ns.elsewhere.example."]:
        name = dns.name.from_text(text).labels[:-1]
        questions += [(name, "A"), (name, "SOA"), (name, "DS")]
    return [(wire(mixed_case(labels, random_source)), dns.rdatatype.from_text(rdtype), random_source.random() < 0.6)
            for labels, rdtype in questions]


def random_labels(random_source):
    words = [b"a", b"b", b"x", b"q", b"no-such", b"*", b"_tcp", b"deep", b"\x00", b"a.b", b"\xff", b"zz" * 20, b"under"]
    return [random_source.choice(words) for _ in range(random_source.choice([1, 1, 1, 2, 3]))]


def mixed_case(labels, random_source):
    if random_source.random() < 0.4:
        return labels
    return tuple(bytes(o ^ 0x20 if chr(o).isascii() and chr(o).isalpha() and random_source.random() < 0.5 else o for o in label)
                 for label in labels)


def wire(labels):
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read_owners(directory):
    """Owner names of both master files, as tuples of labels without the root."""
    owners = set()
    for zone in ["interop.example.", "hosted.interop.example."]:
        origin = dns.name.from_text(zone)
        with open(f"{directory}/{zone[:-1]}.zone") as lines:
            for line in lines:
                if line[:1] in " ;$\n\t":
                    continue
                word = line.split()[0]
                name = origin if word == "@" else dns.name.from_text(word, origin)
                owners.add(name.canonicalize().labels[:-1])
    return owners


def owners_origin(owners):
    return min(owners, key=len)


def make_query(number, name, rdtype, edns):
    flags = 0x0100 if number % 3 == 0 else 0          # RD is copied
    header = struct.pack(">HHHHHH", number & 0xFFFF, flags, 1, 0, 0, 1 if edns else 0)
    opt = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0) if edns else b""
    return header + name + struct.pack(">HH", rdtype, 1) + opt


def differences(query, replies):
    """In words; empty when the second reply says what the first says."""
    names = ["NSD", "rollcall"]
    parsed = []
    for name, reply in zip(names, replies):
        if reply is None:
            return [f"{name} does not answer"]
        try:
            parsed.append(dns.message.from_wire(reply, one_rr_per_rrset=True, question_only=False))
        except dns.exception.DNSException as error:
            return [f"{name}'s reply does not parse: {error!r}"]
    left, right = parsed
    found = []
    both_cut = bool(left.flags & right.flags & dns.flags.TC)
    if left.rcode() != right.rcode() and not both_cut:
        found.append(f"rcode: NSD {dns.rcode.to_text(left.rcode())}, rollcall {dns.rcode.to_text(right.rcode())}")
    if left.flags & 0x0FF0 != right.flags & 0x0FF0 or left.flags & 0xF800 != right.flags & 0xF800:
        found.append(f"flags: NSD {dns.flags.to_text(left.flags)}, rollcall {dns.flags.to_text(right.flags)}")
    question = query[12 : question_length(query) + 12]
    if replies[1][12 : 12 + len(question)] != question:
        found.append(f"question: asked {question!r}, rollcall returns {replies[1][12:12 + len(question)]!r}")
    if (left.edns >= 0) != (right.edns >= 0):
        found.append(f"OPT: NSD {left.edns >= 0}, rollcall {right.edns >= 0}")
    if both_cut:
        return found
    for section in ["answer", "authority"]:
        found += set_difference(section, records(getattr(left, section)), records(getattr(right, section)))
    ours, theirs = records(right.additional), records(left.additional)
    if is_referral(left):
        cut = dns.name.from_wire(next(iter(records(left.authority)))[0], 0)[0]
        inside = lambda record: dns.name.from_wire(record[0], 0)[0].is_subdomain(cut)
        found += set_difference("glue", set(filter(inside, theirs)), set(filter(inside, ours)))
        if not ours <= theirs:
            found.append(f"glue made up: {show(ours - theirs)}")
    elif ours:
        found.append(f"additional not empty: {show(ours)}")
    return found


def question_length(query):
    at = 12
    while query[at]:
        at += query[at] + 1
    return at + 5 - 12


def is_referral(message):
    """Also one that a CNAME led to, which has AA: it speaks of the CNAME's owner (RFC 1034 6.2.7)."""
    return any(rrset.rdtype == dns.rdatatype.NS for rrset in message.authority)


def records(section):
    """(owner, type, TTL, RDATA) of each record, names in lower case."""
    found = set()
    for rrset in section:
        owner = rrset.name.canonicalize().to_wire()
        for rdata in rrset:
            found.add((owner, int(rrset.rdtype), rrset.ttl, rdata.to_digestable()))
    return found


def set_difference(what, left, right):
    found = []
    if left - right:
        found.append(f"{what}: only NSD has {show(left - right)}")
    if right - left:
        found.append(f"{what}: only rollcall has {show(right - left)}")
    return found


def show(some):
    texts = [f"{dns.name.from_wire(owner, 0)[0]} {ttl} {dns.rdatatype.to_text(rdtype)} {rdata.hex()}"
             for owner, rdtype, ttl, rdata in sorted(some)]
    return "; ".join(texts[:4]) + (f"; and {len(texts) - 4} more" if len(texts) > 4 else "")


class Server:
    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(address)
        self.socket.settimeout(1)
        self.stream = None

    def udp(self, query):
        for _ in range(2):
            self.socket.send(query)
            try:
                while True:
                    reply = self.socket.recv(65535)
                    if reply[:2] == query[:2]:
                        return reply
            except (TimeoutError, ConnectionRefusedError):
                pass
        return None

    def tcp(self, query):
        for _ in range(2):          # the server may close an old connection: then a new one
            try:
                if self.stream is None:
                    self.stream = socket.create_connection(self.address, timeout=2)
                self.stream.sendall(struct.pack(">H", len(query)) + query)
                return self.read(struct.unpack(">H", self.read(2))[0])
            except OSError:
                self.stream = None
        return None

    def read(self, length):
        data = b""
        while len(data) < length:
            part = self.stream.recv(length - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data


if __name__ == "__main__":
    sys.exit(main())
