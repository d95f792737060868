"""The promises: one function a promise, or one row of a table. `server.ask` reads strictly; an AssertionError is a failure.

A case is "rfc" when a standard demands it, or "own" when it is rollcall's choice where standards leave one.
"""
import os
import socket
import struct
import time

from conformance_wire import *  # noqa: F403  the vocabulary of every line below
from conformance_wire import read_exactly, read_message

CASES = []          # (section, level, title, transports, function)
BOTH, UDP, TCP = ("udp", "tcp"), ("udp",), ("tcp",)


def case(section, title, transports=BOTH, level="rfc"):
    def add(function):
        CASES.append((section, level, title, transports, function))
        return function
    return add


def expect(what, said):
    if not said:
        raise Bad(what)


def equal(what, wanted, found):
    if wanted != found:
        raise Bad(f"{what}: wanted {wanted!r}, got {found!r}")


def is_soa(reply, ttl=300):
    equal("types in authority", [SOA], [one[1] for one in reply.authority])
    equal("owner of the SOA", name("@"), reply.authority[0][0])
    equal("TTL of the SOA (RFC 2308 5)", ttl, reply.authority[0][3])


def same_question(reply, octets):
    end = 12 + len(reply.question_octets)
    equal("the question", octets[12:end], reply.question_octets)
    equal("questions", 1, reply.counts[0])


# ---- lookups: name, type, RCODE, AA, answer (owner, type) in order, what the authority says --------------------------

def a(*owners):
    return [(name(owner), A) for owner in owners]


LOOKUPS = [
    ("an address", "www", A, 0, 1, [("www", A)] * 2, ""),
    ("case does not matter", "wWw", A, 0, 1, [("www", A)] * 2, ""),
    ("an owner written in mixed case", "mixed", A, 0, 1, [("mixed", A)], ""),
    ("the apex SOA", "@", SOA, 0, 1, [("@", SOA)], ""),
    ("the apex NS", "@", NS, 0, 1, [("@", NS)] * 2, ""),
    ("NODATA at the apex", "@", A, 0, 1, [], "soa"),
    ("NODATA", "www", MX, 0, 1, [], "soa"),
    ("NXDOMAIN", "missing", A, 3, 1, [], "soa"),
    ("NXDOMAIN below a name", "a.www", A, 3, 1, [], "soa"),
    ("an unknown type that is stored", "unknown", 65280, 0, 1, [("unknown", 65280)], ""),
    ("an unknown type without octets", "empty-data", 65281, 0, 1, [("empty-data", 65281)], ""),
    ("an unknown type that is not stored", "www", 1234, 0, 1, [], "soa"),
    ("a null MX", "null", MX, 0, 1, [("null", MX)], ""),
    ("SRV", "srv", SRV, 0, 1, [("srv", SRV)], ""),
    ("SVCB", "svcb", 64, 0, 1, [("svcb", 64)], ""),
    ("HTTPS in alias mode", "https", 65, 0, 1, [("https", 65)], ""),
    ("TTL 0", "ttl0", A, 0, 1, [("ttl0", A)], ""),
    ("the largest TTL", "ttlmax", A, 0, 1, [("ttlmax", A)], ""),
    ("an empty non-terminal", "b.ent", A, 0, 1, [], "soa"),
    ("an empty non-terminal above it", "ent", A, 0, 1, [], "soa"),
    ("beside an empty non-terminal", "c.ent", A, 3, 1, [], "soa"),
    ("below an empty non-terminal", "x.b.ent", A, 3, 1, [], "soa"),
    # RFC 4592 2.2.1, in its order.
    ("RFC 4592: host3 MX", "host3.w", MX, 0, 1, [("host3.w", MX)], ""),
    ("RFC 4592: host3 A", "host3.w", A, 0, 1, [], "soa"),
    ("RFC 4592: foo.bar TXT", "foo.bar.w", TXT, 0, 1, [("foo.bar.w", TXT)], ""),
    ("RFC 4592: host1 MX", "host1.w", MX, 0, 1, [], "soa"),
    ("RFC 4592: sub.* MX", "sub.*.w", MX, 0, 1, [], "soa"),
    ("RFC 4592: _telnet._tcp.host1 SRV", "_telnet._tcp.host1.w", SRV, 3, 1, [], "soa"),
    ("RFC 4592: host.subdel A", "host.subdel.w", A, 0, 0, [], "ns"),
    ("RFC 4592: ghost.* MX", "ghost.*.w", MX, 3, 1, [], "soa"),
    ("the asterisk itself", "*.w", TXT, 0, 1, [("*.w", TXT)], ""),
    ("an empty non-terminal blocks a wildcard", "_tcp.host2.w", TXT, 0, 1, [], "soa"),
    ("and so does one above it", "host2.w", TXT, 0, 1, [], "soa"),
    ("the closest encloser decides", "z.y.wa", A, 3, 1, [], "soa"),
    ("a wildcard alias", "any.wc", A, 0, 1, [("any.wc", CNAME), ("www", A), ("www", A)], ""),
    ("a wildcard at any depth", "a.b.c.d.wa", A, 0, 1, [("a.b.c.d.wa", A)], ""),
    ("NODATA at a wildcard", "q.wa", TXT, 0, 1, [], "soa"),
    # Chains: RCODE of the last name, AA of the first (RFC 6604).
    ("an alias", "alias", A, 0, 1, [("alias", CNAME), ("www", A), ("www", A)], ""),
    ("the alias itself", "alias", CNAME, 0, 1, [("alias", CNAME)], ""),
    ("a chain of three", "c1", A, 0, 1, [("c1", CNAME), ("c2", CNAME), ("c3", CNAME), ("www", A), ("www", A)], ""),
    ("a chain into nothing", "dangling", A, 3, 1, [("dangling", CNAME)], "soa"),
    ("a chain into NODATA", "to-nodata", AAAA, 0, 1, [("to-nodata", CNAME)], "soa"),
    ("a chain into an empty non-terminal", "to-ent", A, 0, 1, [("to-ent", CNAME)], "soa"),
    ("a chain out of the zone", "to-out", A, 0, 1, [("to-out", CNAME)], ""),
    ("a chain into a wildcard", "to-wild", A, 0, 1, [("to-wild", CNAME), ("q.wa", A)], ""),
    ("a chain into a cut: AA is of the first name", "to-cut", A, 0, 1, [("to-cut", CNAME)], "ns"),
    # DNAME (RFC 6672).
    ("below a DNAME", "www.dn", A, 0, 1, [("dn", DNAME), ("www.dn", CNAME), ("www.target", A)], ""),
    ("below a DNAME, into nothing", "no.dn", A, 3, 1, [("dn", DNAME), ("no.dn", CNAME)], "soa"),
    ("below a DNAME, out of the zone", "x.dn-out", A, 0, 1, [("dn-out", DNAME), ("x.dn-out", CNAME)], ""),
    ("the DNAME's owner keeps its data", "dn", TXT, 0, 1, [("dn", TXT)], ""),
    ("the DNAME itself", "dn", DNAME, 0, 1, [("dn", DNAME)], ""),
    ("no CNAME at the DNAME's owner", "dn", A, 0, 1, [], "soa"),
    ("a CNAME asked for below a DNAME", "www.dn", CNAME, 0, 1, [("dn", DNAME), ("www.dn", CNAME)], ""),
    # Cuts.
    ("a cut", "child", A, 0, 0, [], "ns"),
    ("below a cut", "a.b.child", A, 0, 0, [], "ns"),
    ("NS at a cut is a referral", "child", NS, 0, 0, [], "ns"),
    ("glue is not answered", "ns.child", A, 0, 0, [], "ns"),
    ("a cut without glue", "x.glueless", A, 0, 0, [], "ns"),
    ("DS at a cut is this side's", "secure", DS, 0, 1, [("secure", DS)], ""),
    ("no DS at a cut", "child", DS, 0, 1, [], "soa"),
    ("DS below a cut is a referral", "x.secure", DS, 0, 0, [], "ns"),
    ("DS of a child that is served here", "hosted", DS, 0, 1, [("hosted", DS)], ""),
    ("a child that is served here answers itself", "www.hosted", A, 0, 1, [("www.hosted", A)], ""),
    ("NS of a child that is served here", "hosted", NS, 0, 1, [("hosted", NS)], ""),
    # Names of any octets.
    ("an underscore", "under_score", A, 0, 1, [("under_score", A)], ""),
    ("a dot in a label", "do\\.t", A, 0, 1, [("do\\.t", A)], ""),
    ("which is not two labels", "do.t", A, 3, 1, [], "soa"),
    ("a space", "sp\\032ace", A, 0, 1, [("sp\\032ace", A)], ""),
    ("a NUL", "nu\\000l", A, 0, 1, [("nu\\000l", A)], ""),
    ("an octet 255", "hi\\255gh", A, 0, 1, [("hi\\255gh", A)], ""),
    ("an at sign", "at\\064sign", A, 0, 1, [("at\\064sign", A)], ""),
    ("a backslash", "back\\092slash", A, 0, 1, [("back\\092slash", A)], ""),
    ("UTF-8", "\\195\\132", A, 0, 1, [("\\195\\132", A)], ""),
    ("whose case is not folded (RFC 4343)", "\\195\\164", A, 3, 1, [], "soa"),
    ("a label of 63 octets", "l" * 63, A, 0, 1, [("l" * 63, A)], ""),
    ("a label of 62 is another", "l" * 62, A, 3, 1, [], "soa"),
    ("a name of 255 octets", ".".join(["m" * 63, "n" * 63, "o" * 63, "p" * 48]), A, 0, 1,
     [(".".join(["m" * 63, "n" * 63, "o" * 63, "p" * 48]), A)], ""),
    ("120 labels of one octet", ".".join(["x"] * 120), A, 3, 1, [], "soa"),
]


