#!/usr/bin/python3
"""Writes the master files that NSD and rollcall both serve: every lookup case of RFC 1034, 2308, 4592 and 6672, odd
names, all common types, large sets, and a bulk of generated names. Same seed, same zone.

    zone.py DIRECTORY
"""
import random
import sys

BASE = r"""$ORIGIN interop.example.
$TTL 3600
@            IN SOA   ns1 hostmaster.interop.example. ( 2026010101 7200 900 1209600
                      300 )       ; negative TTL below the SOA's own
@            IN NS    ns1
@            IN NS    ns2.elsewhere.example.
ns1          IN A     192.0.2.53
ns1          IN AAAA  2001:db8::53
@            IN A     192.0.2.1
@            IN MX    10 mail
@            IN MX    20 .
@            IN TXT   "v=spf1 mx -all"
@            IN CAA   0 issue "ca.example.net"
mail         300 IN A 192.0.2.25

; Every common type at one owner each.
www          60 IN A  192.0.2.10
www          60 IN A  192.0.2.11
www          IN AAAA  2001:db8::10
text         IN TXT   "one string"
text         IN TXT   "two" "strings"
text         IN TXT   "a\"quote" "back\\slash" "\000\255" ""
srv._tcp     IN SRV   10 60 5060 sip
_sip._udp    IN SRV   0 0 0 .
naptr        IN NAPTR 100 50 "s" "SIP+D2U" "" _sip._udp
naptr        IN NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .
ptr          IN PTR   host.interop.example.
_443._tcp    IN TLSA  3 1 1 0d6fce3f2d5b0b0c1e2fdf0d2b3b4a5968778695a4b3c2d1e0f1020304050607
sshfp        IN SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
svcb         IN SVCB  1 svc.interop.example. alpn=h2,h3 port=8443 ipv4hint=192.0.2.10
svcb-alias   IN SVCB  0 www
https        IN HTTPS 1 . alpn=h2 ipv6hint=2001:db8::10
https        IN HTTPS 16 www port=8443
hinfo        IN HINFO "CPU" "OS"
rp           IN RP    admin.interop.example. text.interop.example.
afsdb        IN TYPE18 \# 7 0001 0361667300
loc          IN TYPE29 \# 16 000016138b3cf018810cbce0009895b8
unknown      IN TYPE65280 \# 4 0A000001
unknown      IN TYPE65280 \# 0
unknown      IN TYPE65281 \# 3 (
             ab cd ef )
ttl0         0 IN A   192.0.2.99
ttlmax       2147483647 IN A 192.0.2.98
Mixed.CASE   IN A     192.0.2.97

; Empty non-terminals: b.c.ent, c.ent and ent have no records.
a.b.c.ent    IN A     192.0.2.30
z.c.ent      IN TXT   "beside"

; Wildcards (RFC 4592 and its example).
*.wild       IN A     192.0.2.40
*.wild       IN MX    10 mail
host.wild    IN A     192.0.2.41
sub.deep.wild IN TXT  "blocks deep.wild, an empty non-terminal"
*.alias      IN CNAME www
*.chain      IN CNAME x.wild
*.*.star     IN A     192.0.2.42
*.out        IN CNAME out.elsewhere.example.
*.nodata     IN TXT   "only text"
_ssh.*.wildsrv IN SRV 1 1 22 www
*.under      IN A     192.0.2.43
*.ns-wild    IN A     192.0.2.44

; CNAME chains, in the zone and out of it.
c1           IN CNAME c2
c2           60 IN CNAME c3
c3           IN CNAME www
c-out        IN CNAME www.elsewhere.example.
c-missing    IN CNAME no-such.wild2.gone
c-nodata     IN CNAME text
c-ent        IN CNAME c.ent
c-wild       IN CNAME q.wild
c-cut        IN CNAME host.child
c-dname      IN CNAME x.dn
CamelCase    IN CNAME WWW
""" + "\n".join(f"long{n}    IN CNAME long{n + 1}" for n in range(1, 10)) + r"""
long10       IN A     192.0.2.45

; DNAME (RFC 6672).
dn           IN DNAME target
dn           IN TXT   "beside a DNAME"
target       IN A     192.0.2.50
a.target     IN A     192.0.2.51
b.a.target   IN AAAA  2001:db8::51
*.w.target   IN A     192.0.2.52
dn-out       600 IN DNAME elsewhere.example.
dn-chain     IN DNAME dn
dn-long      IN DNAME abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0.abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0.abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0

; Cuts: with glue, without, with glue for one family, with a DS, below an empty non-terminal, with one letter.
child        IN NS    ns.child
child        IN NS    ns2.child
ns.child     IN A     198.51.100.1
ns.child     IN AAAA  2001:db8:1::1
ns2.child    IN A     198.51.100.2
outside      IN NS    ns.elsewhere.example.
outside      IN NS    ns9.elsewhere.example.
sibling      IN NS    ns.child
sibling      IN NS    ns1
secure       IN NS    ns.secure
ns.secure    IN A     198.51.100.3
secure       IN DS    60485 13 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a
deep.cut.ent2 600 IN NS ns.deep.cut.ent2
ns.deep.cut.ent2 IN A 198.51.100.4

; Odd names (RFC 2181 11: any octet may stand in a label).
do\.t        IN A     192.0.2.60
sp\032ace    IN A     192.0.2.61
hi\255gh     IN A     192.0.2.62
nu\000l      IN A     192.0.2.63
under_score  IN A     192.0.2.64
_leading     IN A     192.0.2.65
at\@sign     IN A     192.0.2.66
semi\;colon  IN A     192.0.2.67
back\\slash  IN A     192.0.2.68
qu\"ote      IN A     192.0.2.69
par\(en\)    IN A     192.0.2.70
dol\$lar     IN A     192.0.2.71
\*.literal   IN A     192.0.2.72
-dash-       IN A     192.0.2.73
123          IN A     192.0.2.74
a            IN A     192.0.2.75
abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk IN A 192.0.2.76
1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1 IN PTR host
soft         IN CNAME do\.t
"""

