"""What befalls the machine and the process: killed, stopped, starved, without descriptors, disk, time or an address."""

import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import backend
import dns
from lib import PLAIN, SHORT, WORK, Load, Server, Skip, check, drill, eventually, main, run, say, zone

KEYS = 'type = "http"\ninterval = "500ms"\ntimeout = "400ms"\nfall = 2\nrise = 2\n'


def checked(farm, count=4, keys=KEYS):
    """A zone whose `www` has that many probed backends that are all up, and their addresses."""
    port = farm.serve("0.0.0.0", backend.fixed(b"ok"))
    addresses = [f"127.0.6.{n}" for n in range(1, count + 1)]
    backends = ", ".join(f'{{ address = "{address}", port = {port} }}' for address in addresses)
    return zone(f'[checks.web]\n{keys}[pools.web]\ncheck = "web"\nbackends = [{backends}]\n[names]\nwww = "web"\n'), set(addresses)


@drill("killed and started again, time after time: serving within a second, every backend in, no port in the way")
def killed_again_and_again():
    farm = backend.Farm()
    text, everyone = checked(farm)
    rounds = 8 if SHORT else 50
    server = Server({"lb.toml": text}, server='state_dir = "state"')
    delays, wrong = [], []
    with server:
        for _ in range(rounds):
            held = dns.connect(("127.0.0.1", server.port))
            held.sendall(dns.framed(dns.query("lb.example", dns.SOA)))
            server.process.kill()
            server.process.wait()
            begun = time.monotonic()
            server.start()
            delays.append(time.monotonic() - begun)
            if server.addresses() != everyone:
                wrong.append(server.addresses())
            dns.ask_tcp(("127.0.0.1", server.port), dns.query())
            held.close()
        check(f"{rounds} times kill -9 and start: answering within a second", max(delays) < 1, f"{max(delays):.2f} s at most")
        check("with every backend from the first answer on", not wrong, wrong[:2] or "")
        leftovers = [name for name in os.listdir(server.path("state")) if "tmp" in name or name.endswith("~")]
        check("nothing half-written stays behind", len(leftovers) <= 1, sorted(os.listdir(server.path("state"))))
    farm.close()


@drill("told to stop with a hundred idle connections: what is in flight is answered, exit 0 within 5 s")
def graceful_stop():
    with Server(server='state_dir = "state"') as server:
        idle = [dns.connect(("127.0.0.1", server.port), source=f"127.0.{n}.1") for n in range(100)]
        dns.ask_tcp(("127.0.0.1", server.port), dns.query())
        busy = dns.connect(("127.0.0.1", server.port))
        for _ in range(50):
            busy.sendall(dns.framed(dns.query()))
        dns.receive(busy)
        lost = 0
        with contextlib.suppress(dns.Silence), Load(server, pause=0.001) as load:
            time.sleep(0.2)
            load.ending.set()
        lost = load.lost
        seconds, code = server.stop()
        got = 1
        with contextlib.suppress(dns.Silence, OSError):
            while True:
                dns.receive(busy)
                got += 1
        check("exit 0 within 5 s", code == 0 and seconds < 5, f"exit {code}, {seconds:.2f} s")
        check("a pipeline begun is answered to its end", got == 50, f"{got} of 50")
        check("nothing was lost over UDP before it", lost == 0)
        closed = sum(1 for one in idle if one.recv(1) == b"")
        check("idle connections are closed in order", closed == 100, closed)
        for one in (*idle, busy):
            one.close()