def lookup(owner, rtype, rcode, aa, answer, authority):
    def run(server):
        for edns in (None, opt()):
            octets = query(owner, rtype, edns=edns, flags=0x0100)
            reply = server.ask(octets)
            same_question(reply, octets)
            equal("RCODE", rcode, reply.rcode)
            equal("AA", bool(aa), reply.aa)
            expect("TC is set", not reply.tc)
            expect("RD is not copied", reply.rd)
            expect("AD or CD is set", not reply.ad and not reply.cd)
            equal("the answer", sorted((name(one), kind) for one, kind in answer),
                  sorted((one[0], one[1]) for one in reply.answer))
            if authority == "soa":
                soa = name("hosted") if owner.endswith(".hosted") else name("@")
                equal("authority", [(soa, SOA)], [one[:2] for one in reply.authority])
                equal("TTL of the SOA", 300, reply.authority[0][3])
            elif authority == "ns":
                expect("no NS in authority", reply.authority and all(one[1] == NS for one in reply.authority))
            equal("OPT", edns is not None, reply.opt is not None)
    return run


for title, *row in LOOKUPS:
    case("lookup", title)(lookup(*row))


@case("lookup", "a chain of eight links is followed to its end", level="own")
def _(server):
    lookup("d1.deep", A, 0, 1, [(f"d{n}.deep", CNAME) for n in range(1, 9)] + [("d9.deep", A)], "")(server)


@case("lookup", "the order of a chain is the chain's")
def _(server):
    reply = server.ask(query("c1"))
    equal("owners", [name(one) for one in ("c1", "c2", "c3", "www", "www")], [one[0] for one in reply.answer])


@case("lookup", "TTLs are the zone's, equal in a set")
def _(server):
    equal("www", {600}, {one[3] for one in server.ask(query("www")).answer})
    equal("0", [0], [one[3] for one in server.ask(query("ttl0")).answer])
    equal("2^31 - 1", [2147483647], [one[3] for one in server.ask(query("ttlmax")).answer])
    equal("the SOA's own", [3600], [one[3] for one in server.ask(query("@", SOA)).answer])
    equal("a synthesised CNAME's (RFC 6672 3.1)", [120, 120], [one[3] for one in server.ask(query("www.dn")).answer[:2]])


@case("lookup", "a loop of one alias ends")
def _(server):
    reply = server.ask(query("loop"))
    expect("RCODE", reply.rcode in (NOERROR, SERVFAIL))
    expect("more than 20 records", len(reply.answer) <= 20)


@case("lookup", "a loop of two aliases ends, and shows them")
def _(server):
    reply = server.ask(query("loop1"))
    expect("RCODE", reply.rcode in (NOERROR, SERVFAIL))
    expect("the links are not there", {(one[0]) for one in reply.answer} >= {name("loop1"), name("loop2")})


@case("lookup", "a CNAME asked for below a DNAME is answered by the one that it makes, whatever that leads to")
def _(server):
    for owner in ("www.dn", "no.dn", "x.dn-out"):
        reply = server.ask(query(owner, CNAME))
        equal("RCODE", NOERROR, reply.rcode)
        equal("types", [DNAME, CNAME], [one[1] for one in reply.answer])
        expect("an authority", not reply.authority)


@case("lookup", "ANY below a DNAME says no less than the DNAME, and denies nothing")
def _(server):
    reply = server.ask(query("www.dn", ANY))
    equal("RCODE", NOERROR, reply.rcode)
    equal("types", [DNAME, CNAME], [one[1] for one in reply.answer][:2])
    expect("an SOA", SOA not in [one[1] for one in reply.authority])


@case("lookup", "a DNAME that makes too long a name is YXDOMAIN")
def _(server):
    reply = server.ask(query(".".join(["x" * 60] * 2) + ".dn-long"))
    equal("RCODE", YXDOMAIN, reply.rcode)
    expect("the DNAME is not there", DNAME in [one[1] for one in reply.answer])
    expect("a CNAME is there", CNAME not in [one[1] for one in reply.answer])


