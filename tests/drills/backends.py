"""Backends that misbehave in every way, and what their verdicts and the answers must be."""

import os
import random
import time

import backend
import dns
from lib import APART, SHORT, Load, Server, check, drill, eventually, main, run, say, zone

BLACK_HOLE = "10.9.9.9"


def black_hole():
    """An address whose packets vanish: its neighbour is a card that nobody has."""
    run("ip", "link", "add", "drill0", "type", "veth", "peer", "name", "drill1")
    run("ip", "addr", "add", "10.9.0.1/16", "dev", "drill0")
    run("ip", "link", "set", "drill0", "up")
    run("ip", "link", "set", "drill1", "up")
    holes = ["10.9.9.9"] + [f"10.9.{n // 250 + 1}.{n % 250 + 1}" for n in range(500)]
    batch = "".join(f"neigh add {hole} lladdr 02:00:00:00:00:09 dev drill0 nud permanent\n" for hole in holes)
    run("ip", "-batch", "-", input=batch)
    return holes[1:]


@drill("each fault of a backend beside a good one: down by its reason, its good neighbour answers alone")
def every_fault():
    if APART:
        black_hole()
    farm = backend.Farm()
    good = farm.serve("127.0.0.1", backend.fixed(b"ok"))
    certificates = backend.certificates(os.environ.get("DRILL_WORK", "/tmp"))
    # name: (what the bad backend does, keys of its check, words of the reason)
    quick = 'interval = "400ms"\ntimeout = "300ms"\nfall = 2\nrise = 1\n'
    patient = 'interval = "1s"\ntimeout = "1s"\nfall = 2\nrise = 1\n'
    body = 'expect_body = "ok"\n'
    faults = {
        "refused": (None, quick, "refused"),
        "slow": (backend.late(1.4), patient, "timed out"),
        "mute": (backend.mute, quick, "timed out"),
        "drip-header": (backend.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), quick, "timed out"),
        "drip-body": (backend.drip(b"x" * 10_000, backend.HEAD), quick + body, "timed out"),
        "half-open": (backend.half, quick + body, "timed out"),
        "status": (backend.fixed(b"ok", "500 Oops"), quick, "status 500"),
        "body": (backend.fixed(b"no"), quick + body, "body lacks"),
        "endless-body": (backend.endless(backend.HEAD, b"x" * 65536), quick + body, "body lacks"),
        "gzip-bomb": (backend.gzip_bomb(), quick + body, "body lacks"),
        "redirect-loop": (backend.redirect, quick + 'expect_status = ["200-299"]\n', "status 301"),
        "interim-flood": (backend.endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500), quick, ""),
        "huge-header": (backend.endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536, 1 << 20), quick, ""),
        "not-http": (backend.endless(b"", b"\0\xff" * 4000, 1 << 16), quick, ""),
    }
    if APART:
        faults["black-hole"] = (BLACK_HOLE, quick, "timed out connecting")
    text, names = "", ""
    address = 10
    for name, (act, keys, _) in faults.items():
        address += 1
        bad = act if isinstance(act, str) else f"127.0.1.{address}"
        port = good if act is None or isinstance(act, str) else farm.serve(bad, act)
        text += f'[checks.{name}]\ntype = "http"\n{keys}'
        text += f'[pools.{name}]\ncheck = "{name}"\nbackends = [{{ name = "bad", address = "{bad}", port = {port} }}, '
        text += f'{{ name = "good", address = "127.0.0.1", port = {good} }}]\n'
        names += f'{name} = "{name}"\n'
    tls = {"expired": "expired", "wrong-name": "is for other.test", "self-signed": "issuer|self|trust|CA", "fine": None}
    for name, words in tls.items():
        port = farm.serve("127.0.2.1", backend.fixed(b"ok"), certificates[name])
        ca = f'ca = "{certificates["ca"]}"' if name != "self-signed" else ""
        text += f'[checks.{name}]\ntype = "https"\nhost = "web.test"\n{patient}tls = {{ {ca} }}\n'
        text += f'[checks.{name}-unverified]\ntype = "https"\nhost = "web.test"\n{patient}tls = {{ verify = false }}\n'
        for pool in (name, name + "-unverified"):
            text += f'[pools.{pool}]\ncheck = "{pool}"\nbackends = [{{ name = "bad", address = "127.0.2.1", port = {port} }}]\n'
            names += f'{pool} = "{pool}"\n'
    # Late, but within its timeout.
    port = farm.serve("127.0.1.9", backend.late(0.5))
    text += f'[checks.late]\ntype = "http"\n{patient}[pools.late]\ncheck = "late"\n'
    text += f'backends = [{{ name = "bad", address = "127.0.1.9", port = {port} }}]\n'
    with Server({"lb.toml": zone(text + "[names]\n" + names + 'late = "late"\n')}) as server:
        begun, memory = time.monotonic(), server.memory()
        time.sleep(3)
        for name, (_, _, words) in faults.items():
            bad, fine = server.backend(name, "bad"), server.backend(name, "good")
            good_reason = words in bad["reason"]
            check(f"{name}: down", bad["verdict"] == "down" and good_reason, bad["reason"])
            check(f"{name}: its good neighbour answers alone", server.addresses(f"{name}.lb.example") == {"127.0.0.1"}, fine["reason"])
        for name, words in tls.items():
            bad = server.backend(name, "bad")
            expected = "up" if words is None else "down"
            named = words is None or any(word.lower() in bad["reason"].lower() for word in words.split("|"))
            check(f"TLS {name}: {expected}", bad["verdict"] == expected and named, bad["reason"])
            check(f"TLS {name} without verification: up", server.backend(name + "-unverified", "bad")["verdict"] == "up")
        check("late, within the timeout: up", server.backend("late", "bad")["verdict"] == "up")
        time.sleep(1 if SHORT else 20)
        grown = server.memory() - memory
        check("memory stays flat among endless and bursting bodies", grown < 24 * 1024, f"{grown} KiB more after {time.monotonic() - begun:.0f} s")
        check("no descriptors pile up", server.descriptors() < 120, server.descriptors())
    farm.close()