@drill("the disk is full: answers and health go on, an override that cannot be kept is refused", apart=True)
def disk_full():
    farm = backend.Farm()
    text, everyone = checked(farm)
    state = os.path.join(WORK, "full")
    os.makedirs(state, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1m", "drill", state)
    with Server({"lb.toml": text}, server=f'state_dir = "{state}"') as server:
        code, output = server.command("state", "lb.example/web/127.0.6.1", "drain")
        check("an override while there is room", code == 0 and "127.0.6.1" not in server.addresses(), output.strip())
        with open(os.path.join(state, "filler"), "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        with Load(server, lambda reply: reply.rcode == 0 and reply.addresses) as load:
            code, output = server.command("state", "lb.example/web/127.0.6.2", "drain")
            kept = "127.0.6.2" in server.addresses()
            check("disk full: an override is refused and changes nothing", code != 0 and kept, f"exit {code}: {output.strip()[:150]}")
            farm.stop(next(iter(farm.servers)))
            check("verdicts go on", eventually(lambda: server.command("status")[0] == 3, 5))
            waiting = lambda: server.status()["memory"]["journal_waiting"]
            # The page that the journal's end lies on has room: what is told must be more than that holds.
            for _ in range(40):
                server.command("reload")
            check("status says that the journal waits", eventually(lambda: waiting() > 0, 5), waiting())
        load.verdict("answers go on")
        os.remove(os.path.join(state, "filler"))
        check("room again: an override is kept", server.command("state", "lb.example/web/127.0.6.2", "drain")[0] == 0)
        check("and the journal has caught up", eventually(lambda: waiting() == 0, 5), waiting())
        code, output = server.command("history", "--json")
        check("with what happened meanwhile", '"to": "down"' in output or '"to":"down"' in output)
        server.process.kill()
        server.process.wait()
        server.start()
        check("what was kept survives", not server.addresses() & {"127.0.6.1", "127.0.6.2"}, server.addresses())
        seconds, code = server.stop()
        check("stops in order", code == 0)
    run("umount", state)
    farm.close()


@drill("whoever reads the log is slow, or gone: answers do not notice")
def log_reader():
    reader, writer = os.pipe()
    with Server(log=writer) as server, Load(server) as load:
        # Nobody reads: the pipe is full after 64 KiB.
        for number in range(400):
            server.write("zones/lb.toml", f"wrong {number} " + "x" * 200)
            os.kill(server.pid, signal.SIGHUP)
            time.sleep(0.004)
        server.write("zones/lb.toml", zone(PLAIN))
        check("nobody reads the log: commands work", server.command("reload")[0] == 0)
        os.close(reader)
        server.write("zones/lb.toml", "wrong")
        check("the reader is gone: commands work", server.command("reload")[0] == 2 and server.alive())
        server.write("zones/lb.toml", zone(PLAIN))
        check("and mended", server.command("reload")[0] == 0)
        seconds, code = server.stop() if not load.ending.set() else (0, 0)
        check("stops in order", code == 0 and seconds < 5, f"{seconds:.2f} s")
    os.close(writer)
    load.verdict("answers went on")


def other_clock():
    """What sets a server's wall clock, and the environment of a server that heeds it. Its monotonic clock stays."""
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not library:
        raise Skip("libfaketime is not installed")
    clock = os.path.join(WORK, "clock")

    def set_clock(offset):
        with open(clock + "~", "w") as file:
            file.write(offset)
        os.rename(clock + "~", clock)

    set_clock("+0")
    return set_clock, {
        "LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@drill("a backend's certificate expires while the server runs: down, by that reason; renewed: up")
def certificate_expires():
    set_clock, environment = other_clock()
    made = backend.certificates(WORK)
    farm = backend.Farm()
    port = farm.serve("127.0.2.1", backend.fixed(b"ok"), made["fine"])
    keys = f'type = "https"\nhost = "web.test"\ninterval = "500ms"\ntimeout = "400ms"\nfall = 2\nrise = 2\ntls = {{ ca = "{made["ca"]}" }}\n'
    backends = f'{{ name = "tls", address = "127.0.2.1", port = {port} }}, {{ name = "other", address = "192.0.2.2", state = "up" }}'
    text = zone(f'[checks.web]\n{keys}[pools.web]\ncheck = "web"\nbackends = [{backends}]\n[names]\nwww = "web"\n')
    with Server({"lb.toml": text}, environment=environment, server='[checker]\ndoubt = "off"') as server:
        verdict = lambda: server.backend("web", "tls")["verdict"]
        check("valid: up", eventually(lambda: verdict() == "up", 5) and "127.0.2.1" in server.addresses())
        set_clock("+40d")
        check("expired: down", eventually(lambda: verdict() == "down", 8), server.backend("web", "tls")["reason"])
        check("by that reason", "expired" in server.backend("web", "tls")["reason"])
        check("its neighbour answers alone", server.addresses() == {"192.0.2.2"})
        set_clock("+0")
        check("valid again: up", eventually(lambda: verdict() == "up", 8))
    farm.close()


@drill("the clock jumps a day forward, a day back: no verdict changes, no burst of probes, cookies are renewed")
def clock_jumps():
    set_clock, environment = other_clock()
    farm = backend.Farm()
    probes = []

    async def counted(reader, writer):
        probes.append(time.monotonic())
        await backend.fixed(b"ok")(reader, writer)

    port = farm.serve("127.0.0.1", counted)
    text = zone(f'[checks.web]\n{KEYS}jitter = "0%"\n[pools.web]\ncheck = "web"\nbackends = [{{ address = "127.0.0.1", port = {port} }}]\n[names]\nwww = "web"\n')
    with Server({"lb.toml": text}, environment=environment, server='state_dir = "state"') as server, Load(server) as load:
        cookie = dns.client_cookie()
        address = ("127.0.0.1", server.port)
        get = lambda data: dns.ask(address, dns.query(options=dns.option(10, data))).raw[-24:]
        full = get(cookie)
        changes = len(server.status()["transitions"])
        for offset in ("+1d", "-1d", "+0"):
            set_clock(offset)
            time.sleep(0.1)
            probes.clear()
            time.sleep(2)
            check(f"clock {offset}: probes in step", 2 <= len(probes) <= 6, f"{len(probes)} in 2 s")
            now = server.status()
            check(f"clock {offset}: no verdict changes", len(now["transitions"]) == changes, now["now"])
            again = get(full)
            time.sleep(1.1)
            fresh = get(again)
            check(f"clock {offset}: cookies are answered", again[:8] == cookie and fresh[:8] == cookie)
        check("reloads work after it", server.command("reload")[0] == 0)
    load.verdict("answers went on")
    farm.close()


@drill("64 descriptors and 200 connections: UDP goes on, no busy loop, the idle go, and it recovers")
def descriptors_run_out():
    farm = backend.Farm()
    text, everyone = checked(farm)
    with Server({"lb.toml": text}, prefix=["bash", "-c", 'ulimit -n 64; exec "$@"', "-"]) as server:
        changes = len(server.status()["transitions"])
        with Load(server, lambda reply: set(reply.addresses) == everyone) as load:
            cpu, held = server.cpu(), []
            for number in range(200):
                with contextlib.suppress(OSError):
                    held.append(dns.connect(("127.0.0.1", server.port), 1, f"127.0.{number % 60}.9"))
            begun = time.monotonic()
            time.sleep(3)
            used = (server.cpu() - cpu) / (time.monotonic() - begun)
            check("no busy loop", used < 0.25, f"{100 * used:.0f} % of a processor, {server.descriptors()} descriptors")
            fresh = 0
            for number in range(5):
                with contextlib.suppress(OSError, dns.Silence):
                    fresh += dns.ask_tcp(("127.0.0.1", server.port), dns.query(), 3, "127.9.9.9").rcode == 0
            check("a new client still gets an answer over TCP: the longest idle gave way", fresh == 5, f"{fresh} of 5")
            for one in held:
                one.close()
        load.verdict("UDP did not notice")
        check("probes kept their descriptors: no verdict changed", len(server.status()["transitions"]) == changes)
        time.sleep(0.3)
        check("it recovers", dns.ask_tcp(("127.0.0.1", server.port), dns.query()).rcode == 0, f"{server.descriptors()} descriptors")
    farm.close()


@contextlib.contextmanager
def starved(pid):
    """5 % of a processor: by a control group where one can be made, else by busy neighbours."""
    group = "/sys/fs/cgroup/cpu/rollcall-drill"
    try:
        os.makedirs(group, exist_ok=True)
        with open(f"{group}/cpu.cfs_period_us", "w") as file:
            file.write("20000")
        with open(f"{group}/cpu.cfs_quota_us", "w") as file:
            file.write("1000")
        # The kernel knows this process by its number outside; written from inside, it is translated.
        with open(f"{group}/cgroup.procs", "w") as file:
            file.write(str(pid))
        say("by a control group")
    except OSError:
        group = None
        run("taskset", "-ap", "-c", "0", str(pid))
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), 10)
        loops = [subprocess.Popen(["taskset", "-c", "0", "sh", "-c", "while :; do :; done"]) for _ in range(2)]
        say("by busy neighbours")
    try:
        yield
    finally:
        if group:
            with open("/sys/fs/cgroup/cpu/cgroup.procs", "w") as file:
                file.write(str(pid))
            os.rmdir(group)
        else:
            for one in loops:
                one.kill()
                one.wait()


@drill("5 % of a processor: answers come late but right, and nobody goes down for it")
def processor_starved():
    farm = backend.Farm()
    text, everyone = checked(farm, 200, 'type = "http"\ninterval = "1s"\ntimeout = "1s"\nfall = 2\nrise = 2\n')
    with Server({"lb.toml": text}) as server:
        check("all up before", eventually(lambda: server.command("status")[0] == 0))
        changes = len(server.status()["transitions"])
        with starved(server.pid), Load(server, pause=0.02, wait=5) as load:
            time.sleep(6 if SHORT else 30)
        load.verdict("answers while starved")
        say(f"half within {load.percentile(0.5):.1f} ms, 99 % within {load.percentile(0.99):.1f} ms")
        check("no verdict changed", len(server.status()["transitions"]) == changes, [one["reason"] for one in server.status()["transitions"]][:3])
    farm.close()


# What could write a file; `-y` shows what a descriptor is.
WRITES = "open,openat,creat,truncate,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,symlink," \
    "symlinkat,mknod,mknodat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,setxattr,fsetxattr"
NOBODY = 65534


@drill("a port below 1024 without root: once it is bound no thread holds a capability; with root and `user`, neither", apart=True)
def privileges():
    setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*setpriv, "true"], capture_output=True).returncode:
        raise Skip("this user may not become another")
    place = WORK
    while place.startswith("/tmp/"):
        os.chmod(place, 0o711)
        place = os.path.dirname(place)

    def open_to_all(server):
        os.makedirs(server.path("state"))
        for one in (server.directory, server.path("state"), server.path("zones")):
            os.chown(one, NOBODY, NOBODY)
        return server

    def capable(*names):
        given = ",".join(f"+{name}" for name in names)
        server = Server(server='state_dir = "state"', listen=["127.0.0.1:53"], prefix=[*setpriv, f"--inh-caps={given}", f"--ambient-caps={given}"])
        server.port = 53
        return open_to_all(server)

    with capable("net_bind_service") as server:
        uid = server.proc("status").split("Uid:")[1].split()[0]
        check("it serves port 53 as a user", server.ask().rcode == 0 and uid == str(NOBODY), f"uid {uid}")
        check("and no thread holds a capability", not server.capabilities(), server.capabilities() or "")
        check("commands and reloads go on", server.command("state", "*/web/a", "drain")[0] == 0 and server.command("reload")[0] == 0)
    with capable("net_bind_service", "net_raw") as server:
        held = {int(value, 16) for value in server.capabilities().values()}
        check("CAP_NET_RAW stays for checks of type icmp, where it was given", held == {1 << 13}, [hex(one) for one in held])
    server = open_to_all(Server(server='state_dir = "state"\nuser = "nobody"', listen=["127.0.0.1:53"]))
    server.port = 53
    with server:
        uid = server.proc("status").split("Uid:")[1].split()[0]
        check("root becomes `user` for good", uid == str(NOBODY) and not server.capabilities(), server.capabilities() or "")


