"""Files that are wrong, half there, gone, or edited in every way, while queries go on."""

import contextlib
import os
import signal
import subprocess
import threading
import time
import tomllib

import dns
from lib import PLAIN, ROLLCALL, SHORT, Load, Server, check, drill, eventually, main, pool_of, run, say, zone

OLD = {"192.0.2.1", "192.0.2.2"}

# Each replaces or extends the good zone: name -> (text, words that its error must hold)
WRONG = {
    "a syntax error": (zone(PLAIN).replace("[names]", "[names"), "lb.toml:"),
    "a wrong type": (zone(PLAIN).replace("ttl = 5", "ttl = [5]"), "lb.toml:2"),
    "an unknown key": (zone(PLAIN).replace("ttl = 5", "tll = 5"), "lb.toml:2"),
    "an empty file": ("", "lb.toml"),
    "NULs": (zone(PLAIN).replace("static", "sta\0tic"), "lb.toml:"),
    "octets that are not UTF-8": (zone(PLAIN).encode() + b"\xff\xfe", "lb.toml"),
    "one name in two cases": (zone('WWW = { TXT = "1" }\nwww = { TXT = "2" }\n'), "lb.toml:"),
    "CNAME beside other data": (zone('x = { CNAME = "www", TXT = "2" }\n'), "lb.toml:"),
    "a balanced name with an A record": (zone('www = { A = "192.0.2.9" }\n' + PLAIN), "lb.toml:"),
    "no NS": ('zone = "lb.example"\n[records]\ntxt = { TXT = "static" }\n', "NS"),
    "an owner outside": (zone('"www.example.net." = { A = "192.0.2.9" }\n'), "lb.toml:"),
    "a label of 64 octets": (zone(f'{"x" * 64} = {{ A = "192.0.2.9" }}\n'), "lb.toml:"),
    "a TTL of 2^31": (zone(PLAIN).replace("ttl = 5", "ttl = 2147483648"), "lb.toml:2"),
    "an address that is none": (zone('bad = { A = "192.0.2.999" }\n'), "lb.toml:"),
    "a backend twice": (zone(PLAIN).replace('name = "b"', 'name = "a"'), "lb.toml:"),
    "a weight below zero": (zone(PLAIN).replace('name = "b"', 'name = "b", weight = -1'), "lb.toml:"),
    "a pool that is not there": (zone(PLAIN).replace('www = "web"', 'www = "wob"'), "lb.toml:"),
    "deep nesting": (zone("deep = " + "[" * 5000 + "]" * 5000 + "\n"), "lb.toml"),
    "a line of 16 MB": (zone("long = { TXT = " + "x" * (16 << 20) + "}\n"), "lb.toml:"),
    "a string of 16 MB": (zone('long = { MX = "' + "x" * (16 << 20) + '" }\n'), "lb.toml:6"),
    "deep tables": (zone("deep = " + "{ a = " * 5000 + "1" + " }" * 5000 + "\n"), "lb.toml"),
    "deep keys": (zone("a." * 50_000 + "b = 1\n"), "lb.toml:6"),
    "pools that fall back on each other": (zone(PLAIN).replace('[names]', 'on_all_down = { to = "two" }\n[pools.two]\n'
        'on_all_down = { to = "web" }\nbackends = [{ address = "192.0.2.3" }]\n[names]'), "lb.toml:"),
}

