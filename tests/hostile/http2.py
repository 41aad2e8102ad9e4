"""HTTP/2 by hand (RFC 9113): frames that no client library would send."""
import contextlib
import socket
import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def text(value):
    """A string literal (RFC 7541, section 5.2) of less than 127 bytes, or more."""
    data = value if isinstance(value, bytes) else value.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, out = len(data) - 127, b"\x7f"
    while rest >= 128:
        out += bytes([rest & 127 | 128])
        rest >>= 7
    return out + bytes([rest]) + data


def header(name, value):
    return b"\0" + text(name) + text(value)  # literal, not indexed


def call(path="/polyagent.agent.AgentService/ExecuteTool", more=b""):
    """The header block of a gRPC call."""
    return (header(":method", "POST") + header(":scheme", "http") + header(":path", path) + header(":authority", "localhost")
            + header("te", "trailers") + header("content-type", "application/grpc") + more)


class Connection:
    """Past the preface. What the other side says is drained and dropped."""

    def __init__(self, address, preface=True):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.alive, self.said = True, bytearray()
        if preface:
            self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data):
        """False once the other side has had enough."""
        try:
            self.socket.settimeout(20)
            self.socket.sendall(data)
            self.drain()
        except OSError:
            self.alive = False
        return self.alive

    def drain(self):
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while chunk := self.socket.recv(1 << 16):
                self.said += chunk
                del self.said[:-(1 << 16)]
            self.alive = False
        self.socket.settimeout(20)

    def close(self):
        self.socket.close()