@case("lookup", "a referral has the glue that lies below its cut")
def _(server):
    reply = server.ask(query("x.child", edns=opt()))
    found = {(one[0], one[1]) for one in reply.additional}
    expect("glue", {(name("ns.child"), A), (name("ns.child"), AAAA)} <= found)
    equal("authority", [name("child")] * 2, [one[0] for one in reply.authority])


@case("lookup", "a referral with an in-domain server of a sibling keeps AA clear and makes nothing up")
def _(server):
    reply = server.ask(query("x.sibling", edns=opt()))
    expect("glue is made up", {one[0] for one in reply.additional} <= {name("ns.child")})
    expect("AA", not reply.aa)


@case("lookup", "names out of every zone are refused")
def _(server):
    for owner in (".", "example.", "other.test.", "notconf.example.", "conf.example.com."):
        reply = server.ask(query(owner))
        equal(owner, REFUSED, reply.rcode)
        expect("AA or records", not reply.aa and not reply.answer)


@case("lookup", "RDATA of an unknown type is served octet for octet")
def _(server):
    equal("RDATA", b"\x0a\0\0\1", server.ask(query("unknown", 65280)).answer[0][4])
    equal("RDATA", b"", server.ask(query("empty-data", 65281)).answer[0][4])


@case("lookup", "no DNSSEC records are invented for DO")
def _(server):
    for owner in ("www", "missing", "child"):
        reply = server.ask(query(owner, edns=opt(flags=0x8000)))
        expect("DNSSEC records", not {46, 47, 50} & {one[1] for one in reply.answer + reply.authority})


# ---- header and question ------------------------------------------------------------------------------------------

@case("header", "a response is never answered, whole or not")
def _(server):
    for flags in (0x8000, 0x8400, 0x8180, 0x8183, 0xA000, 0xF800, 0xFFFF):
        expect("answered", server.is_silent(query("www", flags=flags)))
    expect("FORMERR to a broken response", server.is_silent(message(b"\xff" * 20, 0x8000, (9, 9, 9, 9))))
    expect("answered a bare header", server.is_silent(message(b"", 0x8000, (0, 0, 0, 0))))


@case("header", "id and RD come back; RA, Z, AD are clear")
def _(server):
    for number in (0, 1, 0x8000, 0xFFFF):
        for flags in (0, 0x0100):
            reply = server.ask(query("www", flags=flags, number=number))
            equal("RD", bool(flags), reply.rd)
            expect("AD", not reply.ad)


@case("header", "flags of a query that mean nothing do not hurt")
def _(server):
    for bit in (0x0400, 0x0080, 0x0040, 0x0020, 0x0010):
        reply = server.ask(query("www", flags=bit))
        equal(f"RCODE with {bit:04x}", NOERROR, reply.rcode)
        equal("records", 2, len(reply.answer))
        expect("Z is copied", not reply.z)


@case("header", "an RCODE in a query means nothing", level="own")
def _(server):
    for rcode in range(16):
        equal("RCODE", NOERROR, server.ask(query("www", flags=rcode)).rcode)


@case("header", "what a reply says does not depend on the query before it: DO, size, case, EDNS")
def _(server):
    kinds = [query("www"), query("WWW"), query("www", edns=opt()), query("www", edns=opt(flags=0x8000)), query("www", edns=opt(4096)),
             query("big"), query("big", edns=opt(512)), query("big", edns=opt())]
    once = [server.raw(octets) for octets in kinds]
    for _ in range(3):
        for octets, before in zip(reversed(kinds), reversed(once)):
            reply, before = server.ask(octets), Reply(before)
            equal("flags, question and counts", (before.flags, before.question_octets, before.counts),
                  (reply.flags, reply.question_octets, reply.counts))


@case("header", "TC in a query does not hurt", level="own")
def _(server):
    equal("RCODE", NOERROR, server.ask(query("www", flags=0x0200)).rcode)


@case("header", "0x20: the question's case comes back")
def _(server):
    for owner in (b"\x03wWw\x04CoNf\x07eXaMpLe\0", b"\x04NOPE\x04conf\x07EXAMPLE\0", b"\x01x\x05CHILD\x04CONF\x07example\0"):
        octets = query(owner)
        same_question(server.ask(octets), octets)


@case("header", "unknown opcodes are NOTIMP")
def _(server):
    for opcode in (1, 2, 3, *range(7, 16)):
        reply = server.ask(query("www", flags=opcode << 11))
        equal(f"opcode {opcode}", NOTIMP, reply.rcode)


@case("header", "opcode 6 (DSO, RFC 8490) is NOTIMP or a format error", level="own")
def _(server):
    equal("RCODE", NOTIMP, server.ask(message(b"", 6 << 11, (0, 0, 0, 0))).rcode)


@case("header", "every opcode is answered in every shape, never with records")
def _(server):
    for opcode in range(1, 16):
        for octets in (query("www", flags=opcode << 11), query("@", SOA, flags=opcode << 11, edns=opt())):
            expect("records", not server.ask(octets).answer)


@case("header", "QDCOUNT 0 is a format error")
def _(server):
    equal("RCODE", FORMERR, server.ask(message(b"", 0, (0, 0, 0, 0))).rcode)


@case("header", "QDCOUNT 2 is a format error (RFC 9619)")
def _(server):
    equal("RCODE", FORMERR, server.ask(message(question("www") * 2, 0, (2, 0, 0, 0))).rcode)


@case("header", "QDCOUNT 65535 is a format error")
def _(server):
    equal("RCODE", FORMERR, server.ask(message(question("www"), 0, (65535, 0, 0, 0))).rcode)


for which, place in enumerate(("answer", "authority", "additional"), 1):
    def run(server, which=which):
        counts = [1, 0, 0, 0]
        for lie in (1, 2, 65535):
            counts[which] = lie
            reply = server.ask(message(question("www"), 0, tuple(counts)))
            equal("RCODE", FORMERR, reply.rcode)
    case("header", f"a count of {place} records that lies is a format error")(run)


@case("header", "octets behind the message are a format error", level="own")
def _(server):
    for more in (b"\0", b"\0" * 11, b"x" * 100):
        equal("RCODE", FORMERR, server.ask(query("www") + more).rcode)


@case("header", "a query cut at any octet is never answered with data")
def _(server):
    whole = query("www", edns=opt(options=[(10, b"12345678")]))
    for length in range(12, len(whole), 3):
        reply = server.raw(whole[:length], wait=0.25, tries=1)
        expect("data", reply is None or Reply(reply).rcode == FORMERR)


@case("header", "less than a header is passed over")
def _(server):
    for length in (1, 2, 11):
        expect("answered", server.is_silent(query("www")[:length]))


@case("header", "a compressed question name is a format error", level="own")
def _(server):
    for owner in (b"\xc0\x0c", b"\x03www\xc0\x0c", b"\xc0\xff", b"\xc0\x00"):
        reply = server.raw(message(owner + b"\0\1\0\1"), tries=1)
        expect("silent", reply is not None)
        equal("RCODE", FORMERR, Reply(reply).rcode)