@drill("a whole life under strace: nothing is written but in state_dir")
def writes_nowhere_else():
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    trace = os.path.join(WORK, "trace")
    prefix = ["strace", "-D", "-f", "-y", "-qq", "-e", "signal=none", "-o", trace, "-e", f"trace={WRITES}"]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        raise Skip("this process may not be traced")
    farm = backend.Farm()
    text, _ = checked(farm)
    with Server({"lb.toml": text}, server='state_dir = "state"', prefix=prefix) as server:
        check("an override", server.command("state", "*/web/127.0.6.1", "drain")[0] == 0)
        server.write("zones/two.toml", zone("x = { TXT = 'x' }\n", "two.example"))
        check("a zone more", server.command("reload")[0] == 0 and server.ask("x.two.example", dns.TXT).counts[1] == 1)
        server.write("zones/two.toml", "wrong")
        check("a zone that is wrong", server.command("reload")[0] == 2)
        os.remove(server.path("zones/two.toml"))
        os.kill(server.pid, signal.SIGHUP)
        farm.stop(next(iter(farm.servers)))
        check("all down", eventually(lambda: server.command("status")[0] == 3, 10))
        dns.ask_tcp(("127.0.0.1", server.port), dns.query())
        seconds, code = server.stop(30)
        check("stops in order", code == 0, f"{seconds:.2f} s")
        state = server.path("state")
    farm.close()
    eventually(lambda: not subprocess.run(["pgrep", "-f", trace], capture_output=True).stdout, 5)
    inside, outside = 0, []
    for line in open(trace, errors="replace"):
        call = re.match(r"\d+\s+(\w+)\((.*)", line)
        if not call or " = -1 " in line:
            continue
        if call[1] in ("open", "openat") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE", call[2]):
            continue
        names = re.findall(r'"([^"]*)"|<(/[^>]*)>', call[2].rsplit(" = ", 1)[0])
        named = [one or other for one, other in names]
        # A path from a directory's descriptor is below it.
        if any(name == state or name.startswith(state + "/") for name in named):
            inside += 1
        elif named != ["/dev/null"] and named[-1:] != ["/dev/null"]:
            outside.append(line.strip()[:160])
    check("written there alone", inside > 0 and not outside, outside[:4] or f"{inside} calls, all in state_dir")