# The same for a master file.
SOA = "@ 60 SOA ns.example.net. host.example.net. {} 2 3 4 5\n"
WRONG_MASTER = {
    "a second SOA": (SOA.format(2), "two.zone:4"),
    "a line of 16 MB": ("a TXT " + "x" * (16 << 20) + "\n", "two.zone:4"),
    "a string of 16 MB": ('a TXT "' + "x" * (16 << 20) + '"\n', "two.zone:4"),
    "16 MB of parentheses": ("(" * (16 << 20) + "\n", "two.zone:"),
    "NULs": ("a TXT \0\n", "two.zone:4"),
    "a bad escape in an owner": ("\\999 A 192.0.2.1\n", "two.zone:4"),
    "CNAME beside other data": ("a TXT x\na CNAME b\n", "two.zone:5"),
    "a TTL of 2^31": ("a 2147483648 TXT x\n", "two.zone:4"),
    "a label of 64 octets": ("x" * 64 + " TXT x\n", "two.zone:4"),
    "a name of 256 octets": (".".join(["x" * 63] * 4) + " TXT x\n", "two.zone:4"),
    "data that its type cannot have": ("a A \\# 3 0A0000\n", "two.zone:4"),
}


@drill("files that are wrong are refused with file and line, at a reload and at a start; answers go on")
def wrong_files():
    with Server() as server, Load(server, lambda reply: set(reply.addresses) == OLD) as load:
        for name, (text, words) in WRONG.items():
            server.write("zones/lb.toml", text)
            code, output = server.command("reload")
            check(f"{name}: refused", code == 2 and words in output, "" if words in output else f"{code} {output[:300]}")
        server.write("zones/lb.toml", zone(PLAIN))
        good = f"$ORIGIN two.example.\n{SOA.format(1)}@ 60 NS ns.example.net.\n"
        for name, (text, words) in WRONG_MASTER.items():
            server.write("zones/two.zone", good + text)
            begun = time.monotonic()
            code, output = server.command("reload")
            check(f"{name} in a master file: refused", code == 2 and words in output, f"{time.monotonic() - begun:.2f} s" if words in output else f"{code} {output[:300]}")
        code, output = server.command("status")
        check("status shows it, exit 1", code == 1, output.strip().splitlines()[0][:100] if output else "")
        os.remove(server.path("zones/two.zone"))
        check("mended: taken", server.command("reload")[0] == 0 and server.command("status")[0] == 0)
    load.verdict("the old data served all along")
    server = Server()
    for name in ("a syntax error", "an unknown key", "an empty file", "no NS"):
        server.write("zones/lb.toml", WRONG[name][0])
        begun = time.monotonic()
        done = subprocess.run([ROLLCALL, "serve", "--config", server.path("rollcall.toml")], capture_output=True, text=True, timeout=10)
        said = WRONG[name][1] in done.stderr
        check(f"{name}: no start, exit 2", done.returncode == 2 and said, f"{time.monotonic() - begun:.2f} s")


@drill("a file cut at every octet: refused, or taken as exactly what it says; never anything between")
def every_octet():
    text = zone(PLAIN).replace("[names]", '[names]\nalso = "web"').encode()
    step = 3 if SHORT else 1
    with Server({"lb.toml": text.decode()}) as server:
        expected, texts = OLD, 1
        refused = taken = 0
        broken = []
        for length in range(0, len(text) + 1, step):
            server.replace("zones/lb.toml", text[:length])
            with contextlib.suppress(OSError):
                os.remove(server.path("zones/lb.toml.new~"))
            code, output = server.command("reload")
            if code == 0:
                taken += 1
                plan = tomllib.loads(text[:length].decode())
                expected = {one["address"] for one in plan["pools"]["web"]["backends"]} if "www" in plan.get("names", {}) else set()
                texts = int("txt" in plan["records"])
            elif code == 2:
                refused += 1
            else:
                broken.append((length, code, output[:200]))
            reply = server.ask()
            right = set(reply.addresses) == expected and reply.rcode == (0 if expected else 3)
            if not right or server.ask("txt.lb.example", dns.TXT).counts[1] != texts:
                broken.append((length, reply.rcode, reply.addresses))
        check(f"{refused} refused, {taken} taken, each as written", not broken and refused > taken > 0, broken[:3] or "")