@case("header", "pointers to themselves and forward, in a record's owner, are no harm")
def _(server):
    end = 12 + len(question("www"))
    for owner in (struct.pack(">H", 0xC000 | end), b"\xff\xff", struct.pack(">H", 0xC000 | end + 4), b"\1x" + struct.pack(">H", 0xC000 | end)):
        body = question("www") + owner + struct.pack(">HHIH", A, IN, 0, 4) + b"\1\2\3\4"
        reply = server.raw(message(body, 0, (1, 0, 0, 1)), wait=0.3, tries=1)
        expect("not alive", server.ask(query("mail")).answer)
        expect("RCODE", reply is None or Reply(reply).rcode in (NOERROR, FORMERR))


@case("header", "reserved label types are a format error", level="own")
def _(server):
    for owner in (b"\x40ab\0", b"\x80ab\0", b"\x41\x01a\0"):
        reply = server.raw(message(owner + b"\0\1\0\1"), tries=1)
        expect("silent", reply is not None)
        equal("RCODE", FORMERR, Reply(reply).rcode)


@case("header", "a name of 256 octets is a format error", level="own")
def _(server):
    for owner in (b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 3 + b"\0", b"\x01a" * 127 + b"\x01b\0"):
        reply = server.raw(message(owner + b"\0\1\0\1"), tries=1)
        expect("silent", reply is not None)
        equal("RCODE", FORMERR, Reply(reply).rcode)


@case("header", "records in the answer and authority of a query do not hurt", level="own")
def _(server):
    extra = record("www", A, data=b"\1\2\3\4")
    for counts in ((1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)):
        equal("RCODE", NOERROR, server.ask(message(question("www") + extra, 0, counts)).rcode)


# ---- EDNS ---------------------------------------------------------------------------------------------------------

@case("edns", "OPT is there exactly when asked")
def _(server):
    for owner, rtype in (("www", A), ("missing", A), ("www", MX), ("child", A), ("other.test.", A), ("@", AXFR)):
        octets = query(owner, rtype)
        if rtype != AXFR:
            expect("an OPT that nobody asked for", server.ask(octets).opt is None)
        reply = server.ask(query(owner, rtype, edns=opt()))
        if rtype == AXFR and reply.opt is None:
            raise Bad("no OPT in a refusal")
        expect("no OPT", reply.opt is not None)
        equal("version", 0, reply.version)
        expect("size", reply.size >= 512)


@case("edns", "every version above 0 is BADVERS, without an answer")
def _(server):
    for version in (1, 2, 100, 255):
        reply = server.ask(query("www", edns=opt(version=version)))
        equal("RCODE", BADVERS, reply.rcode)
        equal("version", 0, reply.version)
        expect("records", not reply.answer)


@case("edns", "BADVERS comes before unknown options and flags (RFC 8906 8.2.6)")
def _(server):
    reply = server.ask(query("www", edns=opt(version=1, flags=0x0040, options=[(100, b"")])))
    equal("RCODE", BADVERS, reply.rcode)
    equal("flags", 0, reply.edns_flags)


@case("edns", "DO comes back, no other flag does")
def _(server):
    for bit in range(16):
        reply = server.ask(query("www", edns=opt(flags=1 << bit)))
        equal("RCODE", NOERROR, reply.rcode)
        equal(f"flags for bit {bit}", 0x8000 if bit == 15 else 0, reply.edns_flags)


@case("edns", "an extended RCODE in a query means nothing")
def _(server):
    equal("RCODE", NOERROR, server.ask(query("www", edns=opt(upper=255))).rcode)


@case("edns", "unknown options are passed over and not echoed")
def _(server):
    for code in (0, 100, 26946, 65001, 65535):
        for data in (b"", b"x", b"x" * 300):
            reply = server.ask(query("www", edns=opt(options=[(code, data)])))
            equal("RCODE", NOERROR, reply.rcode)
            expect("echoed", reply.option(code) is None)


@case("edns", "many options at once do not hurt")
def _(server):
    reply = server.ask(query("www", edns=opt(options=[(60000 + n, b"x" * 4) for n in range(50)])))
    equal("RCODE", NOERROR, reply.rcode)


@case("edns", "two OPTs are a format error")
def _(server):
    equal("RCODE", FORMERR, server.ask(message(question("www") + opt() * 2, 0, (1, 0, 0, 2))).rcode)


@case("edns", "an OPT with an owner is a format error", level="own")
def _(server):
    equal("RCODE", FORMERR, server.ask(query("www", edns=opt(owner=b"\1x\0"))).rcode)


@case("edns", "an OPT in another section is no EDNS")
def _(server):
    for counts in ((1, 1, 0, 0), (1, 0, 1, 0)):
        reply = server.ask(message(question("www") + opt(), 0, counts))
        expect("EDNS all the same", reply.rcode == FORMERR or reply.opt is None)


@case("edns", "options that are cut are a format error")
def _(server):
    for data in (b"\0", b"\0\3\0", b"\0\3\0\1", b"\xff\xff\xff\xff", b"\0\3\0\0\0\x0a\0\x20abc"):
        edns = b"\0" + struct.pack(">HHIH", OPT, 1232, 0, len(data)) + data
        equal("RCODE", FORMERR, server.ask(query("www", edns=edns)).rcode)


@case("edns", "OPT with records before and behind it")
def _(server):
    extra = record("www", A, data=b"\1\2\3\4")
    for body in (extra + opt(), opt() + extra):
        reply = server.ask(message(question("www") + body, 0, (1, 0, 0, 2)))
        equal("RCODE", NOERROR, reply.rcode)
        expect("no OPT", reply.opt is not None)


@case("edns", "NSID when asked and set, only then")
def _(server):
    equal("NSID", b"conf", server.ask(query("www", edns=opt(options=[(3, b"")]))).option(3))
    equal("NSID", None, server.ask(query("www", edns=opt())).option(3))


@case("edns", "NSID in errors too", level="own")
def _(server):
    for owner in ("missing", "other.test.", "child"):
        equal("NSID", b"conf", server.ask(query(owner, edns=opt(options=[(3, b"")]))).option(3))


@case("edns", "a client cookie is answered with a server cookie (RFC 9018)")
def _(server):
    client = os.urandom(8)
    cookie = server.ask(query("www", edns=opt(options=[(10, client)]))).option(10)
    expect("no cookie", cookie is not None)
    equal("client part", client, cookie[:8])
    equal("length", 24, len(cookie))
    equal("version and reserved", b"\1\0\0\0", cookie[8:12])
    expect("time", abs(struct.unpack(">I", cookie[12:16])[0] - time.time()) < 300)
    again = server.ask(query("www", edns=opt(options=[(10, cookie)])))
    equal("RCODE with a good cookie", NOERROR, again.rcode)
    expect("an answer", again.answer)


