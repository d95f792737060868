#!/usr/bin/env python3
"""Single questions about rollcall, each beside the bare echo or beside itself, paired round by round.

    benches/compare/spot.py workers     CPU a query with two workers to that with one, and the echo's two to its one, on one core with
                                        time to wait and with none
    benches/compare/spot.py steered     CPU a query through a hash pool, a map of 100,000 networks and a tree of four levels, to
                                        that of a plain pool
    benches/compare/spot.py light       round trip of one query at a time, to the echo's
    benches/compare/spot.py start       from exec to the first answer, a small zone without checks
    benches/compare/spot.py reload      a million records reloaded under 5,000 queries a second: lost, and the 99.9th percentile,
                                        beside the echo's while something else burns as much CPU
    benches/compare/spot.py api         latency of UDP answers while the API gets 1,000 requests a second, to that without; and what
                                        the same requests, to the same server, do to the echo beside it
    benches/compare/spot.py verdicts    10,000 verdicts at once under 5,000 queries a second: how long publications took, how long
                                        old and new answers were given side by side, lost queries, and percentiles

Needs target/release/rollcall and its examples `echo` and `flood` (as benches/compare/run.sh builds them), and dnsperf for `workers`.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import compare
import large
import load
import servers
from servers import ORIGIN

PORT = 15650


class Two(servers.Rollcall):
    name = "two"

    def command(self):
        command = super().command()
        config = self.directory / "rollcall.toml"
        config.write_text(config.read_text().replace("udp_workers = 1", "udp_workers = 2"))
        return command


class TwoEchoes(servers.Echo):
    name = "two-echoes"

    def command(self):
        return [*super().command(), "2"]


def flooded(server, file):
    """What compare.measure says, while the server has more to answer than it can."""
    pids = server.pids()
    before = compare.cpu(pids)[0]
    text = subprocess.run(["taskset", "-c", servers.LOAD_CORE, servers.ROOT / "target/release/examples/flood",
                           f"127.0.0.1:{server.port}", "2", "2048", str(file)], capture_output=True, text=True, check=True).stdout
    result = json.loads(text)
    result["cpu_ns"] = (compare.cpu(pids)[0] - before) / max(result["completed"], 1)
    assert result["wrong"] == 0, text
    return result


def workers(directory, rounds):
    """Both on one core: what a second worker costs, not what a second core brings. The echo's workers share nothing."""
    all_of = [servers.Rollcall(directory, PORT, 18096), Two(directory, PORT + 1, 18096),
              servers.Echo(directory, PORT + 2, 18096), TwoEchoes(directory, PORT + 3, 18096)]
    file = Path(directory) / "queries"
    file.write_text("\n".join(compare.workloads()["static"][0]) + "\n")
    try:
        for server in all_of:
            server.start()
        # Many ports, so that both workers get some. dnsperf leaves a worker time to wait; flood leaves it none.
        loads = [("dnsperf, a hundred queries on their way", lambda server: compare.measure(server, file, ["-c", "16"], 2, 100)),
                 ("never done", lambda server: flooded(server, file))]
        for load_name, measured in loads:
            found = [[measured(server) for server in all_of] for _ in range(rounds)]
            rate, lost = statistics.median(row[1]["qps"] for row in found), sum(one["lost"] for row in found for one in row[:2])
            print(f"{load_name}: rollcall answered {rate:.0f} queries a second with two workers, and lost {lost} in all; "
                  f"medians of {rounds} pairs")
            for what, at in (("rollcall", 0), ("echo", 2)):
                one, two = (statistics.median(row[at + more]["cpu_ns"] for row in found) for more in (0, 1))
                ratio = statistics.median(row[at + 1]["cpu_ns"] / row[at]["cpu_ns"] for row in found)
                print(f"  CPU a query, {what}: one worker {one:.0f} ns, two {two:.0f} ns, ratio {ratio:.3f}")
            for count, at in (("one worker", 0), ("two workers", 1)):
                beside = statistics.median(row[at]["cpu_ns"] / row[at + 2]["cpu_ns"] for row in found)
                print(f"  {count} of rollcall to the echo's: {beside:.3f}")
    finally:
        for server in all_of:
            server.stop()


