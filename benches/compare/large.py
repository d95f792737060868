#!/usr/bin/env python3
"""Loads a zone of a million records, as a master file and as TOML: seconds and memory of `validate`, first answer of `serve`.

`large.py [RECORDS]`. With `--only-generate DIRECTORY` the files are written there and nothing is run.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import servers

BINARY = os.environ.get("ROLLCALL", str(servers.ROOT / "target/release/rollcall"))


def generate(directory, records, form):
    directory = Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "zones").mkdir(parents=True)
    (directory / "rollcall.toml").write_text('[listen]\ndns = ["127.0.0.1:15700"]\n[dns]\nudp_workers = 1\n')
    address = lambda at: f"10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}"  # noqa: E731
    if form == "master":
        with open(directory / "zones/large.example.zone", "w") as file:
            file.write(f"$ORIGIN large.example.\n$TTL 300\n@ IN SOA {servers.SOA}\n@ IN NS ns1\nns1 IN A 192.0.2.53\n")
            file.writelines(f"host{at} IN A {address(at)}\n" for at in range(records))
    else:
        with open(directory / "zones/large.toml", "w") as file:
            file.write('zone = "large.example"\nttl = 300\n[records]\n"@" = { NS = "ns1" }\nns1 = { A = "192.0.2.53" }\n')
            file.writelines(f'host{at} = {{ A = "{address(at)}" }}\n' for at in range(records))
    return directory / "rollcall.toml"


def memory(pid, field):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(field)).split()[1]) * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("records", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--only-generate")
    arguments = parser.parse_args()
    records = arguments.records
    for form in ("master", "toml"):
        directory = Path(arguments.only_generate or tempfile.mkdtemp(prefix="large-")) / form
        config = generate(directory, records, form)
        if arguments.only_generate:
            continue
        begin = time.monotonic()
        process = subprocess.Popen([BINARY, "validate", "--config", str(config)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - begin
        print(f"{form}: validate {took:.2f} s wall, {usage.ru_utime + usage.ru_stime:.2f} s CPU, "
              f"peak {usage.ru_maxrss * 1024 / records:.0f} octets a record, exit {os.waitstatus_to_exitcode(status)}")
        begin = time.monotonic()
        process = subprocess.Popen([BINARY, "serve", "--config", str(config)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            while servers.ask(15700, f"host{records - 1}.large.example", timeout=0.05) is None:
                if process.poll() is not None or time.monotonic() - begin > 120:
                    raise RuntimeError("serve does not answer")
            first = time.monotonic() - begin
            time.sleep(20)  # The allocator gives back what the load needed when it next has something to do.
            print(f"{form}: serve answers after {first:.2f} s, {memory(process.pid, 'VmRSS') / records:.0f} octets a record "
                  f"settled, {memory(process.pid, 'VmHWM') / records:.0f} at most", flush=True)
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(directory.parent, ignore_errors=True)


if __name__ == "__main__":
    main()
