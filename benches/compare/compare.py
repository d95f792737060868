"""Asks every server the same queries in turn, several times, and prints what a query costs its process.

CPU time is what the scheduler counted for the server's threads (schedstat, nanoseconds); how much of it was spent in user
space comes from rounds of their own, sampled 4,999 times a second by perf, or from the ticks in stat where perf is missing.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import picture
import servers
from servers import HOSTS, LOAD_CORE, ORIGIN

TICK = os.sysconf("SC_CLK_TCK")


def workloads():
    hosts = [f"h{(host * 7919) % HOSTS}.{ORIGIN} A" for host in range(HOSTS)]
    missing = [f"no{number}.{ORIGIN} A" for number in range(HOSTS)]
    mix = []
    for at in range(HOSTS):
        mix += [hosts[at], f"weighted.{ORIGIN} A", f"rotated.{ORIGIN} A", missing[at], hosts[at][:-1] + "AAAA"]
    return {
        "static": (hosts, []),
        "weighted": ([f"weighted.{ORIGIN} A"], []),
        "rotated": ([f"rotated.{ORIGIN} A"], []),
        "nxdomain": (missing, []),
        "edns mix": (mix, ["-e"]),
    }


def cpu(pids):
    """Nanoseconds on the processor, and user and system ticks."""
    total, user, system = 0, 0, 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            user, system = user + int(fields[11]), system + int(fields[12])
    return total, user, system


def load(port, file, flags, seconds, outstanding):
    command = ["taskset", "-c", LOAD_CORE, "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(file), "-l", str(seconds),
               "-c", "1", "-T", "1", "-q", str(outstanding), "-t", "1", *flags]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def number(label):
        return float(re.search(rf"{label}:\s+([\d.]+)", text)[1])

    return {
        "completed": int(number("Queries completed")),
        "lost": int(number("Queries lost")),
        "qps": number("Queries per second"),
        "codes": re.search(r"Response codes:\s+(.*)", text)[1] if "Response codes" in text else "",
    }


def measure(server, file, flags, seconds, outstanding):
    pids = server.pids()
    before = cpu(pids)
    result = load(server.port, file, flags, seconds, outstanding)
    after = cpu(pids)
    total, user, system = (end - begin for begin, end in zip(before, after))
    queries = max(result["completed"], 1)
    result["cpu_ns"] = total / queries
    result["ticks"] = [user, system]
    return result


def user_share(server, file, flags, seconds, outstanding, directory):
    """Samples in user space, and all."""
    data = Path(directory) / "perf.data"
    pids = ",".join(str(pid) for pid in server.pids())
    perf = subprocess.Popen(["taskset", "-c", LOAD_CORE, "perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-p", pids,
                             "-o", str(data)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    load(server.port, file, flags, seconds, outstanding)
    perf.send_signal(2)
    perf.wait()
    text = subprocess.run(["perf", "script", "-i", str(data), "-F", "ip"], capture_output=True, text=True).stdout
    samples = [line.strip() for line in text.splitlines() if line.strip()]
    user = sum(1 for address in samples if not (len(address) == 16 and address.startswith("ffff")))
    return user, len(samples)


def growth(port, lines, edns):
    """Octets that replies are longer than their queries, on average."""
    total = 0
    for line in lines[:200]:
        name, rtype = line.split()
        number = {"A": 1, "AAAA": 28}[rtype]
        reply = servers.ask(port, name, number, edns)
        total += len(reply) - len(servers.encode(name, number, edns=edns))
    return round(total / len(lines[:200]))


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": next((line.split("=")[1].strip('"\n') for line in open("/etc/os-release") if line.startswith("PRETTY")), ""),
        "date": time.strftime("%Y-%m-%d"),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--sampled", type=int, default=3, help="rounds that perf samples, for the time in user space")
    parser.add_argument("--outstanding", type=int, default=100)
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    parser.add_argument("--svg")
    arguments = parser.parse_args()
    only = [name for name in arguments.only.split(",") if name]

    directory = tempfile.mkdtemp(prefix="compare-")
    health_port = 18080
    backends = [address for address, _ in servers.WEIGHTED] + servers.ROTATED
    health = subprocess.Popen(["taskset", "-c", LOAD_CORE, sys.executable, Path(__file__).with_name("health.py"),
                               str(health_port), *backends], stdout=subprocess.PIPE)
    health.stdout.readline()
    running = {}
    try:
        kinds = workloads()
        files = {}
        for number, (kind, (lines, _)) in enumerate(kinds.items()):
            files[kind] = Path(directory) / f"queries{number}"
            files[kind].write_text("\n".join(lines) + "\n")
        for number, make in enumerate(servers.ALL):
            if only and make.name not in only and make is not servers.Rollcall:
                continue
            server = make(directory, 15300 + number, health_port)
            server.start()
            running[server.name] = server
        for _ in range(40):  # The first verdicts.
            replies = [servers.ask(server.port, f"weighted.{ORIGIN}") for server in running.values()]
            if all(reply and servers.addresses(reply)[1] for reply in replies):
                break
            time.sleep(0.25)
        echoes = {}
        for number, (kind, (lines, flags)) in enumerate(kinds.items()):
            echo = servers.Echo(directory, 15400 + number, health_port)
            echo.more = growth(running["rollcall"].port, lines, "-e" in flags)
            echo.name = f"echo-{number}"
            echo.start()
            echoes[kind] = echo

        results = {kind: {name: [] for name in ["echo", *running]} for kind in kinds}
        shares = {kind: {name: [] for name in ["echo", *running]} for kind in kinds}
        sampled = arguments.sampled if shutil.which("perf") else 0
        for round_number in range(arguments.rounds + sampled):
            for kind, (_, flags) in kinds.items():
                for name, server in [("echo", echoes[kind]), *running.items()]:
                    given = (server, files[kind], flags, arguments.seconds, arguments.outstanding)
                    if round_number < arguments.rounds:
                        results[kind][name].append(measure(*given))
                    else:
                        shares[kind][name].append(user_share(*given, directory))
            print(f"round {round_number + 1} of {arguments.rounds + sampled}", file=sys.stderr)
        versions = {name: server.version() for name, server in running.items()}
    finally:
        for server in [*running.values(), *locals().get("echoes", {}).values()]:
            server.stop()
        health.kill()
        shutil.rmtree(directory, ignore_errors=True)

    summary = {kind: {name: summarise(results[kind], name, shares[kind]) for name in results[kind]} for kind in kinds}
    report = {
        "machine": machine(), "versions": versions, "rounds": arguments.rounds, "seconds": arguments.seconds,
        "outstanding": arguments.outstanding, "summary": summary, "runs": results,
    }
    print_table(summary)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")
    if arguments.svg:
        Path(arguments.svg).write_text(picture.draw(summary))


def summarise(runs, name, shares):
    own = runs[name]
    median = statistics.median
    ticks = [sum(run["ticks"][at] for run in own) for at in (0, 1)]
    in_user, samples = (sum(counts) for counts in zip(*shares[name])) if shares[name] else (0, 0)
    share = in_user / samples if samples else ticks[0] / max(sum(ticks), 1)
    cost = median(run["cpu_ns"] for run in own)
    return {
        "qps": median(run["qps"] for run in own),
        "lost": sum(run["lost"] for run in own),
        "cpu_ns": cost,
        "user_ns": cost * share,
        "system_ns": cost * (1 - share),
        "user_samples": samples,
        "user_ns_by_ticks": cost * ticks[0] / max(sum(ticks), 1),
        "to_echo": median(run["cpu_ns"] / echo["cpu_ns"] for run, echo in zip(own, runs["echo"])),
        "to_gdnsd": median(run["cpu_ns"] / other["cpu_ns"] for run, other in zip(own, runs["gdnsd"]))
        if "gdnsd" in runs else None,
    }


def print_table(summary):
    print("| queries | server | queries/s | lost | CPU ns a query | user | system | to the echo | to gdnsd |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for kind, rows in summary.items():
        for name, row in rows.items():
            to_gdnsd = f"{row['to_gdnsd']:.2f}" if row["to_gdnsd"] else ""
            print(f"| {kind} | {name} | {row['qps']:,.0f} | {row['lost']} | {row['cpu_ns']:,.0f} | {row['user_ns']:,.0f} "
                  f"| {row['system_ns']:,.0f} | {row['to_echo']:.2f} | {to_gdnsd} |")


if __name__ == "__main__":
    main()