def steered(directory, rounds):
    """One server, its names in turn: without EDNS, where a plain pool has the short way, and with."""
    server = servers.Steered(directory, PORT, 18096)
    health = subprocess.Popen(["taskset", "-c", servers.LOAD_CORE, sys.executable, Path(__file__).with_name("health.py"),
                               "18096", *[address for address, _ in servers.WEIGHTED], *servers.ROTATED], stdout=subprocess.PIPE)
    health.stdout.readline()
    names = ["weighted", "hashed", "mapped", "tree"]
    files = {}
    for name in names:
        files[name] = Path(directory) / name
        files[name].write_text(f"{name}.{ORIGIN} A\n")
    try:
        server.start()
        time.sleep(3)  # The first verdicts.
        for flags in ([], ["-e"]):
            found = {name: [] for name in names}
            for _ in range(rounds):
                for name in names:
                    found[name].append(compare.measure(server, files[name], flags, 2, 100)["cpu_ns"])
            print("with EDNS" if flags else "without EDNS")
            for name in names:
                ratio = statistics.median(one / plain for one, plain in zip(found[name], found["weighted"]))
                print(f"  {name:9} {statistics.median(found[name]):6.0f} ns a query, {ratio:.3f} of a plain pool "
                      f"(median of {rounds} rounds)")
    finally:
        server.stop()
        health.terminate()


