"""Kills a backend, asks on, and measures until the last answer that still named it. See failover.sh."""

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time

import servers
from health import Backend
from servers import ORIGIN, WEIGHTED

# The shortest that each allows: rollcall holds a connection open and probes at once when it breaks; gdnsd's least interval
# is two seconds, PowerDNS's one. One failure decides everywhere.
QUICKEST = {"rollcall": "1s", "gdnsd": "2", "powerdns": "1"}
# Nobody's answer changes any more after that long without the dead one in it.
QUIET, LIMIT = 4.0, 30.0


def names_it(port, dead):
    reply = servers.ask(port, f"weighted.{ORIGIN}", timeout=1)
    return reply is not None and dead in servers.addresses(reply)[1]


def settle(port, dead, wanted):
    """Waits until the address is answered again, or no more."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if any(names_it(port, dead) for _ in range(50)) == wanted:
            return
        time.sleep(0.05)
    raise RuntimeError(f"{dead} is {'not ' if wanted else ''}answered after {LIMIT} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--only", default=",".join(QUICKEST))
    parser.add_argument("--json")
    arguments = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="failover-")
    port = 18090
    backends = [Backend(address, port) for address, _ in WEIGHTED]
    backends += [Backend(address, port) for address in servers.ROTATED]
    for backend in backends:
        backend.start()
    dead = backends[0]
    report = {}
    try:
        for number, make in enumerate(servers.ALL):
            if make.name not in arguments.only.split(","):
                continue
            server = make(directory, 15500 + number, port, interval=QUICKEST[make.name])
            server.start(core=None)
            took = []
            try:
                for _ in range(arguments.trials):
                    settle(server.port, dead.address, True)
                    time.sleep(1 + 2 * random.random())  # Anywhere within an interval.
                    begin = last = time.monotonic()
                    dead.stop()
                    while time.monotonic() - last < QUIET and time.monotonic() - begin < LIMIT:
                        if names_it(server.port, dead.address):
                            last = time.monotonic()
                    took.append((last - begin) * 1000)
                    dead.start()
            finally:
                server.stop()
            report[make.name] = took
            took.sort()
            print(f"{make.name:10} {len(took)} trials: median {statistics.median(took):8.1f} ms, "
                  f"least {took[0]:8.1f} ms, most {took[-1]:8.1f} ms", flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
