"""Promise: in deterministic mode the same job gives the same bytes, however often, in whatever company, and on processors of
different features. POLYAGENT_RUNS=1000 (make determinism) says how often each program is run."""
import collections
import concurrent.futures
import hashlib
import os

import pytest
from program import BUILD, run
from server import Server

RUNS = int(os.environ.get("POLYAGENT_RUNS", "40"))

PYTHON = r"""
import collections, datetime, hashlib, json, math, os, random, secrets, sys, tempfile, time, uuid
print(random.random(), random.sample(range(10 ** 9), 5), random.gauss(0, 1))
print(os.urandom(16).hex(), secrets.token_hex(8), uuid.uuid4(), uuid.uuid1())
print(time.time(), time.monotonic(), time.perf_counter_ns(), datetime.datetime.now(), time.process_time())
time.sleep(3600)
print(time.time())
print(hash("text"), hash((1, "a", 2.5)), {"b", "a", "c", "d" * 20}, [id(object()) % 16])
print([math.sin(x / 7) * math.exp(x / 9) + math.pow(x, 1.7) for x in range(40)], math.fsum([0.1] * 10), float("nan"), -float("inf"))
print(sum(x ** 0.5 for x in range(10000)), 1e308 * 10, 5e-324 / 2, 2 ** 0.5, 10 ** 40 // 7, round(2.675, 2))
import struct
print(struct.pack("<d", float("inf") - float("inf")).hex(), struct.pack("<f", float("nan") * -1).hex())
for i in range(30):
    open(f"/w/{(i * 7) % 30}", "w").write("x")
print(os.listdir("/w"), sorted(os.stat("/w/3")[:7])[:2], tempfile.gettempprefix(), sys.flags.hash_randomization)
print(collections.Counter(random.choices("abc", k=1000)), json.dumps({"k": [1.1, None, True]}))
print(hashlib.sha256(b"".join(os.urandom(1000) for _ in range(50))).hexdigest())
"""
JAVASCRIPT = """
console.log(Math.random(), Math.random(), Date.now(), new Date().toISOString());
console.log([3, 1, 2].sort(), Object.keys({b: 1, a: 2, 3: 4}), [..."text"].map(c => c.charCodeAt(0)));
let s = 0; for (let i = 1; i < 5000; i++) s += Math.sin(i) / Math.sqrt(i) + Math.atan2(i, 3) ** 1.1;
console.log(s, 0 / 0, Math.exp(700) * 1e10, 0.1 + 0.2, new Float64Array([NaN, 1 / 0]));
"""
# Bits of NaNs that processors make differently, rounding, conversions, vectors, clock and random numbers; all written as bytes.
MODULE = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (global $at (mut i32) (i32.const 1024))
  (func $f64 (param f64) (f64.store (global.get $at) (local.get 0)) (global.set $at (i32.add (global.get $at) (i32.const 8))))
  (func $f32 (param f32) (f32.store (global.get $at) (local.get 0)) (global.set $at (i32.add (global.get $at) (i32.const 4))))
  (func $v128 (param v128) (v128.store (global.get $at) (local.get 0)) (global.set $at (i32.add (global.get $at) (i32.const 16))))
  (func (export "_start") (local $i i32) (local $x f64)
    (call $f64 (f64.div (f64.const 0) (f64.const 0))) (call $f64 (f64.sub (f64.const inf) (f64.const inf)))
    (call $f64 (f64.mul (f64.const 0) (f64.const inf))) (call $f64 (f64.sqrt (f64.const -1))) (call $f64 (f64.min (f64.const nan:0x4000000000001) (f64.const 1)))
    (call $f32 (f32.div (f32.const 0) (f32.const 0))) (call $f32 (f32.demote_f64 (f64.const nan:0xc000000000001))) (call $f32 (f32.add (f32.const nan:0x200001) (f32.const 1)))
    (call $v128 (f32x4.div (v128.const f32x4 0 1 -1 inf) (v128.const f32x4 0 0 0 inf))) (call $v128 (f64x2.sqrt (v128.const f64x2 -1 2)))
    (call $v128 (i8x16.swizzle (v128.const i32x4 0x01020304 0x05060708 9 10) (v128.const i32x4 0x0f0e0d0c 0x80818283 0x00010203 0x10111213)))
    (call $v128 (f32x4.nearest (v128.const f32x4 0.5 1.5 -2.5 1e10))) (call $v128 (i32x4.trunc_sat_f32x4_s (v128.const f32x4 nan 1e20 -1e20 3.9)))
    (local.set $x (f64.const 1))
    (loop $again
      (local.set $x (f64.add (f64.div (f64.sqrt (f64.mul (local.get $x) (f64.const 1.7))) (f64.const 3.3)) (f64.nearest (f64.mul (local.get $x) (f64.const 0.77)))))
      (call $f64 (local.get $x)) (call $f64 (f64.floor (f64.mul (local.get $x) (f64.const -13.5))))
      (call $f64 (f64.convert_i64_u (i64.popcnt (i64.reinterpret_f64 (local.get $x)))))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300))))
    (drop (call $random (global.get $at) (i32.const 256))) (global.set $at (i32.add (global.get $at) (i32.const 256)))
    (drop (call $clock (i32.const 0) (i64.const 1) (global.get $at))) (global.set $at (i32.add (global.get $at) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.sub (global.get $at) (i32.const 1024)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""


def digest(done):
    assert done.returncode == 0, done.err
    return hashlib.sha256(done.stdout + done.stderr).hexdigest()


@pytest.fixture
def programs(tmp_path):
    """Name: the arguments that run it."""
    (tmp_path / "m.wat").write_text(MODULE)
    (tmp_path / "p.py").write_text(PYTHON)
    (tmp_path / "p.js").write_text(JAVASCRIPT)

    def python(n):
        folder = tmp_path / "w" / str(n)
        folder.mkdir(parents=True)
        return ["python", "--deterministic=7", "--dir", f"{folder}::/w:rw", tmp_path / "p.py"]

    return {"python": python, "javascript": lambda n: ["js", "--deterministic=7", tmp_path / "p.js"],
            "module": lambda n: ["run", "--deterministic=7", tmp_path / "m.wat"]}


@pytest.mark.parametrize("name", ["python", "javascript", "module"])
def test_one_digest(tmp_path, programs, name):
    """Many at once on a server that serves others as well, and a few without one."""
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", "--spare", "2")
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            seen = collections.Counter(pool.map(lambda n: digest(server.run(*programs[name](n))), range(RUNS)))
    finally:
        server.stop()
    seen.update(digest(run(args[0], "--local", *args[1:])) for args in (programs[name](RUNS + i) for i in range(3)))
    assert len(seen) == 1 and sum(seen.values()) == RUNS + 3, seen


def test_another_seed_is_another_result(programs):
    for name in ("python", "module"):  # JavaScript's Math.random() begins with the clock, which is always the same
        args = programs[name]("seed")
        other = [("--deterministic=8" if a == "--deterministic=7" else a) for a in programs[name]("other")]
        assert digest(run(*args)) != digest(run(*other)), name


@pytest.mark.parametrize("name", ["python", "javascript", "module"])
def test_on_processors_of_other_features(tmp_path, programs, name):
    """Compiled for this machine, and for one that has what all have."""
    env = {**os.environ, "POLYAGENT_STATE_DIR": str(tmp_path / "state")}
    seen = []
    for kind, helper in (("here", BUILD / "src/polyagent-worker"), ("baseline", BUILD / "tests/e2e/baseline-worker")):
        args = programs[name](kind)
        seen.append(digest(run(args[0], "--local", *args[1:], env={**env, "POLYAGENT_CACHE_DIR": str(tmp_path / kind), "POLYAGENT_HELPER": str(helper)},
                               timeout=300)))
    entries = [{p.name: p.read_bytes() for p in (tmp_path / kind).glob("*.cwasm")} for kind in ("here", "baseline")]
    assert entries[0].keys() == entries[1].keys() and all(entries[0][n] != entries[1][n] for n in entries[0]), "the same code: nothing was shown"
    assert seen[0] == seen[1]