CHILD = r"""$ORIGIN hosted.interop.example.
$TTL 600
@    IN SOA ns1 hostmaster 1 2 3 4 60
@    IN NS  ns1
ns1  IN A   192.0.2.54
www  IN A   192.0.2.80
*    IN TXT "below the child"
"""


def large_sets(lines):
    for n in range(40):
        lines.append(f"big{' ' * 8}IN A 203.0.113.{n + 1}")
    for n in range(150):
        lines.append(f"huge{' ' * 7}IN AAAA 2001:db8:ffff::{n + 1:x}")
    for n in range(60):
        lines.append(f'bigtext     IN TXT "{n:03d} {"x" * 180}"')
    lines.append("c-big       IN CNAME big")
    lines.append("c-huge      IN CNAME huge")


def bulk(lines, random_source):
    """Generated names under gen., with every lookup case again in random places."""
    for n in range(400):
        depth = random_source.randint(1, 4)
        owner = ".".join(random_source.choice("abcdefgh") + str(random_source.randint(0, 9)) for _ in range(depth))
        if random_source.random() < 0.15:
            owner = "*." + owner
        owner = f"{owner}.g{n % 25}.gen"
        kind = random_source.choice(["A", "A", "AAAA", "TXT", "MX", "SRV"])
        data = {
            "A": f"10.0.{n // 256}.{n % 256}",
            "AAAA": f"2001:db8:2::{n:x}",
            "TXT": f'"text {n}"',
            "MX": f"{n} mail",
            "SRV": f"1 2 {n} www",
        }[kind]
        lines.append(f"{owner} {60 * (n % 7 + 1)} IN {kind} {data}")
    for n in range(40):
        lines.append(f"alias{n}.gen IN CNAME {random_source.choice(['www', 'big', 'x.wild', 'c.ent', 'none.ent', 'y.child', f'alias{n + 1}.gen'])}")
    lines.append("alias40.gen IN CNAME www")
    for n in range(20):
        lines.append(f"cut{n}.gen IN NS ns.cut{n}.gen")
        lines.append(f"ns.cut{n}.gen IN A 198.51.100.{n + 10}")


def merge_ttls(lines):
    """One TTL for the generated records of one owner and type (RFC 2181 5.2), so that no server has to choose."""
    seen, out = {}, []
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[1].isdigit() and fields[2] == "IN":
            ttl = seen.setdefault((fields[0], fields[3]), fields[1])
            line = " ".join([fields[0], ttl] + fields[2:])
        out.append(line)
    return out


def main():
    directory = sys.argv[1]
    lines = []
    large_sets(lines)
    bulk(lines, random.Random(1))
    with open(f"{directory}/interop.example.zone", "w") as out:
        out.write(BASE + "\n".join(merge_ttls(lines)) + "\n")
        # A zone below this one, served by the same server: its cut and DS are this zone's, all else is its own.
        out.write("hosted IN NS ns1.hosted\nns1.hosted IN A 192.0.2.54\n")
        out.write("hosted IN DS 1 13 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50b\n")
    with open(f"{directory}/hosted.interop.example.zone", "w") as out:
        out.write(CHILD)


main()
