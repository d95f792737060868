"""A real gRPC server with the health service of grpcio-health-checking. SIGUSR1: the service `web` is NOT_SERVING; SIGUSR2:
it serves again. Prints its port."""

import signal
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
serving = health_pb2.HealthCheckResponse
for service in ("", "web"):
    servicer.set(service, serving.SERVING)
signal.signal(signal.SIGUSR1, lambda *_: servicer.set("web", serving.NOT_SERVING))
signal.signal(signal.SIGUSR2, lambda *_: servicer.set("web", serving.SERVING))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
while True:
    threading.Event().wait(0.1)