@case("edns", "a cookie of a wrong length is a format error")
def _(server):
    for length in (0, 1, 7, 9, 15, 41, 100):
        equal(f"RCODE for {length}", FORMERR, server.ask(query("www", edns=opt(options=[(10, b"c" * length)]))).rcode)


@case("edns", "a wrong server cookie is answered with a right one")
def _(server):
    for length in (16, 24, 40):
        reply = server.ask(query("www", edns=opt(options=[(10, b"c" * length)])))
        expect(f"RCODE {reply.rcode}", reply.rcode in (NOERROR, BADCOOKIE))
        expect("no cookie", reply.option(10) is not None and len(reply.option(10)) == 24)


@case("edns", "a cookie asked for without a question is given (RFC 7873 5.4), BADCOOKIE where a wrong one was shown", level="own")
def _(server):
    alone = lambda cookie: server.ask(message(opt(options=[(10, cookie)]), 0, (0, 0, 0, 1)))
    first = alone(b"clientxx")
    equal("RCODE", NOERROR, first.rcode)
    cookie = first.option(10)
    equal("length", 24, len(cookie))
    equal("RCODE of one that is good", NOERROR, alone(cookie).rcode)
    wrong = alone(cookie[:-1] + bytes([cookie[-1] ^ 1]))
    equal("RCODE of one that is not", 23, wrong.rcode)
    expect("no cookie", len(wrong.option(10)) == 24)


@case("edns", "of several cookies the first counts (RFC 7873 5.2)")
def _(server):
    first_counts(server, b"otherxxx")


@case("edns", "whatever lengths the others have", level="own")
def _(server):
    first_counts(server, b"", b"x" * 9, b"x" * 41)


def first_counts(server, *others):
    for other in others:
        reply = server.ask(query("www", edns=opt(options=[(10, b"clientxx"), (3, b""), (10, other)])))
        equal("RCODE", NOERROR, reply.rcode)
        equal("client part", b"clientxx", (reply.option(10) or b"")[:8])


def subnet(family, source, scope, address):
    return [(8, struct.pack(">HBB", family, source, scope) + address)]


@case("edns", "a client subnet is echoed with scope 0", level="own")
def _(server):
    for family, source, address in ((1, 24, b"\xc0\0\2"), (1, 32, b"\xc0\0\2\1"), (2, 56, b"\x20\1\x0d\xb8\0\0\0"),
                                    (1, 0, b""), (2, 0, b""), (1, 20, b"\xc0\0\x20")):
        reply = server.ask(query("www", edns=opt(options=subnet(family, source, 0, address))))
        equal("RCODE", NOERROR, reply.rcode)
        equal("option", struct.pack(">HBB", family, source, 0) + address, reply.option(8))


@case("edns", "no client subnet unless asked")
def _(server):
    equal("option", None, server.ask(query("www", edns=opt())).option(8))


@case("edns", "a malformed client subnet is a format error (RFC 7871 7.1.2)", level="own")
def _(server):
    for data in (b"", b"\0", b"\0\1\x18", b"\0\1\x18\0\xc0\0", b"\0\1\x18\0\xc0\0\2\1", b"\0\1\x21\0\xc0\0\2\1\1",
                 b"\0\2\x81\0" + b"\1" * 17, b"\0\1\x14\0\xc0\0\x2f", b"\0\1\x18\x18\xc0\0\2", b"\0\7\x08\0\1"):
        equal(f"RCODE for {data.hex()}", FORMERR, server.ask(query("www", edns=opt(options=[(8, data)]))).rcode)


@case("edns", "keepalive is never answered over UDP", UDP)
def _(server):
    reply = server.ask(query("www", edns=opt(options=[(11, b"")])))
    expect("keepalive", reply.option(11) is None)


@case("edns", "keepalive over TCP: two octets", TCP, level="own")
def _(server):
    reply = server.ask(query("www", edns=opt(options=[(11, b"")])))
    expect("keepalive", reply.option(11) is not None and len(reply.option(11)) == 2)


@case("edns", "padding does not hurt, and clear UDP is not padded", UDP)
def _(server):
    reply = server.ask(query("www", edns=opt(options=[(12, b"\0" * 100)])))
    equal("RCODE", NOERROR, reply.rcode)
    expect("padded", reply.option(12) is None)


@case("edns", "a refusal says why (EDE 20, RFC 8914)", level="own")
def _(server):
    ede = server.ask(query("other.test.", edns=opt())).option(15)
    equal("info code", 20, ede and struct.unpack(">H", ede[:2])[0])


# ---- sizes and truncation -----------------------------------------------------------------------------------------

@case("size", "512 octets without EDNS, and TC", UDP)
def _(server):
    for owner, rtype in (("big", A), ("huge", TXT)):
        reply = server.ask(query(owner, rtype))
        expect("too long", len(reply.octets) <= 512)
        expect("TC", reply.tc)


@case("size", "TC is never set over TCP", TCP)
def _(server):
    for owner, rtype, count in (("big", A, 40), ("huge", TXT, 60), ("to-huge", TXT, 61)):
        reply = server.ask(query(owner, rtype))
        expect("TC", not reply.tc)
        equal("records", count, len(reply.answer))


@case("size", "never a partial RRset with TC", UDP, level="own")
def _(server):
    for owner, rtype, count in (("big", A, 40), ("huge", TXT, 60), ("to-huge", TXT, 60)):
        for edns in (None, opt(512), opt(1232), opt(700)):
            reply = server.ask(query(owner, rtype, edns=edns))
            asked = [one for one in reply.answer if one[1] == rtype]
            expect(f"{len(asked)} of {count} records", len(asked) in (0, count))
            expect("TC", reply.tc or len(asked) == count)


@case("size", "OPT and question are kept with TC", UDP)
def _(server):
    octets = query("huge", TXT, edns=opt(512, flags=0x8000))
    reply = server.ask(octets)
    same_question(reply, octets)
    expect("no OPT", reply.opt is not None and reply.edns_flags == 0x8000)


@case("size", "sizes below 512 are 512", UDP)
def _(server):
    for size in (0, 1, 100, 511, 512):
        reply = server.ask(query("big", A, edns=opt(size)))
        expect("too long", len(reply.octets) <= 512)
        equal("RCODE", NOERROR, reply.rcode)
        reply = server.ask(query("www", A, edns=opt(size)))
        expect("TC for a small answer", not reply.tc and len(reply.answer) == 2)


@case("size", "an answer that fits 1232 is whole", UDP)
def _(server):
    reply = server.ask(query("big", A, edns=opt(1232)))
    expect("TC", not reply.tc)
    equal("records", 40, len(reply.answer))


@case("size", "nothing beyond 1232 octets, whatever the client takes (RFC 9715)", UDP)
def _(server):
    for size in (1400, 4096, 8192, 65535):
        reply = server.ask(query("huge", TXT, edns=opt(size)))
        expect(f"{len(reply.octets)} octets", len(reply.octets) <= 1232)
        expect("TC", reply.tc)