@drill("500 black holes beside 10 good backends: the good ones' checks stay on time", short=False, apart=True)
def many_black_holes():
    try:
        holes = black_hole()
    except Exception:
        holes = [f"10.9.{n // 250 + 1}.{n % 250 + 1}" for n in range(500)]
    farm = backend.Farm()
    hits = []

    async def counted(reader, writer):
        hits.append(time.monotonic())
        await backend.fixed(b"ok")(reader, writer)

    port = farm.serve("0.0.0.0", counted)
    text = '[checks.web]\ntype = "http"\ninterval = "2s"\ntimeout = "1s"\njitter = "0%"\n[pools.web]\ncheck = "web"\n'
    goods = [f"127.0.3.{n}" for n in range(1, 11)]
    text += f"backends = [{', '.join(f'{{ address = {chr(34)}{one}{chr(34)}, port = {port} }}' for one in goods + holes)}]\n"
    with Server({"lb.toml": zone(text + '[names]\nwww = "web"\n')}) as server:
        hits.clear()
        time.sleep(20)
        check("ten good backends are probed on time for 20 s", 90 <= len(hits) <= 110, f"{len(hits)} probes, 100 due")
        check("nobody but them is answered", server.addresses() <= set(goods))
    farm.close()


@drill("a backend that fails every other probe keeps its verdict; one that fails for good does not")
def flapping():
    farm = backend.Farm()
    state = {"n": 0, "mode": "alternate"}
    dice = random.Random(20)

    async def flap(reader, writer):
        state["n"] += 1
        bad = {"alternate": state["n"] % 2 == 0, "half": dice.random() < 0.5, "bad": True, "good": False}[state["mode"]]
        await backend.fixed(b"ok", "500 Oops" if bad else "200 OK")(reader, writer)

    port = farm.serve("127.0.0.1", flap)
    text = '[checks.web]\ntype = "http"\ninterval = "100ms"\ntimeout = "100ms"\nfall = 2\nrise = 2\n'
    text += f'[pools.web]\ncheck = "web"\nbackends = [{{ name = "flap", address = "127.0.0.1", port = {port} }}, {{ address = "192.0.2.2", state = "up" }}]\n'
    with Server({"lb.toml": zone(text + '[names]\nwww = "web"\n')}) as server:
        changes = lambda: len(server.status()["transitions"])
        before, probes = changes(), state["n"]
        time.sleep(3)
        check("failing every other time changes nothing", changes() == before, f"{state['n'] - probes} probes, {changes() - before} changes")
        state["mode"] = "half"
        before, probes = changes(), state["n"]
        time.sleep(3)
        say(f"failing half the time at random: {state['n'] - probes} probes, {changes() - before} changes")
        check("failing at random: at most a change a hysteresis window", changes() - before <= (state["n"] - probes) / 2 + 1)
        state["mode"] = "bad"
        check("failing for good: down", eventually(lambda: server.addresses() == {"192.0.2.2"}))
        state["mode"] = "good"
        check("well again: up", eventually(lambda: server.addresses() == {"127.0.0.1", "192.0.2.2"}))
    farm.close()


