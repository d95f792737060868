#!/usr/bin/python3
"""Writes the zones of the conformance suite, as master files that all four servers read.

    conformance_zone.py DIRECTORY
"""
import sys

ZONE = r"""$ORIGIN conf.example.
$TTL 3600
@            IN SOA   ns1 hostmaster ( 7 7200 900 1209600 300 )
@            IN NS    ns1
@            IN NS    ns2
@            IN MX    10 mail
@            IN TXT   "apex"
ns1          IN A     192.0.2.53
ns1          IN AAAA  2001:db8::53
ns2          IN A     192.0.2.54
mail         IN A     192.0.2.25
null         IN MX    0 .
www      600 IN A     192.0.2.1
www      600 IN A     192.0.2.2
www          IN AAAA  2001:db8::1
www          IN TXT   "text"
srv          IN SRV   1 2 80 www
svcb         IN SVCB  1 . alpn=h2 port=8443
https        IN HTTPS 0 www
unknown      IN TYPE65280 \# 4 0A000001
empty-data   IN TYPE65281 \# 0
MiXeD        IN A     192.0.2.7
ttl0     0   IN A     192.0.2.8
ttlmax   2147483647 IN A 192.0.2.9
a.b.ent      IN A     192.0.2.10

; RFC 4592 2.2.1, one label down.
*.w          IN TXT   "this is a wildcard"
*.w          IN MX    10 host1.w
sub.*.w      IN TXT   "this is not a wildcard"
host1.w      IN A     192.0.2.20
_ssh._tcp.host1.w IN SRV 0 0 22 host1.w
_ssh._tcp.host2.w IN SRV 0 0 22 host1.w
subdel.w     IN NS    ns.example.com.
subdel.w     IN NS    ns.example.net.
*.wc         IN CNAME www
*.wa         IN A     192.0.2.30
x.y.wa       IN A     192.0.2.31

; Chains.
alias        IN CNAME www
c1           IN CNAME c2
c2       60  IN CNAME c3
c3           IN CNAME www
dangling     IN CNAME missing.nothere
to-nodata    IN CNAME mail
to-ent       IN CNAME b.ent
to-out       IN CNAME www.elsewhere.example.
to-cut       IN CNAME host.child
to-wild      IN CNAME q.wa
to-huge      IN CNAME huge
loop         IN CNAME loop
loop1        IN CNAME loop2
loop2        IN CNAME loop1

; DNAME.
dn       120 IN DNAME target
dn           IN TXT   "beside"
www.target   IN A     192.0.2.40
dn-out       IN DNAME elsewhere.example.
dn-long      IN DNAME aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.cccccccccccccccccccccccccccccccccccccccccccccccccccccccccc

; Cuts.
child        IN NS    ns.child
child        IN NS    ns2.elsewhere.example.
ns.child     IN A     192.0.2.60
ns.child     IN AAAA  2001:db8::60
glueless     IN NS    ns.elsewhere.example.
secure       IN NS    ns.secure
ns.secure    IN A     192.0.2.61
secure       IN DS    60485 13 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a
sibling      IN NS    ns.child
hosted       IN NS    ns1.hosted
ns1.hosted   IN A     192.0.2.62
hosted       IN DS    1 13 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50b

; Names (RFC 2181 11).
under_score  IN A     192.0.2.70
do\.t        IN A     192.0.2.71
sp\032ace    IN A     192.0.2.72
nu\000l      IN A     192.0.2.73
hi\255gh     IN A     192.0.2.74
at\@sign     IN A     192.0.2.75
\195\132     IN A     192.0.2.76
back\\slash  IN A     192.0.2.77
"""

LONG_LABEL = "l" * 63
# 255 octets with the zone's own labels: the longest name there is.
LONGEST = ".".join(["m" * 63, "n" * 63, "o" * 63, "p" * 48]) + ".conf.example."

HOSTED = r"""$ORIGIN hosted.conf.example.
$TTL 3600
@    IN SOA ns1 hostmaster 1 7200 900 1209600 60
@    IN NS  ns1
ns1  IN A   192.0.2.62
www  IN A   192.0.2.63
"""


def main():
    directory = sys.argv[1]
    lines = [ZONE, f"{LONG_LABEL} IN A 192.0.2.78", f"{LONGEST} IN A 192.0.2.79"]
    for number in range(1, 14):
        server = f"a-name-server-with-a-long-name-{number}.many"
        lines += [f"many IN NS {server}", f"{server} IN A 198.51.100.{number}", f"{server} IN AAAA 2001:db8:1::{number}"]
    lines += [f"big IN A 203.0.113.{number}" for number in range(1, 41)]
    lines += [f'huge IN TXT "{number:03d} {"x" * 190}"' for number in range(60)]
    lines += [f"d{number}.deep IN CNAME d{number + 1}.deep" for number in range(1, 9)]
    lines.append("d9.deep IN A 192.0.2.80")
    with open(f"{directory}/conf.example.zone", "w") as out:
        out.write("\n".join(lines) + "\n")
    with open(f"{directory}/hosted.conf.example.zone", "w") as out:
        out.write(HOSTED)


if __name__ == "__main__":
    main()