@case("size", "in-domain glue is whole, or TC (RFC 9471)", UDP)
def _(server):
    for edns in (None, opt(512), opt(600), opt(800), opt(1000), opt(1232)):
        reply = server.ask(query("x.many", edns=edns))
        expect(f"{len(reply.additional)} of 26 glue records and no TC", reply.tc or len(reply.additional) == 26)


@case("size", "a referral has no AA, cut or not", UDP)
def _(server):
    for owner in ("x.many", "x." + "n" * 60 + "." + "n" * 60 + "." + "n" * 60 + ".many"):
        for edns in (None, opt(512), opt(1232)):
            expect("AA", not server.ask(query(owner, edns=edns)).aa)


@case("size", "glue is whole over TCP", TCP)
def _(server):
    reply = server.ask(query("x.many"))
    equal("NS", 13, len(reply.authority))
    equal("glue", 26, len(reply.additional))


@case("size", "a question of 255 octets is answered within 512, and its negative answer too", UDP)
def _(server):
    longest = ".".join(["z" * 63, "n" * 63, "o" * 63, "p" * 48])
    reply = server.ask(query(longest))
    equal("RCODE", NXDOMAIN, reply.rcode)
    expect("too long", len(reply.octets) <= 512)


@case("size", "the answer is no longer than it need be: owner names are compressed", level="own")
def _(server):
    reply = server.ask(query("www"))
    equal("octets", 12 + len(question("www")) + 2 * 16, len(reply.octets))


@case("size", "a query of 64 kB over TCP is answered", TCP)
def _(server):
    padding = opt(options=[(12, b"\0" * 60000)])
    reply = server.ask(query("www", edns=padding))
    expect(f"RCODE {reply.rcode}", reply.rcode in (NOERROR, FORMERR))


@case("size", "ANY is bounded: the answer is small over UDP", UDP)
def _(server):
    for owner in ("@", "www", "huge", "big"):
        reply = server.ask(query(owner, ANY))
        expect(f"{len(reply.octets)} octets", len(reply.octets) <= 512)


@case("size", "ANY over TCP is small too (RFC 8482)", TCP, level="own")
def _(server):
    for owner in ("@", "www", "huge"):
        reply = server.ask(query(owner, ANY))
        expect(f"{len(reply.octets)} octets", len(reply.octets) <= 512)


@case("size", "ANY keeps NXDOMAIN, NODATA, aliases and referrals right")
def _(server):
    equal("missing", NXDOMAIN, server.ask(query("missing", ANY)).rcode)
    is_soa(server.ask(query("ent", ANY)))
    equal("alias", CNAME, server.ask(query("alias", ANY)).answer[0][1])
    reply = server.ask(query("x.child", ANY))
    expect("a referral", not reply.aa and not reply.answer and reply.authority[0][1] == NS)


# ---- types and classes --------------------------------------------------------------------------------------------

@case("types", "AXFR and IXFR are refused", TCP)
def _(server):
    for rtype in (AXFR, IXFR):
        body = question("@", rtype)
        counts = (1, 0, 0, 0)
        if rtype == IXFR:
            soa = name("ns1") + name("hostmaster") + struct.pack(">IIIII", 1, 2, 3, 4, 5)
            body, counts = body + record("@", SOA, data=soa), (1, 0, 1, 0)
        reply = server.ask(message(body, 0, counts))
        expect(f"RCODE {reply.rcode}", reply.rcode in (REFUSED, NOTAUTH, NOTIMP))
        expect("records", not reply.answer)


@case("types", "AXFR over UDP gives nothing away", UDP)
def _(server):
    reply = server.ask(query("@", AXFR))
    expect(f"RCODE {reply.rcode}", reply.rcode in (FORMERR, REFUSED, NOTIMP, NOTAUTH))
    expect("records", not reply.answer)


@case("types", "IXFR over UDP gives nothing away", UDP)
def _(server):
    reply = server.ask(query("@", IXFR))
    expect("records", len(reply.answer) <= 1)


@case("types", "a transfer of a zone that is not here")
def _(server):
    reply = server.ask(query("other.test.", AXFR))
    expect(f"RCODE {reply.rcode}", reply.rcode in (FORMERR, REFUSED, NOTAUTH, NOTIMP))


@case("types", "MAILA and MAILB are answered without data")
def _(server):
    for rtype in (MAILA, MAILB):
        reply = server.ask(query("www", rtype))
        expect("data", not reply.answer and reply.rcode in (NOERROR, NOTIMP, REFUSED, FORMERR))


@case("types", "NXNAME is a format error (RFC 9824 3.5)", level="own")
def _(server):
    equal("RCODE", FORMERR, server.ask(query("www", 128)).rcode)


@case("types", "OPT, TSIG and TKEY as QTYPE are answered without data")
def _(server):
    for rtype in (OPT, TSIG, 249):
        reply = server.ask(query("www", rtype))
        expect("data", not reply.answer)


@case("types", "NOTIFY changes nothing and is not obeyed")
def _(server):
    soa = name("ns1") + name("hostmaster") + struct.pack(">IIIII", 4000, 2, 3, 4, 5)
    before = server.ask(query("@", SOA)).answer
    reply = server.ask(message(question("@", SOA) + record("@", SOA, data=soa), 4 << 11 | 0x0400, (1, 1, 0, 0)))
    expect("records", not reply.answer)
    equal("SOA", before, server.ask(query("@", SOA)).answer)


@case("types", "NOTIFY is refused", level="own")
def _(server):
    reply = server.ask(query("@", SOA, flags=4 << 11 | 0x0400))
    expect(f"RCODE {reply.rcode}", reply.rcode in (REFUSED, NOTAUTH, NOTIMP))


@case("types", "UPDATE changes nothing and is refused")
def _(server):
    update = message(question("@", SOA) + record("evil", A, data=b"\1\2\3\4"), 5 << 11, (1, 0, 1, 0))
    reply = server.ask(update)
    expect(f"RCODE {reply.rcode}", reply.rcode in (REFUSED, NOTAUTH, NOTIMP))
    equal("evil", NXDOMAIN, server.ask(query("evil")).rcode)


@case("types", "NOTIFY and UPDATE for a zone that is not here are refused", level="own")
def _(server):
    for opcode in (4, 5):
        reply = server.ask(query("other.test.", SOA, flags=opcode << 11))
        expect(f"RCODE {reply.rcode}", reply.rcode in (REFUSED, NOTAUTH, NOTIMP))


@case("types", "NOTIFY and UPDATE with EDNS are answered with EDNS", level="own")
def _(server):
    for opcode in (4, 5):
        expect("no OPT", server.ask(query("@", SOA, flags=opcode << 11, edns=opt())).opt is not None)


def tsig(key="key.", algorithm="hmac-sha256.", mac=b"\1" * 32, when=None, number=0x1234, error=0, other=b"", fudge=300):
    when = int(time.time()) if when is None else when
    data = name(algorithm) + struct.pack(">HIHH", when >> 32, when & 0xFFFFFFFF, fudge, len(mac)) + mac
    data += struct.pack(">HHH", number, error, len(other)) + other
    return record(key, TSIG, 255, 0, data)