@drill("all down: the pool fails open, says so, and recovers; the DNS server as its own backend is no trouble")
def all_down():
    farm = backend.Farm()
    port = farm.serve("0.0.0.0", backend.fixed(b"ok"))
    keys = 'interval = "200ms"\ntimeout = "200ms"\nfall = 2\nrise = 2\n'
    backends = ", ".join(f'{{ name = "b{n}", address = "127.0.4.{n}", port = {port} }}' for n in range(1, 4))
    text = f'[checks.web]\ntype = "http"\n{keys}[pools.web]\ncheck = "web"\nbackends = [{backends}]\n'
    text += f'[checks.self]\ntype = "tcp"\nport = PORT\n{keys}[pools.self]\ncheck = "self"\nbackends = [{{ name = "me", address = "127.0.0.1" }}]\n'
    text += f'[checks.api]\ntype = "http"\nport = CONTROL\npath = "/v1/status"\n{keys}[pools.api]\ncheck = "api"\nbackends = [{{ name = "me", address = "127.0.0.1" }}]\n'
    server = Server({"lb.toml": ""})
    text = text.replace("PORT", str(server.port)).replace("CONTROL", str(server.control))
    server.write("zones/lb.toml", zone(text + '[names]\nwww = "web"\nself = "self"\napi = "api"\n'))
    everyone = {f"127.0.4.{n}" for n in range(1, 4)}
    with server, Load(server, lambda reply: reply.rcode == 0 and reply.addresses) as load:
        check("all up at first", server.addresses() == everyone)
        check("the server itself is an ordinary backend", eventually(lambda: server.backend("self", "me")["verdict"] == "up"))
        check("and so is its control listener", eventually(lambda: server.backend("api", "me")["verdict"] == "up"), server.backend("api", "me")["reason"])
        begun = time.monotonic()
        farm.stop(port)
        check("all found down", eventually(lambda: all(server.backend("web", f"b{n}")["verdict"] == "down" for n in range(1, 4))), f"{time.monotonic() - begun:.2f} s")
        check("all are answered: fail open", server.addresses() == everyone)
        check("status says so: exit 3", server.command("status")[0] == 3)
        farm.serve("0.0.0.0", backend.fixed(b"ok"), port=port)
        check("well again: exit 0", eventually(lambda: server.command("status")[0] == 0))
        cpu = server.cpu()
        time.sleep(2)
        check("being its own backend costs next to nothing", server.cpu() - cpu < 1.0, f"{server.cpu() - cpu:.2f} s of processor in 2 s")
    load.verdict("every query was answered with addresses")
    farm.close()


@drill("thousands of backends fail at once and come back at once: answers as quick as ever, no storm of lines")
def mass_failure():
    count = 1000 if SHORT else 10_000
    farm = backend.Process()
    pace = (1, 1) if SHORT else (5, 2)
    text = f'[checks.web]\ntype = "tcp"\ninterval = "{pace[0]}s"\ntimeout = "{pace[1]}s"\nfall = 2\nrise = 2\n'
    for pool in range(count // 1000):
        backends = ", ".join(f'{{ address = "127.{pool + 10}.{n // 250}.{n % 250 + 1}", port = {farm.port} }}' for n in range(1000))
        text += f'[pools.web{pool}]\ncheck = "web"\nbackends = [{backends}]\n'
    text += '[names]\nwww = "web0"\n'
    wait = 20 if SHORT else 60
    # All of them at once would be doubted for a minute; here they are to be believed.
    with Server({"lb.toml": zone(text)}, server='[checker]\ndoubt = "off"') as server:
        downs = lambda: sum(one["state"] == "down" for pool in server.status()["zones"][0]["pools"] for one in pool["backends"])
        check("all up at first", eventually(lambda: downs() == 0, wait, 0.3))
        with Load(server) as calm:
            time.sleep(2)
        lines, generation = server.log_text().count("\n"), server.status()["generation"]
        with Load(server) as storm:
            farm.close()
            begun = time.monotonic()
            check(f"{count} found down", eventually(lambda: downs() == count, wait, 0.3), f"{time.monotonic() - begun:.1f} s")
            farm = backend.Process(farm.port)
            check(f"{count} found up again", eventually(lambda: downs() == 0, wait, 0.3))
        storm.verdict("every query was answered meanwhile")
        say(f"99 % within {calm.percentile(0.99):.2f} ms in calm, {storm.percentile(0.99):.2f} ms in the storm")
        check("answers stay quick", storm.percentile(0.99) < calm.percentile(0.99) + 20)
        lines = server.log_text().count("\n") - lines
        say(f"{server.status()['generation'] - generation} snapshots for {2 * count} changes")
        check("no storm of log lines", lines <= 60 * (time.monotonic() - begun + 3), f"{lines} for {2 * count} changes")
    farm.close()


if __name__ == "__main__":
    main()
