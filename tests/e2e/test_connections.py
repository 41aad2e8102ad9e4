"""Promise: 10,000 connections that do nothing cost no client its run, and nothing once they are gone."""
import http.client
import json
import resource
import socket
import sys
import time

import pytest
from program import ROOT
from server import Server, descriptors, falls_to, settled

sys.path.insert(0, str(ROOT / "clients" / "python"))
from polyagent import Client  # noqa: E402

WANTED = 10000


@pytest.fixture
def count():
    """Descriptors for our side of the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(WANTED, hard // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def over_http(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/tools/execute", json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "print(1)"}}))
    result = json.loads(connection.getresponse().read())
    connection.close()
    return result["stdout"]


@pytest.mark.parametrize("interface", ["http", "grpc"])
def test_idle_connections(tmp_path, count, interface):
    server = Server(tmp_path, http=True, grpc=True)
    port = server.port if interface == "http" else int(server.grpc.rsplit(":", 1)[1])
    with Client(server.grpc) as client:
        client.run_python("")
        before = settled(lambda: descriptors(server.front))
        idle = []
        for i in range(count):
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=60))
            if i % 3 == 0:  # some have begun to say something
                idle[-1].sendall(b"POST /tools/execute HTT" if interface == "http" else b"PRI * HTTP/2.0")
        until = time.monotonic() + 60
        while descriptors(server.front) < before + count and time.monotonic() < until:
            time.sleep(0.1)
        assert descriptors(server.front) >= before + count
        assert over_http(server) == "1\n" and client.run_python("print(2)").stdout == "2\n"
        for connection in idle:
            connection.close()
        falls_to(before + 3, lambda: descriptors(server.front), 60)
    server.stop()


@pytest.mark.parametrize("interface", ["http", "grpc"])
def test_one_address_leaves_room_for_others(tmp_path, interface):
    """Of so many connections as there may be, seven eighths."""
    server = Server(tmp_path, http=True, grpc=True, env={"POLYAGENT_SERVER_MAX_CONNECTIONS": "400"})
    port = server.port if interface == "http" else int(server.grpc.rsplit(":", 1)[1])
    before = settled(lambda: descriptors(server.front))
    crowd = []
    for _ in range(600):
        crowd.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        crowd[-1].sendall(b"P")
    most = before + 400 // 8 * 7 + 10
    falls_to(most, lambda: descriptors(server.front))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=60, source_address=("127.0.0.2", 0)) as other:
            other.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" if interface == "http" else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
            assert other.recv(100)
    for connection in crowd:
        connection.close()
    until = time.monotonic() + 60
    while time.monotonic() < until:  # once they are gone, all is as it was
        try:
            if interface == "http":
                assert over_http(server) == "1\n"
            else:
                with Client(server.grpc) as client:
                    assert client.run_python("print(1)").stdout == "1\n"
            break
        except Exception:  # refused still
            time.sleep(0.2)
    else:
        raise AssertionError("nobody gets in")
    server.stop()