def bad_key(server, octets):
    reply = server.ask(octets)
    equal("RCODE", NOTAUTH, reply.rcode)
    expect("no TSIG", reply.tsig is not None)
    at = reply.tsig[4].index(b"\0", 0) + 1
    numbers = reply.tsig[4][at:]
    equal("MAC size", 0, struct.unpack(">H", numbers[8:10])[0])
    equal("error", 17, struct.unpack(">H", numbers[12:14])[0])
    expect("an answer", not reply.answer)


@case("tsig", "an unknown key is NOTAUTH with BADKEY, unsigned (RFC 8945 5.2.1)")
def _(server):
    bad_key(server, message(question("www") + tsig(), 0, (1, 0, 0, 1)))


@case("tsig", "so it is with EDNS before it")
def _(server):
    bad_key(server, message(question("www") + opt() + tsig(), 0, (1, 0, 0, 2)))


@case("tsig", "so it is for a transfer", TCP)
def _(server):
    bad_key(server, message(question("@", AXFR) + tsig(), 0, (1, 0, 0, 1)))


@case("tsig", "so it is for UPDATE and NOTIFY", level="own")
def _(server):
    for opcode in (4, 5):
        bad_key(server, message(question("@", SOA) + tsig(), opcode << 11, (1, 0, 0, 1)))


@case("tsig", "so it is for every other opcode, and without a question", level="own")
def _(server):
    for opcode in (1, 2, 3, 7, 15):
        bad_key(server, message(question("@", SOA) + tsig(), opcode << 11, (1, 0, 0, 1)))
    bad_key(server, message(tsig(), 0, (0, 0, 0, 1)))


@case("tsig", "one that leaves no room is TC with NOERROR (RFC 8945 5.3)", UDP, level="own")
def _(server):
    long = ".".join(["k" * 60] * 4) + "."
    reply = server.ask(message(question("www") + tsig(key=long, algorithm=long), 0, (1, 0, 0, 1)))
    expect("not truncated", reply.tc and reply.rcode == NOERROR and not reply.answer)


@case("tsig", "odd times, algorithms and lengths do not hurt")
def _(server):
    for one in (tsig(when=0), tsig(when=(1 << 48) - 1), tsig(algorithm="nonsense."), tsig(mac=b""), tsig(mac=b"x" * 2000),
                tsig(error=65535), tsig(other=b"x" * 100), tsig(fudge=0), tsig(number=1)):
        reply = server.ask(message(question("www") + one, 0, (1, 0, 0, 1)))
        expect(f"RCODE {reply.rcode}", reply.rcode in (FORMERR, NOTAUTH))


@case("tsig", "one that is not last is a format error (RFC 8945 5.1)")
def _(server):
    equal("RCODE", FORMERR, server.ask(message(question("www") + tsig() + opt(), 0, (1, 0, 0, 2))).rcode)


@case("tsig", "one in another section is a format error (RFC 8945 5.1)")
def _(server):
    for counts in ((1, 1, 0, 0), (1, 0, 1, 0)):
        equal("RCODE", FORMERR, server.ask(message(question("www") + tsig(), 0, counts)).rcode)


@case("tsig", "two are a format error")
def _(server):
    equal("RCODE", FORMERR, server.ask(message(question("www") + tsig() * 2, 0, (1, 0, 0, 2))).rcode)


@case("tsig", "one that is cut is a format error")
def _(server):
    good = name("hmac-sha256.") + struct.pack(">HIHH", 0, 1, 300, 4) + b"\1\2\3\4" + struct.pack(">HHH", 1, 0, 0)
    for length in (0, 5, 13, 20, len(good) - 1):
        one = record("key.", TSIG, 255, 0, good[:length])
        equal(f"RCODE at {length}", FORMERR, server.ask(message(question("www") + one, 0, (1, 0, 0, 1))).rcode)


@case("chaos", "version.server says what version.bind says", level="own")
def _(server):
    reply = server.ask(query("version.server.", TXT, CH))
    equal("record", [(TXT, CH, b"\4conf")], [(one[1], one[2], one[4]) for one in reply.answer])


@case("chaos", "version.bind says what it was told to")
def _(server):
    for owner in ("version.bind.", "VERSION.BIND."):
        reply = server.ask(query(owner, TXT, CH))
        equal("RCODE", NOERROR, reply.rcode)
        equal("record", [(TXT, CH, b"\4conf")], [(one[1], one[2], one[4]) for one in reply.answer])


@case("chaos", "hostname.bind and id.server say what they were told to")
def _(server):
    for owner in ("hostname.bind.", "id.server."):
        reply = server.ask(query(owner, TXT, CH))
        equal("RCODE", NOERROR, reply.rcode)
        equal("record", [(TXT, CH, b"\4conf")], [(one[1], one[2], one[4]) for one in reply.answer])


@case("chaos", "other names in class CH are refused", level="own")
def _(server):
    for owner in ("www", ".", "nothing.bind."):
        equal("RCODE", REFUSED, server.ask(query(owner, TXT, CH)).rcode)


@case("chaos", "in class IN they are nothing special")
def _(server):
    equal("RCODE", REFUSED, server.ask(query("version.bind.", TXT)).rcode)


# ---- sweeps -------------------------------------------------------------------------------------------------------

def all_answered(replies):
    missing = [number for number, reply in enumerate(replies) if reply is None]
    expect(f"{len(missing)} are not answered, the first {missing[:5]}", not missing)


@case("sweep", "every QTYPE is answered", UDP)
def _(server):
    replies = server.burst([query("www", rtype) for rtype in range(65536)])
    all_answered(replies)
    for rtype, octets in enumerate(replies):
        reply = Reply(octets)
        if rtype in (A, AAAA, TXT):
            expect(f"type {rtype} is not there", reply.answer)
        # 128 to 255 are no data types (RFC 6895 3.1); 0 is reserved; OPT is a pseudo-type.
        elif rtype not in (0, OPT) and not 128 <= rtype <= 255:
            equal(f"RCODE of type {rtype}", NOERROR, reply.rcode)
            expect(f"data or no SOA for type {rtype}", not reply.answer and [one[1] for one in reply.authority] == [SOA])


@case("sweep", "every QTYPE is answered at a name that does not exist", UDP)
def _(server):
    replies = server.burst([query("missing", rtype) for rtype in range(65536)])
    all_answered(replies)
    for rtype, octets in enumerate(replies):
        if rtype not in (0, OPT) and not 128 <= rtype <= 255:
            equal(f"RCODE of type {rtype}", NXDOMAIN, octets[3] & 15)


@case("sweep", "every QCLASS is answered, without data but in IN and ANY", UDP)
def _(server):
    replies = server.burst([query("www", A, rclass) for rclass in range(65536)])
    all_answered(replies)
    for rclass, octets in enumerate(replies):
        reply = Reply(octets)
        if rclass not in (IN, 255):
            expect(f"data in class {rclass}", not reply.answer and reply.rcode in (REFUSED, NOTAUTH, FORMERR, NOTIMP))