def round_trips(port, count):
    query = servers.encode(f"h1.{ORIGIN}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(2)
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            client.send(query)
            client.recv(4096)
            times.append(time.perf_counter() - begin)
            time.sleep(0.0005)
    return statistics.median(times) * 1e6


def light(directory, rounds):
    own, echo = servers.Rollcall(directory, PORT, 18096), servers.Echo(directory, PORT + 1, 18096)
    os.sched_setaffinity(0, {int(servers.LOAD_CORE)})
    try:
        own.start()
        echo.start()
        pairs = [(round_trips(own.port, 1000), round_trips(echo.port, 1000)) for _ in range(rounds)]
    finally:
        own.stop()
        echo.stop()
    more = statistics.median(one - other for one, other in pairs)
    print(f"round trip: rollcall {statistics.median(one for one, _ in pairs):.1f} µs, "
          f"echo {statistics.median(other for _, other in pairs):.1f} µs, difference {more:+.1f} µs (median of {rounds} pairs)")


def start(directory, rounds):
    directory = Path(directory)
    (directory / "zones").mkdir()
    (directory / "zones/small.toml").write_text(
        f'zone = "{ORIGIN}"\nttl = 30\n[records]\n"@" = {{ NS = "ns1" }}\nns1 = {{ A = "192.0.2.53" }}\nh1 = {{ A = "192.0.2.1" }}\n')
    config = directory / "rollcall.toml"
    config.write_text(f'[listen]\ndns = ["127.0.0.1:{PORT}"]\n')
    command = [str(large.BINARY), "serve", "--config", str(config)]
    query, times = servers.encode(f"h1.{ORIGIN}"), []
    for _ in range(rounds):
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", PORT))
            client.settimeout(0.001)
            while time.perf_counter() - begin < 10:
                try:
                    client.send(query)
                    client.recv(4096)
                    break
                except OSError:  # Refused: not bound yet; or late.
                    time.sleep(0.0002)
        times.append((time.perf_counter() - begin) * 1e3)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    print(f"first answer after exec: median {statistics.median(times):.1f} ms, most {max(times):.1f} ms ({rounds} starts)")


class Asker(load.Asker):
    """For one name."""

    def check(self, reply, what):
        pass


def percentile(latencies, share):
    return sorted(latencies)[min(int(len(latencies) * share), len(latencies) - 1)] * 1e6


def reload(directory, _):
    config = large.generate(directory, 1_000_000, "master")
    zone = config.parent / "zones/large.example.zone"
    server = subprocess.Popen([str(large.BINARY), "serve", "--config", str(config)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    echo = servers.Echo(tempfile.mkdtemp(dir=directory), PORT, 18096)
    try:
        deadline = time.time() + 120
        while servers.ask(15700, "host1.large.example") is None and time.time() < deadline:
            time.sleep(0.2)
        for what, port in (("rollcall while it reloads", 15700), ("echo beside a burner", PORT)):
            burner = None
            if port == PORT:
                echo.start(core=None)
                # As much and as long as the loader: at low priority.
                burner = subprocess.Popen(["nice", "-n", "19", str(large.BINARY), "validate", "--config", str(config)],
                                          stdout=subprocess.DEVNULL)
            else:
                with open(zone, "a") as file:
                    file.write("more IN A 192.0.2.9\n")
                server.send_signal(signal.SIGHUP)
            asker = Asker(port, 5000, time.monotonic() + 10)
            asker.start()
            asker.join()
            if burner:
                burner.wait()
            print(f"{what}: {asker.sent} queries, lost {asker.lost} {asker.drops or ''}, "
                  f"99.9 % {percentile(asker.latencies, .999):.0f} µs, median {percentile(asker.latencies, .5):.0f} µs")
    finally:
        server.kill()
        server.wait()
        echo.stop()


class Beside(servers.Rollcall):
    """With a control listener, and with pools and backends to list."""

    name = "beside"
    control = PORT + 9
    pools, backends = 20, 5

    def command(self):
        command = super().command()
        config, zone = self.directory / "rollcall.toml", self.directory / "zones/bench.toml"
        config.write_text(config.read_text().replace("[dns]", f'control = "127.0.0.1:{self.control}"\n[dns]'))
        lists = [", ".join(f'{{ address = "10.1.{pool}.{one}" }}' for one in range(self.backends)) for pool in range(self.pools)]
        more = "".join(f'[pools.more{n}]\nbackends = [{list}]\n' for n, list in enumerate(lists))
        names = "".join(f'more{n} = "more{n}"\n' for n in range(self.pools))
        zone.write_text(zone.read_text().replace("[names]", f"{more}[names]") + names)
        return command


class Stamped(Asker):
    """Takes a reply's moment from the kernel (SO_TIMESTAMPNS): when it arrived, not when Python came to read it."""

    clock = staticmethod(time.time)

    def prepare(self, client):
        client.setsockopt(socket.SOL_SOCKET, 35, 1)

    def receive(self, client):
        reply, beside, _, _ = client.recvmsg(4096, 64)
        seconds, nanoseconds = struct.unpack("qq", beside[0][2])
        return reply, seconds + nanoseconds / 1e9


# What the API may do to answers, at the 99th percentile: as much as the same requests do to the echo, and a tenth.
API_BAR = 1.1
API_RATE, API_QUERIES, API_SECONDS = 1000, 2000, 4


def api(directory, rounds):
    """The server, or the echo, on one core with all that answers the API: the hardest case. What asks is on the other one."""
    own, echo = Beside(directory, PORT, 18096), servers.Echo(directory, PORT + 1, 18096)
    health = subprocess.Popen([sys.executable, Path(__file__).with_name("health.py"), "18096",
                               *[address for address, _ in servers.WEIGHTED], *servers.ROTATED], stdout=subprocess.PIPE)
    health.stdout.readline()
    os.sched_setaffinity(0, {int(servers.LOAD_CORE)})
    shares = (.5, .99, .999)
    found = {(who, loaded): [] for who in ("echo", "rollcall") for loaded in (False, True)}
    asked, costs = [], {True: [], False: []}

    def measure(server, loaded):
        # What measures goes before what loads: it would else wait for the processor behind it.
        command = ["nice", "-n", "19", sys.executable, str(Path(__file__).with_name("api_load.py"))]
        numbers = [str(own.control), str(API_RATE), str(API_SECONDS + 1)]
        loader = subprocess.Popen(command + numbers, stdout=subprocess.PIPE) if loaded else None
        time.sleep(0.5)
        burnt = compare.cpu(own.pids())[0]
        asker = Stamped(server.port, API_QUERIES, time.monotonic() + API_SECONDS)
        asker.start()
        asker.join()
        burnt = (compare.cpu(own.pids())[0] - burnt) / 1e9 / API_SECONDS
        if server is echo:
            costs[loaded].append(burnt)
        if loader:
            asked.append(json.loads(loader.communicate()[0]))
        if asker.lost:
            print(f"{server.name}: lost {asker.lost} of {asker.sent} {asker.drops}")
        found[server.name.replace("beside", "rollcall"), loaded].append([percentile(asker.latencies, one) for one in shares])

    try:
        own.start()
        echo.start()
        time.sleep(3)  # The first verdicts.
        for _ in range(rounds):
            for loaded in (False, True):
                measure(echo, loaded)
                measure(own, loaded)
    finally:
        own.stop()
        echo.stop()
        health.terminate()
    total = {key: sum(one[key] for one in asked) for key in asked[0]}
    span = len(asked) * (API_SECONDS + 1)
    print(f"API: {total['answered'] / span:.0f} answers a second of {total['octets'] / total['answered']:.0f} octets, "
          f"{total['wrong']} not 200, at most {max(one['late'] for one in asked)} late; "
          f"processor of the server {statistics.median(costs[True]):.2f}, without {statistics.median(costs[False]):.2f}")
    moved = {}
    for who in ("echo", "rollcall"):
        quiet, loaded = found[who, False], found[who, True]
        columns = []
        for at, share in enumerate(shares):
            before, behind = (statistics.median(one[at] for one in each) for each in (quiet, loaded))
            moved[who, share] = statistics.median(two[at] / one[at] for one, two in zip(quiet, loaded))
            columns.append(f"{share * 100:g} % {before:.0f} -> {behind:.0f} µs, {moved[who, share]:.2f} times")
        print(f"{who:9} {'; '.join(columns)} (medians of {rounds} pairs)")
    ratio = moved["rollcall", .99] / moved["echo", .99]
    print(f"the 99th percentile is moved {ratio:.2f} times as much as the echo's, {API_BAR} allowed: "
          f"{'kept' if ratio <= API_BAR else 'NOT kept'}")


VERDICTS = 10_000


class Many(servers.Rollcall):
    """So many pools of two, one of whose backends is up when a file says so."""

    name = "many"
    control = PORT + 9

    def command(self):
        command = super().command()
        config, zone = self.directory / "rollcall.toml", self.directory / "zones/bench.toml"
        config.write_text(config.read_text().replace("[dns]", f'control = "127.0.0.1:{self.control}"\n[dns]')
                          + '[checker]\ndoubt = "off"\n')
        pools, names = ["[checks.state]", 'type = "file"', 'file = "../state"'], []
        for n in range(VERDICTS):
            place = f"{n >> 8}.{n & 255}"
            pools += [f"[pools.v{n}]", 'policy = "round-robin"',
                      f'backends = [{{ address = "10.1.{place}", check = "state" }}, {{ address = "10.2.{place}" }}]']
            names.append(f'v{n} = "v{n}"')
        zone.write_text(zone.read_text().replace("[names]", "\n".join([*pools, "[names]", *names])))
        self.say("up")
        return command

    def say(self, word):
        """Puts the word in the file; returns when."""
        beside = self.directory / "state.next"
        beside.write_text(word + "\n")
        beside.rename(self.directory / "state")
        return time.monotonic()

    def published(self):
        """The histogram of publications: `_count`, `_sum` in seconds, and `_bucket{le="…"}`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}/metrics", timeout=10) as reply:
            lines = [line.split() for line in reply.read().decode().splitlines() if line.startswith("rollcall_publication_")]
        return {name.removeprefix("rollcall_publication_duration_seconds").replace("{}", ""): float(value) for name, value in lines}


class Seeing(Asker):
    """Notes how many addresses the balanced names have, and when."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = []

    def question(self):
        return f"v{random.randrange(VERDICTS)}", None

    def check(self, reply, what):
        self.seen.append((self.clock(), len(servers.addresses(reply)[1])))


def verdicts(directory, rounds):
    server = Many(directory, PORT, 18096)
    health = subprocess.Popen([sys.executable, Path(__file__).with_name("health.py"), "18096",
                               *[address for address, _ in servers.WEIGHTED], *servers.ROTATED], stdout=subprocess.PIPE)
    health.stdout.readline()
    try:
        server.start(core=None)
        time.sleep(5)  # The first verdicts.
        quiet = Seeing(server.port, 5000, time.monotonic() + 5)
        quiet.start()
        quiet.join()
        before = server.published()
        asker = Seeing(server.port, 5000, time.monotonic() + rounds * 3 + 2)
        asker.start()
        turns = []
        for turn in range(rounds):
            time.sleep(3)
            turns.append((server.say("up" if turn % 2 else "down"), 2 if turn % 2 else 1))
        asker.join()
        behind = server.published()
    finally:
        server.stop()
        health.terminate()
    both = []
    for (said, now), (end, _) in zip(turns, turns[1:] + [(float("inf"), 0)]):
        within = [(at, count) for at, count in asker.seen if said <= at < end]
        first = min(at for at, count in within if count == now)
        both.append(max([at for at, count in within if count != now and at > first], default=first) - first)
    more = {key: behind[key] - before.get(key, 0) for key in behind}
    buckets = sorted(((float(key.split('"')[1]), value) for key, value in more.items() if "le=" in key))
    longest = next(bound for bound, value in buckets if value == more["_count"])
    print(f"{VERDICTS} verdicts at once, {rounds} times: {more['_count']:.0f} publications, each in {more['_sum'] / more['_count'] * 1e3:.1f} ms "
          f"in the mean, all within {longest * 1e3:g} ms")
    print(f"old and new answers side by side for {statistics.median(both) * 1e3:.0f} ms (median), {max(both) * 1e3:.0f} ms at most")
    for what, one in (("calm", quiet), ("while they turn", asker)):
        print(f"{what}: {one.sent} queries, lost {one.lost} {one.drops or ''}, median {percentile(one.latencies, .5):.0f} µs, "
              f"99 % {percentile(one.latencies, .99):.0f} µs, 99.9 % {percentile(one.latencies, .999):.0f} µs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", "steered", "light", "start", "reload", "api", "verdicts"])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="spot-")
    try:
        globals()[arguments.what](directory, arguments.rounds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
