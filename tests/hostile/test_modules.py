"""Promise: no module, whatever it is, hurts the compiler's host; what cannot be run is refused with a clear code; and others'
modules are compiled meanwhile. Cases 28 and 29 of the hostile list, and the engine's bugs of section 1.1."""
import concurrent.futures
import json
import pathlib
import time

import modules
import pytest
from server import resident_kib

pytestmark = pytest.mark.usefixtures("standing")
HELLO = pathlib.Path(__file__).parents[2] / "docs/assets/hello-wasi.wat"


def verdict(server, path, *options):
    done = server.run("run", "--stats=json", "--timeout", "2s", *options, path, timeout=180)
    return json.loads(done.err.splitlines()[-1])


@pytest.mark.parametrize("name", modules.BOMBS)
def test_28_compile_bomb(server, tmp_path, name):
    """Ends in an answer; a small module of somebody else is compiled and run meanwhile."""
    (tmp_path / "bomb.wasm").write_bytes(modules.BOMBS[name]())
    (tmp_path / "good.wat").write_text(HELLO.read_text() + f"(; {name} {time.time_ns()} ;)")
    before = resident_kib(server.pid)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        bomb = pool.submit(verdict, server, tmp_path / "bomb.wasm")
        good = server.run("run", tmp_path / "good.wat")
        assert good.out == "Hello from WASI!\n", good.err
        assert bomb.result()["status"] in ("OK", "INVALID_MODULE", "MODULE_TOO_LARGE", "TIMEOUT"), bomb.result()
    assert resident_kib(server.pid) - before < 200 << 10


def test_28_truncated_at_each_byte(server, tmp_path):
    whole = modules.module(data=[b"text"])
    whole_too = len(modules.module())  # the data come last: without all of them, it is a module as well
    for cut in range(len(whole)):
        (tmp_path / "cut.wasm").write_bytes(whole[:cut])
        assert (verdict(server, tmp_path / "cut.wasm")["status"] == "OK") == (cut == whole_too), cut
    (tmp_path / "whole.wasm").write_bytes(whole)
    assert verdict(server, tmp_path / "whole.wasm")["status"] == "OK"


def test_28_each_bit_flipped(server, tmp_path, slow):
    """Of a small module: whatever comes out, it is an answer."""
    whole = modules.module([b"\0\x41\0\x28\2\0\x1a\x0b"], data=[b"text"])
    for bit in range(0, 8 * len(whole), 1 if slow == 1 else 7):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "flip.wasm").write_bytes(damaged)
        assert verdict(server, tmp_path / "flip.wasm")["status"] in ("OK", "INVALID_MODULE", "TRAP", "MEMORY_LIMIT")
    assert server.run("run", HELLO).out == "Hello from WASI!\n"


def leb(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


@pytest.mark.parametrize("count", (150000, 150001))
def test_28_functions_without_end(server, tmp_path, count):
    """Empty ones: four bytes of the module each, and five kilobytes of the compiler."""
    sections = ((1, b"\1\x60\0\0"), (3, leb(count) + bytes(count)), (10, leb(count) + b"\2\0\x0b" * count))
    (tmp_path / "many.wasm").write_bytes(b"\0asm\1\0\0\0" + b"".join(bytes([number]) + leb(len(body)) + body for number, body in sections))
    said = verdict(server, tmp_path / "many.wasm")["error"]["message"]
    assert (f"it has {count} functions" in said) == (count > 150000), said


START = '(func (export "_start"))'
REFUSED = {
    "memory64": f"(memory i64 1) {START}",
    "shared memory": f"(memory 1 1 shared) {START}",
    "two memories": f"(memory 1) (memory 1) {START}",
    "gc": f"(type (struct (field i32))) {START}",
    "exceptions": f"(tag) {START}",
    "tail calls": f'(func $f (return_call $f)) {START}',
    "function references": f"(type $t (func)) (func (param (ref $t))) {START}",
    "relaxed simd": f"(func (param v128) (result v128) local.get 0 i32x4.relaxed_trunc_f32x4_s) {START}",
    "atomics": f"(memory 1) (func (drop (i32.atomic.load (i32.const 0)))) {START}",
    "an unknown import": f'(import "env" "system" (func)) {START}',
    "an unknown WASI function": f'(import "wasi_snapshot_preview1" "proc_exec" (func)) {START}',
    "a WASI function of another type": f'(import "wasi_snapshot_preview1" "fd_write" (func (param i64))) {START}',
    "a memory from outside": f'(import "env" "memory" (memory 1)) {START}',
    "no _start": '(func (export "main"))',
    "_start with parameters": '(func (export "_start") (param i32))',
    "_start that is a memory": '(memory (export "_start") 1)',
    "a huge table of 64 bits": f"(table i64 0x1000000000000000 funcref) {START}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_29_bad_module(server, tmp_path, name):
    (tmp_path / "bad.wat").write_text(f"(module {REFUSED[name]})")
    said = verdict(server, tmp_path / "bad.wat")
    assert said["status"] in ("INVALID_MODULE", "NOT_FOUND"), said["error"]
    assert len(said["error"]["message"]) > 20


def test_29_other_kinds_of_files(server, tmp_path):
    """A component, native code, nothing, text."""
    for content in (b"\0asm\x0d\0\1\0", b"\0asm\2\0\0\0", b"\x7fELF" + bytes(100), b"", b"print('hello')", b"\0" * 1000):
        (tmp_path / "bad.wasm").write_bytes(content)
        assert verdict(server, tmp_path / "bad.wasm")["status"] == "INVALID_MODULE"


def test_29_start_functions_are_under_the_deadline(server, tmp_path):
    for body in ("(loop $l (br $l))", "(unreachable)"):
        (tmp_path / "s.wat").write_text(f'(module (func $s {body}) (start $s) {START})')
        said = verdict(server, tmp_path / "s.wat", "--timeout", "300ms")
        assert said["status"] == ("TIMEOUT" if "loop" in body else "TRAP")


def test_loads_beyond_the_end_of_memory(server, tmp_path):
    """CVE-2026-24116, CVE-2026-34944, CVE-2023-26489: each kind of access at and past the end, with each offset, is a trap."""
    for op in ("i32.load8_u", "i64.load", "f64.load", "v128.load", "v128.load64_splat", "v128.load8x8_s"):
        for address, offset in ((65536, 0), (65535, 1), (0, 65536), (0xFFFFFFFF, 0), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)):
            (tmp_path / "m.wat").write_text(f'(module (memory 1) (func (export "_start") (drop ({op} offset={offset} (i32.const {address})))))')
            said = verdict(server, tmp_path / "m.wat")
            assert said["status"] == "TRAP" and "out of bounds" in said["error"]["message"], (op, address, offset, said)
    for op, kind in (("f64.copysign", "f64"), ("f64x2.splat", "v128")):  # at the very end, allowed
        value = ("(f64.copysign (f64.load (i32.const 65528)) (f64.const -1))" if kind == "f64"
                 else "(f64x2.splat (f64.load (i32.const 65528)))")
        (tmp_path / "m.wat").write_text(f'(module (memory 1) (func (export "_start") (drop {value})))')
        assert verdict(server, tmp_path / "m.wat")["status"] == "OK", op
