#!/usr/bin/python3
"""Generates zones where lookups differ: wildcards, empty non-terminals, cuts with and without glue, DNAMEs, chains into
everything, odd names, large sets, deep names. One seed, one set of zones.

    differential_zone.py DIRECTORY SEED HOW-MANY
"""
import random
import sys

LABELS = ["a", "b", "c", "A", "x", "_tcp", "a\\.b", "\\000", "\\255", "sp\\032ace", "l" * 63, "0", "-", "under_score"]
ELSEWHERE = ["www.elsewhere.example.", "ns.elsewhere.example.", "."]


class Zone:
    def __init__(self, origin, source):
        self.origin, self.random = origin, source
        self.sets = {}              # (owner, type) -> set of RDATA; owner: labels as a tuple, relative
        self.barred = set()         # owners that are cuts, DNAMEs or aliases: no further data
        self.add((), "SOA", "ns1 hostmaster 1 7200 900 1209600 %d" % source.choice([60, 300, 9000]))
        self.add((), "NS", "ns1")
        self.add(("ns1",), "A", "192.0.2.53")

    def add(self, owner, rtype, data):
        self.sets.setdefault((tuple(label.lower() for label in owner), rtype), set()).add(data)

    def owners(self):
        return sorted({owner for owner, _ in self.sets})

    def free(self, owner):
        """Whether data may stand there: nothing at or above it bars it."""
        owner = tuple(label.lower() for label in owner)
        return not any(owner[i:] in self.barred for i in range(len(owner) + 1))

    def owner(self, wildcard=0.15):
        depth = self.random.choice([1, 1, 1, 2, 2, 3, 4, 12])
        labels = [self.random.choice(LABELS[:6] if depth == 12 else LABELS) for _ in range(depth)]
        existing = self.owners()
        if self.random.random() < 0.5:
            labels += self.random.choice(existing)
        if self.random.random() < wildcard:
            labels.insert(0, "*")
        if self.random.random() < 0.03:
            labels.insert(self.random.randrange(len(labels) + 1), "*")
        if sum(len(label.replace("\\", "")) + 1 for label in labels) > 190:
            labels = labels[-2:]
        return tuple(labels)

    def text(self, owner):
        return ".".join(owner) if owner else "@"

    def target(self):
        kind = self.random.random()
        if kind < 0.5:
            return self.text(self.random.choice(self.owners()))
        if kind < 0.75:
            return self.text(self.owner(0))
        return self.random.choice(ELSEWHERE[:2])

    def grow(self, steps):
        for number in range(steps):
            owner, kind = self.owner(), self.random.random()
            owner = tuple(label.lower() for label in owner)
            if not self.free(owner):
                continue
            has_data = any(known == owner for known, _ in self.sets)
            has_below = any(known != owner and known[-len(owner):] == owner for known, _ in self.sets)
            wild = "*" in owner
            if kind < 0.2 and not has_data and (not wild or owner[0] == "*"):
                self.add(owner, "CNAME", self.target())
                self.barred_here(owner, "alias")
            elif kind < 0.27 and not has_data and not has_below and not wild:
                self.add(owner, "DNAME", self.target())
                if self.random.random() < 0.3:
                    self.add(owner, "TXT", '"beside"')
                self.barred.add(owner)
            elif kind < 0.37 and not has_data and not has_below and not wild:
                self.cut(owner, number)
            elif kind < 0.4:
                for n in range(self.random.choice([20, 60, 200])):
                    self.add(owner, "A", f"203.0.113.{n + 1}")
            elif kind < 0.42:
                for n in range(30):
                    self.add(owner, "TXT", f'"{n} {"t" * 100}"')
            else:
                for rtype in self.random.sample(["A", "AAAA", "TXT", "MX", "SRV", "TYPE65280", "CAA"], self.random.choice([1, 1, 2])):
                    self.add(owner, rtype, {
                        "A": f"10.0.{number >> 8}.{number & 255}", "AAAA": f"2001:db8::{number:x}", "TXT": f'"text {number}"',
                        "MX": f"{number} {self.target()}", "SRV": f"1 2 {number} {self.target()}",
                        "TYPE65280": f"\\# 2 {number:04x}", "CAA": '0 issue "ca.example"'}[rtype])

    def barred_here(self, owner, _why):
        """An alias bars other data at its owner alone, but a name below it is legal: chosen rarely enough to leave out."""
        self.barred.add(owner)

    def cut(self, owner, number):
        for n in range(self.random.choice([1, 2, 2, 13])):
            kind = self.random.random()
            server = ("ns%d" % n,) + owner
            if kind < 0.6:
                self.add(owner, "NS", self.text(server))
                if self.random.random() < 0.85:
                    self.add(server, "A", f"198.51.100.{n + 1}")
                if self.random.random() < 0.5:
                    self.add(server, "AAAA", f"2001:db8:1::{n + 1}")
            elif kind < 0.8:
                self.add(owner, "NS", self.random.choice(ELSEWHERE[:2]))
            else:
                self.add(owner, "NS", self.text(self.random.choice([("ns1",), server])))
        if self.random.random() < 0.3:
            self.add(owner, "DS", "1 13 2 " + "ab" * 32)
        if self.random.random() < 0.2:
            self.add(("occluded",) + owner, "A", "192.0.2.200")
        self.barred.add(owner)

    def write(self, path):
        with open(path, "w") as out:
            out.write(f"$ORIGIN {self.origin}.\n$TTL 3600\n")
            ttls = random.Random(5)
            for (owner, rtype), data in sorted(self.sets.items()):
                ttl = ttls.choice([0, 60, 300, 3600])
                for one in sorted(data):
                    out.write(f"{self.text(owner)} {ttl} IN {rtype} {one}\n")


def main():
    directory, seed, how_many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for number in range(1, how_many + 1):
        source = random.Random(f"{seed}.{number}")
        zone = Zone(f"z{number}.diff.example", source)
        zone.grow(source.choice([10, 40, 150, 400]))
        zone.write(f"{directory}/z{number}.diff.example.zone")


if __name__ == "__main__":
    main()