@drill("a file written slowly in place counts when its writer has closed it, not before")
def slow_writer():
    new = pool_of(["192.0.2.8", "192.0.2.9"])
    with Server() as server, Load(server, lambda reply: set(reply.addresses) in (OLD, {"192.0.2.8", "192.0.2.9"})) as load:
        with open(server.path("zones/lb.toml"), "w") as file:
            for at in range(0, len(new), 12):
                file.write(new[at : at + 12])
                file.flush()
                time.sleep(0.1)
            seen_before = set(load.seen)
        closed = time.monotonic()
        check("nothing but the old before the close", seen_before == {tuple(sorted(OLD))}, f"{len(new) // 12} pieces")
        check("the new within a second of it", eventually(lambda: server.addresses() == {"192.0.2.8", "192.0.2.9"}, 3, 0.02), f"{time.monotonic() - closed:.2f} s")
    load.verdict("never anything between")


@drill("every way of editing: in place, by rename, by symlink, as vim does; files that editors leave are no zones")
def ways_of_editing():
    with Server() as server:
        path = server.path("zones/lb.toml")

        def vim(text):
            server.write("zones/4913", "")
            os.remove(server.path("zones/4913"))
            server.write("zones/.lb.toml.swp", b"b0VIM 9.0\0\0")
            os.rename(path, path + "~")
            server.write("zones/lb.toml", text)
            os.remove(path + "~")
            os.remove(server.path("zones/.lb.toml.swp"))

        def link(text):
            server.write(f"release{text.count('x')}.toml", text)
            target = server.path("linked.toml")
            with contextlib.suppress(OSError):
                os.remove(target)
            os.symlink(server.path(f"release{text.count('x')}.toml"), target)
            os.rename(target, path)

        def hidden_directory(text):
            """As ConfigMaps: zones/lb.toml -> ..data/lb.toml, ..data swapped."""
            for number in (1, 2):
                os.makedirs(server.path(f"zones/..v{number}"), exist_ok=True)
                server.write(f"zones/..v{number}/lb.toml", text if number == 2 else zone(PLAIN))
            os.symlink("..v1", server.path("zones/..data"))
            os.remove(path)
            os.symlink("..data/lb.toml", path)
            time.sleep(0.6)
            os.symlink("..v2", server.path("zones/..next"))
            os.rename(server.path("zones/..next"), server.path("zones/..data"))

        ways = {"in place": lambda text: server.write("zones/lb.toml", text), "by rename": lambda text: server.replace("zones/lb.toml", text),
                "as vim": vim, "by symlink": link, "by the link of a link": hidden_directory}
        for number, (name, edit) in enumerate(ways.items()):
            edit(pool_of([f"198.51.100.{number}"]))
            begun = time.monotonic()
            live = eventually(lambda: server.addresses() == {f"198.51.100.{number}"}, 5, 0.02)
            check(f"{name}: live", live and time.monotonic() - begun < 2, f"{time.monotonic() - begun:.2f} s")
        for name in (".lb.toml.swp", "lb.toml~", "#lb.toml#", "lb.toml.bak", "4913", ".hidden.toml"):
            server.write(f"zones/{name}", "not a zone at all [")
        check("editors' leavings are no zones", server.command("reload")[0] == 0)
        os.remove(path)
        server.write("zones/lb.toml", pool_of(["198.51.100.77"]))
        os.chmod(path, 0)
        if os.access(path, os.R_OK):
            say("chmod 000 does not keep this user from reading")
        else:
            check("an unreadable file is refused", server.command("reload")[0] == 2)
        os.chmod(path, 0o644)
        check("readable again: live", eventually(lambda: server.addresses() == {"198.51.100.77"}, 3))