@case("sweep", "class ANY is not answered with data", level="own")
def _(server):
    equal("RCODE", REFUSED, server.ask(query("www", A, 255)).rcode)


@case("sweep", "every EDNS option code is passed over", UDP)
def _(server):
    replies = server.burst([query("www", edns=opt(options=[(code, b"12345678")])) for code in range(65536)])
    all_answered(replies)
    for code, octets in enumerate(replies):
        reply = Reply(octets)
        # Defined options may be malformed with such data: LLQ, subnet, keepalive, chain, report channel and the like.
        if code > 30 or code == 0:
            equal(f"RCODE of option {code}", NOERROR, reply.rcode)
            expect(f"option {code} is echoed", reply.option(code) is None)
            expect("no answer", reply.answer)


@case("sweep", "every EDNS size from 0 to 65535 is kept to, and OPT is there", UDP)
def _(server):
    replies = server.burst([query("huge", TXT, edns=opt(size)) for size in range(65536)], window=24)
    all_answered(replies)
    for size, octets in enumerate(replies):
        expect(f"{len(octets)} octets for {size}", len(octets) <= min(max(size, 512), 1232))
        expect("no OPT", Reply(octets).opt is not None)


@case("sweep", "every EDNS version and flag bit is answered", UDP)
def _(server):
    replies = server.burst([query("www", edns=opt(version=version)) for version in range(256)])
    all_answered(replies)
    equal("RCODEs", [NOERROR] + [BADVERS] * 255, [Reply(octets).rcode for octets in replies])


@case("sweep", "every value of a QUERY's flags and RCODE, and every opcode, is answered", UDP)
def _(server):
    values = [*range(0x800), *(opcode << 11 for opcode in range(1, 16))]
    all_answered(server.burst([query("www", flags=flags) for flags in values]))


# ---- TCP ----------------------------------------------------------------------------------------------------------

def framed(octets):
    return struct.pack(">H", len(octets)) + octets


@case("tcp", "a hundred queries on one connection, in flight at once", TCP)
def _(server):
    with socket.create_connection(server.address, timeout=3) as stream:
        stream.sendall(b"".join(framed(query("www", number=number)) for number in range(100)))
        found = sorted(struct.unpack(">H", read_message(stream)[:2])[0] for _ in range(100))
    equal("ids", list(range(100)), found)


@case("tcp", "octet by octet", TCP)
def _(server):
    with socket.create_connection(server.address, timeout=3) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(query("www")):
            stream.sendall(bytes([octet]))
            time.sleep(0.001)
        expect("records", Reply(read_message(stream)).answer)


@case("tcp", "cut at every place, two queries at once", TCP)
def _(server):
    both = framed(query("www", number=1)) + framed(query("mail", number=2))
    for cut in range(1, len(both), 7):
        with socket.create_connection(server.address, timeout=3) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.sendall(both[:cut])
            time.sleep(0.002)
            stream.sendall(both[cut:])
            ids = {read_message(stream)[:2] for _ in range(2)}
        equal("ids", {b"\0\1", b"\0\2"}, ids)


@case("tcp", "half-close: what was asked is still answered", TCP)
def _(server):
    with socket.create_connection(server.address, timeout=3) as stream:
        stream.sendall(framed(query("www")) + framed(query("huge", TXT)))
        stream.shutdown(socket.SHUT_WR)
        equal("records", {2, 60}, {len(Reply(read_message(stream)).answer) for _ in range(2)})


@case("tcp", "an idle second does not close a connection", TCP)
def _(server):
    with socket.create_connection(server.address, timeout=3) as stream:
        for _ in range(2):
            stream.sendall(framed(query("www")))
            read_message(stream)
            time.sleep(1)


@case("tcp", "a message of length 0 is no harm to others", TCP)
def _(server):
    with socket.create_connection(server.address, timeout=2) as stream:
        stream.sendall(b"\0\0")
        stream.close()
    expect("records", server.ask(query("www")).answer)


@case("tcp", "clients that vanish at each step are no harm", TCP)
def _(server):
    whole = framed(query("huge", TXT))
    for cut in range(0, len(whole) + 1, 3):
        stream = socket.create_connection(server.address, timeout=2)
        stream.sendall(whole[:cut])
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
    expect("records", server.ask(query("www")).answer)


@case("tcp", "a client that never reads is no harm to another, over TCP or UDP", TCP)
def _(server):
    idle = socket.create_connection(server.address, timeout=0.2)
    try:
        for _ in range(2000):
            idle.sendall(framed(query("huge", TXT)))
    except OSError:
        pass
    start = time.monotonic()
    expect("records", server.ask(query("www")).answer)
    expect("records", Server(*server.address).ask(query("www")).answer)
    expect("slow", time.monotonic() - start < 0.8)
    idle.close()


@case("tcp", "UDP and TCP say the same", TCP)
def _(server):
    other = Server(*server.address)
    for owner, rtype in (("www", A), ("missing", A), ("x.child", A), ("c1", A), ("www.dn", A), ("other.test.", A)):
        first, second = other.ask(query(owner, rtype, edns=opt())), server.ask(query(owner, rtype, edns=opt()))
        equal("flags", first.flags, second.flags)
        for section in ("answer", "authority", "additional"):
            equal(section, sorted(getattr(first, section)), sorted(getattr(second, section)))


# ---- loops and forged sources -------------------------------------------------------------------------------------

def heard(server, port):
    """Whether a query from that source port of loopback is answered, by a raw socket: nobody else may hold the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as wire:
        octets = query("www", number=0x7A00 | port & 0xFF)
        wire.settimeout(0.3)
        wire.sendto(struct.pack(">HHHH", port, server.address[1], 8 + len(octets), 0) + octets, (server.address[0], 0))
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            try:
                packet = wire.recv(65535)[20:]
            except OSError:
                return False
            if struct.unpack(">HH", packet[:4]) == (server.address[1], port) and packet[8:10] == octets[:2]:
                return True
    return False


@case("loops", "a raw query from an ordinary port is answered (or the next two say nothing)", UDP)
def _(server):
    expect("not answered", heard(server, 40123))


@case("loops", "source port 0 is never answered", UDP, level="own")
def _(server):
    expect("answered", not heard(server, 0))


@case("loops", "the ports of echo, daytime, chargen, time and kpasswd are never answered", UDP, level="own")
def _(server):
    for port in (7, 13, 19, 37, 464):
        expect(f"port {port} answered", not heard(server, port))


@case("loops", "two servers forged to each other fall silent", UDP)
def _(server):
    # What the server says is sent back to it: a response, of whatever RCODE, must be met with silence.
    for octets in (query("www"), query("other.test."), message(b"\xff" * 30, 0, (5, 5, 5, 5)), query("www", flags=9 << 11)):
        reply = server.raw(octets)
        if reply is not None:
            expect("answered a reply", server.is_silent(reply))
