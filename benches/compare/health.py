"""Backends for the benches: TCP listeners on addresses of loopback, each of which can be stopped and started."""

import socket
import sys
import threading


class Backend:
    """Accepts and closes. `stop` also resets whatever is open, as a killed process does."""

    def __init__(self, address, port):
        self.address, self.port, self.listener, self.open = address, port, None, []

    def start(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.address, self.port))
        self.listener.listen(1024)
        threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()

    def serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.open = [one for one in self.open[-200:] if one.fileno() >= 0] + [connection]

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            connection.close()
        self.open = []


if __name__ == "__main__":
    port, backends = int(sys.argv[1]), sys.argv[2:]
    for address in backends:
        Backend(address, port).start()
    print("ready", flush=True)
    threading.Event().wait()