@drill("a file deleted removes its zone; the last one, or the directory itself, does not go")
def deleted():
    zones = {"lb.toml": zone(PLAIN), "two.toml": zone(PLAIN, "two.example")}
    with Server(zones) as server, Load(server, lambda reply: set(reply.addresses) == OLD) as load:
        os.remove(server.path("zones/two.toml"))
        check("its zone goes", eventually(lambda: server.ask("www.two.example").rcode == 5, 3))
        os.remove(server.path("zones/lb.toml"))
        time.sleep(0.8)
        check("the last zone stays, and status says why", server.addresses() == OLD and server.command("status")[0] == 1)
        os.rename(server.path("zones"), server.path("elsewhere"))
        time.sleep(0.8)
        check("the directory moved away: serving", server.addresses() == OLD and server.command("reload")[0] == 2)
        os.rename(server.path("elsewhere"), server.path("zones"))
        server.write("zones/lb.toml", zone(PLAIN))
        check("all back: status 0", eventually(lambda: server.command("status")[0] == 0, 5))
    load.verdict("answers went on")
    server = Server()
    server.write("rollcall.toml", open(server.path("rollcall.toml")).read().replace('zones = "zones"', 'zones = ["zones/lb.toml"]'))
    with server:
        os.remove(server.path("zones/lb.toml"))
        check("a listed file that is gone: refused", server.command("reload")[0] == 2 and server.addresses() == OLD)


@drill("the zone directory is unmounted under the server, and mounted again", apart=True)
def unmounted():
    server = Server()
    directory = server.path("zones")
    os.remove(server.path("zones/lb.toml"))
    run("mount", "-t", "tmpfs", "-o", "size=1m", "drill", directory)
    server.write("zones/lb.toml", zone(PLAIN))
    with server, Load(server, lambda reply: set(reply.addresses) in (OLD, {"198.51.100.5"})) as load:
        held = open(os.path.join(directory, "lb.toml"))
        run("umount", "-l", directory)
        time.sleep(1)
        code, output = server.command("reload")
        check("unmounted: refused, serving", code == 2 and server.addresses() == OLD, output.strip()[:120])
        held.close()
        run("mount", "-t", "tmpfs", "-o", "size=1m", "drill", directory)
        server.write("zones/lb.toml", pool_of(["198.51.100.5"]))
        if not SHORT:
            # A mount raises no event: the look at everything, twice a minute, finds it.
            begun = time.monotonic()
            found = eventually(lambda: server.addresses() == {"198.51.100.5"}, 40)
            check("mounted again with a new file: found by itself", found, f"{time.monotonic() - begun:.1f} s")
        check("found by a reload at once", server.command("reload")[0] == 0 and server.addresses() == {"198.51.100.5"})
    load.verdict("answers went on")
    run("umount", directory)


@drill("a thousand edits a second: answers only move forward, generations too, the last edit wins")
def edit_storm():
    with Server() as server:
        number = lambda: int(next(iter(server.addresses())).rsplit(".", 2)[1]) * 256 + int(next(iter(server.addresses())).rsplit(".", 1)[1])
        server.write("zones/lb.toml", pool_of(["10.0.0.0"]))
        check("before the storm", eventually(lambda: server.addresses() == {"10.0.0.0"}, 3))
        ordered = []

        class Ordered(Load):
            def run(self):
                self.right = lambda reply: ordered.append(int(reply.addresses[0].split(".")[2]) * 256 + int(reply.addresses[0].split(".")[3])) or True
                super().run()

        edits, end = 0, time.monotonic() + (3 if SHORT else 15)
        generation = server.status()["generation"]
        with Ordered(server) as load:
            while time.monotonic() < end:
                edits += 1
                server.replace("zones/lb.toml", pool_of([f"10.0.{edits // 256 % 256}.{edits % 256}"]))
                time.sleep(0.0007)
            settled = eventually(lambda: number() == edits % 65536, 5)
        made = server.status()["generation"] - generation
        check(f"the last of {edits} edits wins", settled, number())
        check("answers only moved forward", ordered == sorted(ordered), f"{len(set(ordered))} versions seen")
        check("edits are joined", 0 < made <= 5 + 3 * 15, f"{made} generations")
        load.verdict("no query lost")


