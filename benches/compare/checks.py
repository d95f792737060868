#!/usr/bin/env python3
"""What health checks cost the whole server: CPU and memory with tens of thousands of backends, all of them probed and alive.

    benches/compare/checks.py --http 20000         20,000 HTTP backends, each probed every 10 s
    benches/compare/checks.py --tcp 100000         100,000 TCP backends

Every backend has an address of its own in 127.0.0.0/8; two processes of this script answer for all of them. CPU time is what the
scheduler counted for rollcall's threads in the steady state, that is from the second round of probes on.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from large import BINARY, memory

PER_POOL = 10
CONTROL = 15711


def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(4096)
    return listener


def accept_all(listener):
    while True:
        connection, _ = listener.accept()
        connection.close()


def answer_all(listener):
    while True:
        connection, _ = listener.accept()
        connection.settimeout(1)
        try:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        except OSError:
            pass
        connection.close()


def write_zone(directory, kind, count, port, interval):
    lines = ['zone = "checks.example"', "ttl = 30", "[records]", '"@" = { NS = "ns.example.net." }', "[checks.web]",
             f'type = "{kind}"', f"port = {port}", f'interval = "{interval}s"']
    names = ["[names]"]
    for pool in range(0, count, PER_POOL):
        numbers = range(pool, min(pool + PER_POOL, count))
        addresses = (f"127.{1 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in numbers)
        backends = ", ".join(f'{{ address = "{address}" }}' for address in addresses)
        lines += [f"[pools.p{pool}]", 'check = "web"', f"backends = [{backends}]"]
        names.append(f'n{pool} = "p{pool}"')
    (directory / "zones").mkdir()
    (directory / "zones/checks.toml").write_text("\n".join(lines + names) + "\n")
    (directory / "rollcall.toml").write_text(
        f'[listen]\ndns = ["127.0.0.1:15710"]\ncontrol = "127.0.0.1:{CONTROL}"\n[dns]\nudp_workers = 1\n')
    return directory / "rollcall.toml"


def cpu_seconds(pid):
    """User and system time of all threads that live, in nanoseconds' precision."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass
    return total / 1e9


def states(config):
    text = subprocess.run([BINARY, "status", "--json", "--config", str(config)], capture_output=True, text=True).stdout
    counted = {}
    for zone in json.loads(text)["zones"]:
        for pool in zone["pools"]:
            for backend in pool["backends"]:
                counted[backend["state"]] = counted.get(backend["state"], 0) + 1
    return counted


def run(kind, count, interval, rounds):
    directory = Path(tempfile.mkdtemp(prefix="checks-"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = listen(0)
    config = write_zone(directory, kind, count, listener.getsockname()[1], interval)
    serve = answer_all if kind == "http" else accept_all
    farm = [multiprocessing.Process(target=serve, args=(listener,), daemon=True) for _ in range(2)]
    for process in farm:
        process.start()
    server = subprocess.Popen([BINARY, "serve", "--config", str(config)], stdout=subprocess.DEVNULL,
                              stderr=open(directory / "log", "wb"))
    try:
        time.sleep(1.5 * interval)
        before, begun, farm_before = cpu_seconds(server.pid), time.monotonic(), sum(cpu_seconds(one.pid) for one in farm)
        time.sleep(rounds * interval)
        share = (cpu_seconds(server.pid) - before) / (time.monotonic() - begun)
        farm_share = (sum(cpu_seconds(one.pid) for one in farm) - farm_before) / (time.monotonic() - begun)
        settled, most = memory(server.pid, "VmRSS") / 1e6, memory(server.pid, "VmHWM") / 1e6
        print(f"{count:,} {kind} backends every {interval} s: {share * 100:.1f} % of a core "
              f"({share / (count / interval) * 1e6:.0f} µs a probe), RSS {settled:.0f} MB, at most {most:.0f} MB; states "
              f"{states(config)}; the backends took {farm_share * 100:.0f} % of a core", flush=True)
    finally:
        server.terminate()
        server.wait()
        for process in farm:
            process.kill()
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--http", type=int, default=0)
    parser.add_argument("--tcp", type=int, default=0)
    parser.add_argument("--interval", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for kind in ("http", "tcp"):
        if count := getattr(arguments, kind):
            run(kind, count, arguments.interval, arguments.rounds)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    main()