@drill("no IPv6 here: the default address is skipped; a listed one is an error that names it", apart=True)
def no_ipv6():
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
        file.write("1")
    try:
        with Server(listen=["127.0.0.1:{port}"]) as server:
            check("IPv4 alone serves", server.ask().rcode == 0)
        server = Server(listen=["127.0.0.1:{port}", "[::1]:{port}"])
        server.start(wait=False)
        code = server.process.wait(10)
        check("a listed address that is not here: exit 2, named", code == 2 and "[::1]" in server.log_text(), server.log_text().strip()[:160])
        server = Server()
        text = open(server.path("rollcall.toml")).read()
        server.write("rollcall.toml", "\n".join(line for line in text.splitlines() if not line.startswith("dns =")))
        server.port = 5300
        with server:
            check("the default [::1] is skipped", server.ask().rcode == 0)
    finally:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
            file.write("0")


@drill("an address that it listens on disappears and comes back: the others go on, and so does this one", apart=True)
def address_gone():
    run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo")
    with Server(listen=["127.0.0.1:{port}", "192.0.2.77:{port}"]) as server:
        there = ("192.0.2.77", server.port)
        check("both answer", dns.ask(there, dns.query()).rcode == 0 and server.ask().rcode == 0)
        cpu = server.cpu()
        with Load(server) as load:
            run("ip", "addr", "del", "192.0.2.77/32", "dev", "lo")
            time.sleep(1.5)
            run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo")
            check("back: it answers again, over UDP", eventually(lambda: dns.ask(there, dns.query(), 0.3).rcode == 0, 5))
            check("and over TCP", eventually(lambda: dns.ask_tcp(there, dns.query()).rcode == 0, 5))
        load.verdict("the other address never noticed")
        check("no busy loop", server.cpu() - cpu < 1, f"{server.cpu() - cpu:.2f} s")
    with Server(listen=["0.0.0.0:{port}"]) as server:
        there = ("192.0.2.77", server.port)
        reply = dns.ask(there, dns.query())
        check("bound to all addresses: each reply comes from the address asked", reply.rcode == 0)
    run("ip", "addr", "del", "192.0.2.77/32", "dev", "lo")