@drill("two files changed together: never a mix of the old and the new")
def together():
    names = ("one.example", "two.example")
    text = lambda name, number: pool_of([f"10.1.1.{number}"]).replace("lb.example", name)
    with Server({f"{name}.toml": text(name, 0) for name in (*names,)} | {"lb.toml": zone(PLAIN)}) as server:
        mixed, seen = [], set()
        ending = threading.Event()

        def watch():
            while not ending.is_set():
                # Two before and after one: when both twos agree, the one between them must too.
                first, between, last = (server.addresses(f"www.{name}") for name in (names[1], names[0], names[1]))
                seen.add(tuple(first))
                if first == last and first != between:
                    mixed.append((first, between))

        watcher = threading.Thread(target=watch)
        watcher.start()
        rounds = 4 if SHORT else 20
        late = set()
        for number in range(1, rounds + 1):
            begun = time.monotonic()
            server.replace("zones/one.example.toml", text("one.example", number))
            time.sleep(0.1)
            server.replace("zones/two.example.toml", text("two.example", number))
            if time.monotonic() - begun > 0.2:
                # On a busy machine the two edits may lie further apart than edits that count as one: nothing to judge.
                late.add(f"10.1.1.{number}")
            eventually(lambda: server.addresses("www.one.example") == {f"10.1.1.{number}"}, 3)
        ending.set()
        watcher.join()
        mixed = [one for one in mixed if not (one[0] | one[1]) & late]
        check(f"{rounds} changes of two files 0.1 s apart, each taken whole", len(seen) >= rounds and not mixed, mixed[:2] or f"{len(seen)} versions, {len(late)} not judged")


@drill("a thousand SIGHUPs, and reloads while it shuts down")
def signal_storm():
    with Server() as server:
        with Load(server, lambda reply: set(reply.addresses) == OLD) as load:
            for _ in range(1000):
                os.kill(server.pid, signal.SIGHUP)
                time.sleep(0.0005)
            check("alive, and answers its operator", eventually(lambda: server.command("status")[0] == 0, 10))
        load.verdict("no query lost among a thousand SIGHUPs")
        say(f"{server.memory()} KiB")
    codes = []
    for _ in range(3 if SHORT else 20):
        with Server() as server:
            server.replace("zones/lb.toml", pool_of(["10.0.0.1"]))
            reload = subprocess.Popen([ROLLCALL, "reload", "--config", server.path("rollcall.toml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(20):
                os.kill(server.pid, signal.SIGHUP)
            seconds, code = server.stop()
            codes.append((code, round(seconds, 2)))
            reload.wait(10)
    check("shut down amid reloads: exit 0 within 5 s", all(code == 0 and seconds < 5 for code, seconds in codes), codes[:5])


@drill("a zone of a hundred thousand names: loaded and replaced while answers go on as quickly", short=False)
def large():
    def text(number):
        records = "".join(f'h{n} = {{ A = "10.{number}.{n // 256 % 256}.{n % 256}" }}\n' for n in range(100_000))
        return zone(records + PLAIN)

    with Server() as server:
        with Load(server, lambda reply: set(reply.addresses) == OLD) as calm:
            time.sleep(2)
        with Load(server, lambda reply: set(reply.addresses) == OLD) as busy:
            for number in range(3):
                server.replace("zones/lb.toml", text(number))
                begun = time.monotonic()
                live = eventually(lambda: server.addresses("h99999.lb.example") == {f"10.{number}.{99999 // 256 % 256}.{99999 % 256}"}, 30)
                check("100,000 names live", live, f"{time.monotonic() - begun:.1f} s, {server.memory()} KiB, at most {server.memory('VmHWM')}")
        busy.verdict("answers went on")
        say(f"99 % within {calm.percentile(0.99):.2f} ms before, {busy.percentile(0.99):.2f} ms while loading")


if __name__ == "__main__":
    main()
