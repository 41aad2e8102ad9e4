"""Promise: no bytes on a connection, however many and however slow, stop the server for others or take its memory; what a client
has asked for ends with the client. Cases 37 to 39 of the hostile list, and the front ends' bugs of section 1.6."""
import base64
import contextlib
import json
import socket
import struct
import sys
import threading
import time

import host
import http2
import pytest
from http2 import ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame
from program import BUILD, ROOT
from server import becomes, children, resident_kib, settled

sys.path.insert(0, str(ROOT / "clients" / "python"))
from polyagent import Client  # noqa: E402

MOST_KIB = 800 << 10  # that the front may take meanwhile
SANITIZED = "asan" in str(BUILD)  # keeps what was freed, and is slow to see a flood: how much it takes tells nothing


@contextlib.contextmanager
def bearing(server):
    """The front stays the same process, grows by no more than it may, and serves both interfaces during and after."""
    front, before, most, over = server.front, resident_kib(server.front), [0], threading.Event()

    def watch():
        while not over.wait(0.05):
            most[0] = max(most[0], (resident_kib(front) or before) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
        with Client(server.grpc) as client:
            assert client.run_python("print(1)").stdout == "1\n"
        assert host.python(server, "print(2)")["stdout"] == "2\n"
    finally:
        over.set()
        watcher.join()
    assert server.front == front, server.log.read_text()[-2000:]
    assert SANITIZED or most[0] < MOST_KIB, f"the front took {most[0]} KiB"


def settings(*pairs):
    return b"".join(struct.pack(">HI", name, value) for name, value in pairs)


def flood(server, times, make, batch=200):
    """Sends make(i) for i up to `times`, or until the server hangs up; how many went out."""
    connection = http2.Connection(server.grpc)
    sent = 0
    while sent < times and connection.send(b"".join(make(i) for i in range(sent, sent + batch))):
        sent += batch
    connection.close()
    return sent


def stream(i):
    return 2 * i + 1


BODY = b"\0\0\0\0\0"  # an empty message
ABUSES = {
    "rapid reset": lambda i: frame(HEADERS, END_HEADERS, stream(i), http2.call()) + frame(RST_STREAM, 0, stream(i), struct.pack(">I", 8)),
    "MadeYouReset": lambda i: frame(HEADERS, END_HEADERS | END_STREAM, stream(i), http2.call()) + frame(WINDOW_UPDATE, 0, stream(i), bytes(4)),
    "frames after the end": lambda i: frame(HEADERS, END_HEADERS | END_STREAM, stream(i), http2.call()) + frame(DATA, 0, stream(i), BODY),
    "CONTINUATION without end": lambda i: frame(HEADERS, 0, 1, http2.call()) if i == 0 else frame(CONTINUATION, 0, 1, http2.header(f"x-{i}", "y" * 100)),
    "empty CONTINUATION": lambda i: frame(HEADERS, 0, 1, http2.call()) if i == 0 else frame(CONTINUATION, 0, 1),
    "empty DATA": lambda i: frame(HEADERS, END_HEADERS, 1, http2.call()) if i == 0 else frame(DATA, 0, 1),
    "SETTINGS": lambda i: frame(SETTINGS, 0, 0, settings((4, 1000 + i), (1, 4096))),
    "PING": lambda i: frame(PING, 0, 0, struct.pack(">Q", i)),
    "PRIORITY": lambda i: frame(PRIORITY, 0, stream(i), struct.pack(">IB", max(0, stream(i) - 2), 1)),
    "WINDOW_UPDATE": lambda i: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
    "acknowledgements of nothing": lambda i: frame(SETTINGS, ACK, 0),
    "unknown frames": lambda i: frame(0xEE, 0xFF, stream(i), b"x" * 100),
    "streams that stay open": lambda i: frame(HEADERS, END_HEADERS, stream(i), http2.call()),
    "HPACK table updates": lambda i: frame(HEADERS, END_HEADERS | END_STREAM, stream(i), b"\x3f\xe1\x1f\x20" * 50 + http2.call()),
    "HPACK that grows": lambda i: frame(HEADERS, END_HEADERS | END_STREAM, stream(i), http2.call(more=b"\x40" + http2.text("a" * 100) + http2.text("b" * 3900)
                                                                                                     if i == 0 else b"\xbe" * 3000)),
}


@pytest.mark.parametrize("abuse", ABUSES)
def test_37_h2_abuse(server, abuse, slow):
    with bearing(server):
        flood(server, 20_000 // slow, ABUSES[abuse])


def test_37_lengths_that_lie(server):
    """4 GiB header lengths (CVE-2023-33953), varints without end, bad base64 and odd headers (CVE-2023-32732, CVE-2023-1428)."""
    blocks = [b"\0\x7f\xff\xff\xff\xff\x0f", b"\0\x7f" + b"\x80" * 5000 + b"\0", b"\xff" + b"\xff" * 40, b"\x80", b"\xbf" * 100, b"\x10" + b"\xff" * 4,
              http2.call(more=http2.header("x-bin", "!!!not base64!!!")), http2.call(more=http2.header("X-Upper", "a")),
              http2.call(more=http2.header("x\r\ny: z", "a")), http2.call(more=http2.header("te", "x\0y")), http2.call(more=http2.header("grpc-timeout", "9" * 50 + "H")),
              http2.call(more=http2.header("grpc-encoding", "gzip" * 500)), http2.call(more=http2.header(":path", "/again")),
              http2.call(path="/" + "a/" * 2000), http2.call(path=""), b"", http2.call(more=http2.header("content-length", "18446744073709551616"))]
    with bearing(server):
        for block in blocks:
            for tail in (frame(DATA, END_STREAM, 1, BODY), frame(DATA, END_STREAM, 1, b"\0\xff\xff\xff\xff" + b"x" * 100),
                         frame(DATA, END_STREAM, 1, b"\1\0\0\0\4junk"), frame(DATA, 0, 1, b"\0\0")):
                connection = http2.Connection(server.grpc)
                connection.send(frame(HEADERS, END_HEADERS, 1, block) + tail)
                connection.close()
        for junk in (frame(HEADERS, END_HEADERS, 0, http2.call()), frame(SETTINGS, 0, 0, b"x" * 5), frame(SETTINGS, 0, 0, settings((4, 0xFFFFFFFF))),
                     frame(SETTINGS, 0, 0, settings((5, 1))), frame(DATA, 0, 5, b"x"), frame(0xEE, 0, 0, b"", length=0xFFFFFF),
                     frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\1" * 100, bytes(1000)):
            connection = http2.Connection(server.grpc)
            connection.send(junk)
            connection.close()


def test_37_a_window_of_zero(server):
    """A client that asks for much and lets nothing come: its runs end, and their output waits in bounds."""
    message = struct.pack(">BI", 0, 2) + b"\x0a\0"
    with bearing(server):
        connections = []
        for _ in range(20):
            connection = http2.Connection(server.grpc)
            connection.send(frame(SETTINGS, 0, 0, settings((4, 0))))
            for i in range(50):
                connection.send(frame(HEADERS, END_HEADERS, stream(i), http2.call()) + frame(DATA, END_STREAM, stream(i), message))
            connections.append(connection)
        time.sleep(1)
        for connection in connections:
            connection.close()


def test_38_slow_clients(server, slow):
    """Heads, bodies and readers that come byte by byte; a thousand of them, and the server goes on."""
    head = b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
    big = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sockets = []
    with bearing(server):
        for i in range(1000 // slow):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.sendall([head[:i % 40 + 1], head + b"\r\n{", big][i % 3])
            sockets.append(s)
        for _ in range(3):
            for s in sockets:
                with contextlib.suppress(OSError):
                    s.sendall(b"x")
            assert host.python(server, "print(3)")["stdout"] == "3\n"
        for s in sockets:
            s.close()


def test_38_a_client_vanishes_in_the_middle_of_its_run(server):
    """Over both interfaces: the run ends with it, long before its deadline."""
    before = settled(lambda: len(children(server.pid)))
    body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "import time\ntime.sleep(200)", "execution_timeout_ms": 200000}}).encode()
    sockets = []
    for _ in range(8):
        s = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        s.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        sockets.append(s)
    assert becomes(lambda: len(children(server.pid)) >= before + 6, True)
    for s in sockets:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a farewell
        s.close()
    assert becomes(lambda: len(children(server.pid)) <= before + 1, True)
    with bearing(server):
        pass


def post(server, head, body=b"", patience=1, whole=False):
    """What comes back for a request written by hand; None if the connection just ends, or waits for more. Unless it is `whole`,
    the sender closes its side: which counts as hanging up where the answer takes longer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=patience) as s:
        try:
            s.sendall(head + b"\r\n\r\n" + body)
            if not whole:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = b""
        try:
            while b"\r\n\r\n" not in answer and (chunk := s.recv(65536)):
                answer += chunk
        except OSError:
            pass
    return int(answer.split()[1]) if answer.startswith(b"HTTP/") else None


def test_39_body_bombs(server):
    head = b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    good = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "print(1)"}}).encode()
    bodies = {
        "arrays in arrays": b"[" * 1_000_000, "objects in objects": b'{"a":' * 1_000_000, "closed as well": b"[" * 500_000 + b"]" * 500_000,
        "many values": b'{"tool": "x", "parameters": {"a": [' + b"0," * 5_000_000 + b"0]}}", "many keys": b"{" + b",".join(b'"%d":0' % i for i in range(500_000)) + b"}",
        "twice the same key": b'{"tool": "python_wasi_runner", "tool": "code_executor", "parameters": {"code": "1"}}', "NUL": good + b"\0",
        "more after it": good + good, "no UTF-8": b'{"tool": "\xff\xfe", "parameters": {}}', "half a surrogate": b'{"tool": "\\ud800", "parameters": {}}',
        "a number without end": b'{"tool": ' + b"9" * 1_000_000 + b"}", "an exponent": b'{"tool": 1e999999999}', "nothing": b"", "a text": b'"x"', "null": b"null",
        "NUL in a name": b'{"tool": "python_wasi_runner\\u0000", "parameters": {}}',
    }
    with bearing(server):
        for name, body in bodies.items():
            status = post(server, head + b"Content-Length: %d" % len(body), body, patience=30, whole=True)
            assert status in (400, 404, 413), (name, status)
        for length in (b"5368709120", b"18446744073709551615", b"18446744073709551616", b"-1", b"+5", b"0x5", b"5, 5", b" ", b"1e3", b"99999999999999999999999"):
            status = post(server, head + b"Content-Length: " + length, b"x" * 1000)
            assert status in (400, 411, 413, None), (length, status)
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for both in (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
                     b"Transfer-Encoding: xchunked", b"Transfer-Encoding : chunked", b"Content-Length: 5\r\nContent-Length: 6", b"Transfer-Encoding: chunked, gzip"):
            status = post(server, head + both, b"0\r\n\r\n" + smuggled)
            assert status in (400, 404, 411, 413, 501, None), (both, status)
        for chunk in (b"FFFFFFFFFFFFFFFFF\r\n", b"-1\r\n", b"0x5\r\n", b"5\n", b"fffffffffffffff0\r\nx", b";" * 100_000, b"5;" + b"a" * 100_000 + b"\r\n"):
            assert post(server, head + b"Transfer-Encoding: chunked", chunk) in (400, 404, 413, 431, None), chunk[:20]
        for odd in (b"GET /health\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"\r\n" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000, b"GET / HTTP/1.1\r\nHost: a\nHost: b\r\n\r\n", bytes(range(256)) * 40, b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n"):
            post(server, odd)


def test_39_base64_junk_and_padding(server):
    wasm = base64.b64encode(b"\0asm\1\0\0\0").decode()
    for text in (wasm + "=", wasm + "====", wasm[:-1], wasm + "\0", wasm + " " * 1_000_000, "=" * 1000, "A", "é" * 100, wasm.replace("A", "-"), wasm + "\n" + wasm, "A" * 1_000_001):
        answer = host.execute(server, "code_executor", wasm_base64=text)
        assert answer["status"] in ("INVALID_ARGUMENT", "INVALID_MODULE"), (text[:20], answer)


def test_39_more_than_there_is_room_for(server):
    """Sends gigabytes, as fast as it goes, to where some megabytes are allowed."""
    head = b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5368709120"
    with bearing(server):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
            s.sendall(head + b"\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(400):
                    s.sendall(bytes(1 << 20))


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def test_39_protobuf_bombs(server, slow):
    """Depth, lengths and varints that lie; the message is for ExecuteTool."""
    value = b"\x12\x00"
    for _ in range(100_000 // slow):  # Value.struct_value.fields[""].value..., each in the last
        if len(value) > 300_000:
            break
        entry = b"\x12" + varint(len(value)) + value
        struct_ = b"\x0a" + varint(len(entry)) + entry
        value = b"\x2a" + varint(len(struct_)) + struct_
    deep = b"\x12" + varint(len(value)) + value
    messages = {
        "deep": deep, "a length of 2 GiB": b"\x0a" + varint((1 << 31) - 1) + b"x", "a length of 16 EiB": b"\x0a" + b"\xff" * 9 + b"\x01x",
        "a varint of 11 bytes": b"\x08" + b"\xff" * 11, "groups": b"\x0b" * 100_000, "an end without begin": b"\x0c", "field 0": b"\0\0",
        "packed without end": b"\x0a" + varint(5000) + b"\xff" * 5000, "a million unknown fields": b"\xf8\x7f\x01" * 1_000_000, "cut": b"\x0a\x05ab",
    }
    with bearing(server):
        for name, message in messages.items():
            connection = http2.Connection(server.grpc)
            connection.send(frame(HEADERS, END_HEADERS, 1, http2.call()))
            data = struct.pack(">BI", 0, len(message)) + message
            for i in range(0, len(data), 16_000):
                if not connection.send(frame(DATA, END_STREAM if i + 16_000 >= len(data) else 0, 1, data[i:i + 16_000])):
                    break
            time.sleep(0.05)
            connection.drain()
            connection.close()
        connection = http2.Connection(server.grpc)
        connection.send(frame(HEADERS, END_HEADERS, 1, http2.call()) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"))
        for _ in range(1000):  # a message of 4 GiB, begun
            if not connection.send(frame(DATA, 0, 1, bytes(16_000))):
                break
        connection.close()
