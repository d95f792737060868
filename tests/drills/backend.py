"""Backends that behave as told: one asyncio loop in a thread, a behaviour for each address and port."""

import asyncio
import contextlib
import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"


class Farm:
    """Listeners, each with what it does to who connects."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)
        self.servers = {}
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def serve(self, address, act, certificate=None, port=0):
        """Listens there; returns the port."""
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)

        async def guarded(reader, writer):
            try:
                await act(reader, writer)
            except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
                pass
            finally:
                # The loop may have ended meanwhile.
                with contextlib.suppress(RuntimeError):
                    writer.close()

        made = asyncio.start_server(guarded, address, port, ssl=context, backlog=4096)
        server = asyncio.run_coroutine_threadsafe(made, self.loop).result(10)
        port = server.sockets[0].getsockname()[1]
        self.servers[port] = server
        return port

    def stop(self, port):
        """Closes a listener: connections are refused from now on."""
        self.loop.call_soon_threadsafe(self.servers.pop(port).close)

    def close(self):
        for port in list(self.servers):
            self.stop(port)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


class Process:
    """A listener on all of 127/8 in a process of its own, for drills in which many connect at once."""

    def __init__(self, port=0):
        with socket.create_server(("0.0.0.0", port), backlog=4096) as listener:
            self.port = listener.getsockname()[1]
        program = (
            "import socket,sys\n"
            "listener = socket.create_server(('0.0.0.0', int(sys.argv[1])), backlog=4096)\n"
            "while True: listener.accept()[0].close()\n"
        )
        self.process = subprocess.Popen([sys.executable, "-c", program, str(self.port)])

    def close(self):
        self.process.kill()
        self.process.wait()


def fixed(body, status="200 OK", headers=""):
    """Answers every request with that."""
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n".encode() + body

    async def act(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return act


def late(seconds):
    async def act(reader, writer):
        await asyncio.sleep(seconds)
        await fixed(b"ok")(reader, writer)

    return act


async def mute(reader, writer):
    """Accepts, reads, says nothing."""
    while await reader.read(65536):
        pass


async def half(reader, writer):
    """Half an answer, then nothing, as when the machine is switched off."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf a b")
    await writer.drain()
    await asyncio.sleep(60)


def drip(octets, head=b""):
    """`head` at once, then an octet each 20 ms."""

    async def act(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        for octet in octets:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0.02)

    return act


def endless(head, piece, most=10 << 30):
    """`head`, then `piece` again and again, as fast as it is taken."""

    async def act(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        sent = 0
        while sent < most and not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
            sent += len(piece)

    return act


def gzip_bomb():
    """100 MB of zeros in 100 kB."""
    return fixed(gzip.compress(bytes(100_000_000), 6), headers="Content-Encoding: gzip\r\n")


async def redirect(reader, writer):
    await fixed(b"", "301 Moved", "Location: /\r\n")(reader, writer)


def certificates(directory):
    """A CA, and certificates that are fine, expired, of another name, and self-signed: (chain, key) by name."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-days", "30", "-subj", "/CN=drill CA", "-keyout", "ca.key", "-out", "ca.pem")
    made = {"ca": os.path.join(directory, "ca.pem")}
    for name, host, days in [("fine", "web.test", "30"), ("expired", "web.test", "-1"), ("wrong-name", "other.test", "30")]:
        with open(os.path.join(directory, "extensions"), "w") as file:
            file.write(f"subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\n")
        openssl("req", "-new", *key, "-subj", f"/CN={host}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
            "-extfile", "extensions", "-out", f"{name}.pem",
        )
        made[name] = (os.path.join(directory, f"{name}.pem"), os.path.join(directory, f"{name}.key"))
    openssl("req", "-x509", *key, "-days", "30", "-subj", "/CN=web.test", "-addext", "subjectAltName=DNS:web.test",
            "-keyout", "own.key", "-out", "own.pem")
    made["self-signed"] = (os.path.join(directory, "own.pem"), os.path.join(directory, "own.key"))
    return made
