"""Counts what a UDP worker touches between two calls into the kernel: instructions, lines of code and of data (64 octets), pages.

    benches/batch/lines.py [--kind static] [--size 1] [--show]

Runs the `batch` bench under valgrind's lackey, which tells every instruction and every access. After a call into the kernel the
near caches are the kernel's: what a query costs in user space is less its instructions than the lines it has to fetch again.
`--show` adds the functions whose lines they are.
"""

import argparse
import collections
import re
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKER_CALLS = {"recvmmsg", "recvfrom", "recvmsg", "sendmmsg", "sendto", "sendmsg"}


def trace(binary, kind, size, rounds):
    command = ["taskset", "-c", "1", "valgrind", "--tool=lackey", "--trace-mem=yes", "--trace-syscalls=yes", "--basic-counts=no",
               str(binary), kind, str(size), str(rounds)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    yield from process.stderr
    process.wait()


def batches(lines):
    """For each batch of the worker: packets, and its trace as (kind, address, size)."""
    call = re.compile(r"SYSCALL\[\d+,(\d+)\]\(\s*\d+\) sys_(\w+)")
    result = re.compile(r"--> (?:\[pre-success\] )?Success\(0x0:0x([0-9a-f]+)\)|--> (?:\[pre-fail\] )?Failure")
    resumed = re.compile(r"SYSCALL\[\d+,(\d+)\]\(\s*\d+\) \.\.\. \[async\] --> (?:Success\(0x([0-9a-fx:]+)\)|Failure)")
    worker, current, open_calls, own, packets, seen = None, None, {}, [], 0, []
    for line in lines:
        if line.startswith("SYSCALL") or "SYSCALL[" in line:
            found = resumed.search(line)
            if found:
                thread, name = found[1], open_calls.pop(found[1], "")
                current = thread
                value = int(found[2].split(":")[-1].replace("0x", ""), 16) if found[2] else None
            else:
                found = call.search(line)
                if not found:
                    continue
                thread, name = found[1], found[2]
                if name in ("recvmmsg",) and worker is None:
                    worker = thread
                done = result.search(line)
                value = int(done[1], 16) if done and done[1] else None
                if thread == worker and name in WORKER_CALLS and name.startswith("recv"):
                    if packets:
                        seen.append((packets, own))
                    own, packets = [], 0
                if not done:
                    open_calls[thread] = name
                    current = None
                    continue
                current = thread
            if thread == worker and name.startswith("recv"):
                packets = 0 if value is None else (value if name == "recvmmsg" else 1)
                own = []
            continue
        if current is None or current != worker or len(line) < 5 or line[0] not in "I ":
            continue
        kind = line[:3].strip()
        if kind not in ("I", "L", "S", "M"):
            continue
        address, _, length = line[3:].strip().partition(",")
        try:
            own.append((kind, int(address, 16), int(length)))
        except ValueError:
            continue
    return seen


def touched(accesses, kinds, grain):
    found = set()
    for kind, address, length in accesses:
        if kind in kinds:
            found.update(range(address // grain, (address + length - 1) // grain + 1))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", default="static")
    parser.add_argument("--size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--binary")
    parser.add_argument("--profile", default="release")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    binary = arguments.binary
    if not binary:
        command = ["cargo", "build", "--profile", arguments.profile, "--locked", "--bench", "batch", "--message-format=json"]
        text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
        binary = re.findall(r'"executable":"([^"]*batch[^"]*)"', text)[-1]
    found = batches(trace(binary, arguments.kind, arguments.size, arguments.rounds))
    by_size = collections.defaultdict(list)
    for packets, accesses in found[5:]:
        by_size[packets].append(accesses)
    print("packets  batches  instructions  code lines  data lines  read  written  code pages  data pages")
    for packets, several in sorted(by_size.items()):
        columns = [
            [sum(1 for kind, _, _ in one if kind == "I") for one in several],
            [len(touched(one, "I", 64)) for one in several],
            [len(touched(one, "LSM", 64)) for one in several],
            [len(touched(one, "L", 64) - touched(one, "SM", 64)) for one in several],
            [len(touched(one, "SM", 64)) for one in several],
            [len(touched(one, "I", 4096)) for one in several],
            [len(touched(one, "LSM", 4096)) for one in several],
        ]
        row = [statistics.median(column) for column in columns]
        print(f"{packets:7}  {len(several):7}  {row[0]:12.0f}  {row[1]:10.0f}  {row[2]:10.0f}  {row[3]:4.0f}  {row[4]:7.0f}  "
              f"{row[5]:10.0f}  {row[6]:10.0f}")
    if arguments.show and by_size:
        several = by_size[max(by_size, key=lambda packets: len(by_size[packets]))]
        one = several[len(several) // 2]
        show(binary, one)


def show(binary, accesses):
    """Lines of code by function; the binary is loaded where valgrind loads every PIE."""
    base = 0x108000  # Where valgrind's client loader puts a position-independent program, less its first segment's address.
    names = {}
    text = subprocess.run(["nm", "-C", "--defined-only", "-n", str(binary)], capture_output=True, text=True).stdout
    symbols = [(int(line.split()[0], 16), " ".join(line.split()[2:])) for line in text.splitlines() if len(line.split()) > 2]
    starts = [start for start, _ in symbols]
    import bisect

    lines, counts = collections.defaultdict(set), collections.Counter()
    for kind, address, length in accesses:
        if kind != "I":
            continue
        own = address - base
        at = bisect.bisect(starts, own) - 1
        name = symbols[at][1][:90] if 0 <= at < len(symbols) - 1 and own < starts[-1] else f"elsewhere {address >> 12:x}"
        lines[name].update(range(address // 64, (address + length - 1) // 64 + 1))
        counts[name] += 1
    for name, own in sorted(lines.items(), key=lambda item: -len(item[1])):
        print(f"{len(own):5} lines  {counts[name]:6} instructions  {name}")
    data = collections.Counter()
    for line in touched(accesses, "LSM", 64):
        data[line * 64 >> 12] += 1
    print("data lines by page:", ", ".join(f"{page:x}: {count}" for page, count in sorted(data.items())))


if __name__ == "__main__":
    main()
