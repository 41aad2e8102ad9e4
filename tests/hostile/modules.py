"""WebAssembly's binary form, by hand: modules that no compiler makes."""


def leb(n):
    out = b""
    while True:
        n, low = n >> 7, n & 0x7F
        if n == 0:
            return out + bytes([low])
        out += bytes([low | 0x80])


def section(number, content):
    return bytes([number]) + leb(len(content)) + content


def vector(items):
    items = list(items)
    return leb(len(items)) + b"".join(items)


def module(bodies=(b"\x00\x0b",), data=(), memory=True, more=b""):
    """A module of functions without parameters, of which the first is _start. Bodies have their locals in front."""
    parts = [b"\0asm\1\0\0\0", section(1, vector([b"\x60\0\0"])), section(3, vector([b"\0"] * len(bodies)))]
    if memory:
        parts.append(section(5, b"\1\0\1"))
    exports = [b"\6_start\0\0"] + ([b"\6memory\2\0"] if memory else [])
    parts += [section(7, vector(exports)), more, section(10, vector(leb(len(b)) + b for b in bodies))]
    if data:
        parts.append(section(11, vector(b"\0\x41\0\x0b" + leb(len(d)) + d for d in data)))
    return b"".join(parts)


BOMBS = {
    "50 MB of data": lambda: module() + section(0, b"\4name" + bytes(50_000_000)),
    "7 MB of nested blocks": lambda: module([b"\0" + b"\2\x40" * 1_700_000 + b"\x0b" * 1_700_001]),
    "a million blocks": lambda: module([b"\0" + b"\2\x40\x0b" * 1_000_000 + b"\x0b"]),
    "50,000 locals of each kind": lambda: module([b"\4" + b"".join(leb(12_000) + t for t in (b"\x7f", b"\x7e", b"\x7d", b"\x7c")) + b"\x0b"]),
    "a million locals": lambda: module([b"\1" + leb(1_000_000) + b"\x7f\x0b"]),
    "300,000 functions": lambda: module([b"\0\x0b"] * 300_000),
    "a million branches": lambda: module([b"\0\2\x40\x41\0\x0e" + leb(1_000_000) + b"\0" * 1_000_001 + b"\x0b\x0b"]),
    "100,000 data segments": lambda: module(data=[b"x"] * 100_000),
    "a megabyte of arithmetic": lambda: module([b"\0\x41\1" + b"\x41\1\x6a" * 350_000 + b"\x1a\x0b"]),
    "200,000 values on the stack": lambda: module([b"\0" + b"\x41\1" * 200_000 + b"\x1a" * 200_000 + b"\x0b"]),
    "a length of 4 GiB": lambda: b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f",
    "noise": lambda: b"\0asm\1\0\0\0" + bytes((i * 7919) & 255 for i in range(100_000)),
}