@drill("stopped for a while and continued: no burst of probes, nobody down, queued queries answered or gone, not wrong")
def stopped_for_a_while():
    farm = backend.Farm()
    probes = []

    async def counted(reader, writer):
        probes.append(time.monotonic())
        await backend.fixed(b"ok")(reader, writer)

    port = farm.serve("0.0.0.0", counted)
    keys = 'type = "http"\ninterval = "1s"\ntimeout = "500ms"\nfall = 1\nrise = 2\njitter = "0%"\n'
    backends = ", ".join(f'{{ address = "127.0.7.{n}", port = {port} }}' for n in range(1, 21))
    text = zone(f'[checks.web]\n{keys}[pools.web]\ncheck = "web"\nbackends = [{backends}]\n[names]\nwww = "web"\n')
    pause = 12 if SHORT else 30
    with Server({"lb.toml": text}, server='state_dir = "state"') as server:
        check("all up before", eventually(lambda: server.command("status")[0] == 0))
        changes = len(server.status()["transitions"])
        # Probes are under way when it stops: their time is over when it wakes.
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(pause)
        probes.clear()
        os.kill(server.pid, signal.SIGCONT)
        begun = time.monotonic()
        check("answers at once", eventually(lambda: len(server.addresses()) == 8, 2, 0.01), f"{time.monotonic() - begun:.3f} s")
        time.sleep(2)
        early = sum(1 for one in probes if one < begun + 2)
        check("no burst of probes", early <= 3 * 20, f"{early} in 2 s after {pause} s, 40 due")
        now = server.status()["transitions"]
        check("nobody went down", len(now) == changes, [(one["id"], one["to"], one["reason"]) for one in now[changes:]][:3])
    farm.close()


if __name__ == "__main__":
    main()
