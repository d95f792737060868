#!/usr/bin/python3
"""Asks rollcall and others the same generated questions over generated zones and compares the replies section by section,
as compare.py does. A difference is either one of the classes below, each explained in docs/conformance.md, or a failure.

    differential.py DIRECTORY SEED HOW-MANY rollcall=HOST:PORT NAME=HOST:PORT …
"""
import collections
import glob
import random
import sys

import dns.message
import dns.name
import dns.rdatatype

import compare

TYPES = ["A", "AAAA", "NS", "SOA", "CNAME", "DNAME", "MX", "TXT", "SRV", "CAA", "DS", "TYPE65280", "TYPE1234"]
SHOWN = 12


def main():
    directory, seed, how_many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    servers = []
    for argument in sys.argv[4:]:
        name, address = argument.split("=")
        host, port = address.rsplit(":", 1)
        servers.append((name, compare.Server((host, int(port)))))
    (_, ours), others = servers[0], servers[1:]
    passed = failed = over_tcp = 0
    classes = collections.Counter()
    for number, (name, rdtype, edns) in enumerate(questions(directory, how_many, random.Random(seed))):
        query = compare.make_query(number, name, rdtype, edns)
        reply = ours.udp(query)
        whole = None
        trouble = []
        for other_name, other in others:
            theirs = other.udp(query)
            found = compare.differences(query, [theirs, reply])
            if found or number % 10 == 0 or any(one and one[2] & 2 for one in (reply, theirs)):
                over_tcp += 1
                whole = whole or ours.tcp(query)
                found = unexplained(other_name, query, theirs, reply, whole, classes)
                more = [one.replace("NSD", other_name) for one in compare.differences(query, [other.tcp(query), whole])]
                found += [f"tcp: {what}" for what in more]
            trouble += found
        if not trouble:
            passed += 1
            continue
        failed += 1
        if failed <= SHOWN:
            text = dns.name.from_wire(name, 0)[0].to_text()
            print(f"--- {text} {dns.rdatatype.to_text(rdtype)}{' +edns' if edns else ''}")
            for what in trouble:
                print(f"    {what}")
    if failed > SHOWN:
        print(f"--- and {failed - SHOWN} more")
    for (other_name, what), count in sorted(classes.items()):
        print(f"explained: {other_name}: {what}: {count}")
    print(f"seed {seed}: {passed + failed} questions, {over_tcp} comparisons over TCP as well")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def unexplained(other_name, query, theirs, ours, whole, classes):
    """Differences in words, without those that only room made: TCP must show none then. `whole` is rollcall's reply over TCP."""
    found = compare.differences(query, [theirs, ours])
    if not found:
        return []
    if whole and theirs and ours:
        limit = 1232 if query[11] else 512
        cut_there, cut_here = theirs[2] & 2, ours[2] & 2
        why = None
        if cut_there and not cut_here:
            why = "fits into rollcall's reply, not into theirs, which is cut"
        elif cut_here and not cut_there and len(whole) > limit:
            why = "does not fit: TC in rollcall's reply, something left out without TC in theirs"
        elif not cut_here and (len(whole) > limit or len(theirs) + 28 > limit) and same_referral(theirs, ours):
            why = "addresses that are not in-domain found room here or there"
        if why:
            classes[other_name, why] += 1
            return []
    return [what.replace("NSD", other_name) for what in found]


def same_referral(theirs, ours):
    """Both refer to the same cut, in the same words but for the addresses."""
    left, right = (dns.message.from_wire(octets, one_rr_per_rrset=True) for octets in (theirs, ours))
    return left.flags == right.flags and compare.is_referral(left) and all(
        compare.records(getattr(left, section)) == compare.records(getattr(right, section)) for section in ("answer", "authority"))


def questions(directory, how_many, source):
    """Names in, between, above and below what the zones hold, each letter in random case."""
    places = []
    for path in sorted(glob.glob(f"{directory}/*.zone")):
        with open(path) as lines:
            origin = dns.name.from_text(next(lines).split()[1])
            owners = set()
            for line in list(lines)[1:]:
                word = line.split()[0]
                owner = origin if word == "@" else dns.name.from_text(word, origin)
                labels = owner.canonicalize().labels[:-1]
                owners |= {labels[i:] for i in range(len(labels)) if len(labels) - i >= len(origin.labels) - 1}
        places.append((origin.labels[:-1], sorted(owners)))
    for _ in range(how_many):
        origin, owners = source.choice(places)
        labels, kind = list(source.choice(owners)), source.random()
        if kind < 0.35:
            labels = compare.random_labels(source) + labels
        elif kind < 0.4:
            labels = [b"*"] + labels
        elif kind < 0.5 and len(labels) > len(origin):
            labels = compare.random_labels(source) + labels[1:]
        elif kind < 0.53:
            labels = [b"x" * 60] * source.randint(1, 3) + labels
        if sum(len(label) + 1 for label in labels) + 1 > 255:
            continue
        rdtype = dns.rdatatype.from_text(source.choice(TYPES))
        yield compare.wire(compare.mixed_case(tuple(labels), source)), rdtype, source.random() < 0.6


if __name__ == "__main__":
    sys.exit(main())
