"""Promise: no numbers in a call, and no number of calls, hurt the host or others. Cases 12 to 19 of the hostile list, and the
classes of bugs that other WASI hosts had. The guest is guest/calls.c, and a module made here for what no compiler would emit."""
import json
import re

import host
import pytest
from server import resident_kib

pytestmark = pytest.mark.usefixtures("standing")
LIMIT_FD = 256  # descriptors of a run, unless it asks for others


@pytest.fixture
def attack(server, world, guest):
    def go(*args, timeout="20s", status="OK", options=()):
        before = resident_kib(server.pid), resident_kib(server.front)
        done = server.run("run", "--stats=json", "--timeout", timeout, *options, "--dir", f"{world.rw}::/w:rw", guest("calls"), "--",
                          *map(str, args), timeout=180)
        stats = json.loads(done.err.splitlines()[-1])
        assert stats["status"] == status, stats
        world.check()
        after = resident_kib(server.pid), resident_kib(server.front)
        assert max(a - b for a, b in zip(after, before)) < 40 << 10, "the server took the memory"
        done.stats = stats
        return done

    return go


def test_12_renumber_storm(attack, slow):
    out = attack("renumber", 200_000 // slow, timeout="60s").out
    assert f"renumbered {200_000 // slow}, refused 100" in out or re.search(r"renumbered \d+, refused (9\d|100)", out), out
    assert "self 0" in out


def test_13_fd_flood(attack):
    opened, errno = map(int, re.search(r"opened (\d+), then errno (\d+)", attack("flood", 1_000_000, timeout="60s").out).groups())
    assert (opened < LIMIT_FD * 8, errno) == (True, 33)  # EMFILE


EDGES = [0, 1, 8, 65528, 65535, 65536, 4 * 65536 - 8, 4 * 65536 - 1, 4 * 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF]
SIGNATURES = {
    "args_get": "ii", "args_sizes_get": "ii", "environ_get": "ii", "environ_sizes_get": "ii", "clock_res_get": "ii",
    "clock_time_get": "iIi", "fd_advise": "iIIi", "fd_allocate": "iII", "fd_datasync": "i", "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii", "fd_filestat_get": "ii", "fd_filestat_set_size": "iI", "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi", "fd_prestat_get": "ii", "fd_prestat_dir_name": "iii", "fd_pwrite": "iiiIi", "fd_read": "iiii",
    "fd_readdir": "iiiIi", "fd_renumber": "ii", "fd_seek": "iIii", "fd_sync": "i", "fd_tell": "ii", "fd_write": "iiii",
    "path_create_directory": "iii", "path_filestat_get": "iiiii", "path_filestat_set_times": "iiiiIIi", "path_link": "iiiiiii",
    "path_open": "iiiiiIIii", "path_readlink": "iiiiii", "path_remove_directory": "iii", "path_rename": "iiiiii",
    "path_symlink": "iiiii", "path_unlink_file": "iii", "poll_oneoff": "iiii", "random_get": "ii", "sched_yield": "",
    "sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii", "sock_shutdown": "ii", "fd_close": "i",
    "fd_fdstat_set_rights": "iII",
}


def edges_module(times, seed):
    """Calls every function with numbers from the edges, in WebAssembly's own text: what it does to its memory must not matter."""
    wasm = {"i": "i32", "I": "i64"}
    lines = ["(module"]
    for name, params in SIGNATURES.items():
        lines.append(f'(import "wasi_snapshot_preview1" "{name}" (func ${name} '
                     + (f'(param {" ".join(wasm[p] for p in params)})' if params else "") + " (result i32)))")
    lines.append('(memory (export "memory") 4) (global $r (mut i32) (i32.const ' + str(seed) + '))')
    lines.append("""(func $next (result i32)
        (global.set $r (i32.xor (global.get $r) (i32.shl (global.get $r) (i32.const 13))))
        (global.set $r (i32.xor (global.get $r) (i32.shr_u (global.get $r) (i32.const 17))))
        (global.set $r (i32.xor (global.get $r) (i32.shl (global.get $r) (i32.const 5)))) (global.get $r))""")
    select = "(call $next)"
    for i, edge in enumerate(EDGES):
        select = f"(select (i32.const {edge}) {select} (i32.eq (local.get $k) (i32.const {i})))"
    lines.append(f"(func $edge (result i32) (local $k i32) (local.set $k (i32.rem_u (call $next) (i32.const {len(EDGES) + 2}))) {select})")
    lines.append("(func $fd (result i32) (select (i32.rem_u (call $next) (i32.const 12)) (call $edge) (i32.and (call $next) (i32.const 3))))")
    lines.append("(func $wide (result i64) (i64.or (i64.extend_i32_u (call $edge)) (i64.shl (i64.extend_i32_u (call $edge)) (i64.const 32))))")
    lines.append('(func (export "_start") (local $n i32) (drop (call $fd_close (i32.const 1))) (drop (call $fd_close (i32.const 2)))')
    lines.append(f"(local.set $n (i32.const {times})) (loop $again")
    for name, params in SIGNATURES.items():
        if name == "poll_oneoff":  # else the garbage in memory would be long times to sleep
            lines.append("(memory.fill (i32.const 0) (i32.const 0) (i32.const 262144))")
        values = " ".join("(call $fd)" if i == 0 and p == "i" else "(call $edge)" if p == "i" else "(call $wide)"
                          for i, p in enumerate(params))
        if name in ("fd_close", "fd_fdstat_set_rights"):  # seldom, or nothing would be left to try
            lines.append(f"(if (i32.eqz (i32.rem_u (local.get $n) (i32.const 97))) (then (drop (call ${name} {values}))))")
        else:
            lines.append(f"(drop (call ${name} {values}))")
    lines.append("(br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))")
    return "\n".join(lines) + ")"


def test_14_ptr_edge(server, world, tmp_path_factory, slow):
    for seed in (2463534242, 88675123, 521288629):
        module = tmp_path_factory.mktemp("edges") / "edges.wat"
        module.write_text(edges_module(30_000 // slow, seed))
        done = server.run("run", "--stats=json", "--timeout", "60s", *world.options(), module, timeout=120)
        stats = json.loads(done.err.splitlines()[-1])
        assert (stats["status"], stats["exit_code"]) == ("OK", 0), stats
        world.check(done.out)


def test_15_iov_bomb(attack):
    out = attack("buffers").out
    assert re.search(r"write 1024: 0 \d+", out), out
    assert all(f"write {n}: 28 0" in out for n in (1025, 4096, 1 << 28, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)), out  # EINVAL
    assert not re.search(r"(long|past the end): 0", out)


def test_16_poll_bomb(attack):
    answers = dict(re.findall(r"poll (\d+): (\d+)", (out := attack("polls").out)))
    assert [n for n, e in answers.items() if e == "0"] == ["1", "1024", "1025"], out
    assert "overlapping: 0" in out and "grown: 0" in out and "at the end: 21 21" in out  # EFAULT


def test_17_poll_sleep(attack):
    done = attack("asleep", timeout="500ms", status="TIMEOUT")
    assert done.out == "odd clocks done\n"
    assert 450 <= done.stats["usage"]["wall_ms"] < 500 + host.LATE_MS


def test_18_random_4g(attack):
    done = attack("randoms", timeout="500ms", status="TIMEOUT")
    assert "4 GiB: 0" not in done.out and "past the end: 0" not in done.out
    assert done.stats["usage"]["wall_ms"] < 500 + host.LATE_MS


def test_19_readdir_leak(attack):
    assert attack("leaks").out == "listed 1, beyond 0\ngaps are zero\n"


def test_streams_that_are_closed_cost_nothing(attack):
    """GHSA-gqmc-89g8-p25r."""
    assert attack("closed", 3000).stats["exit_code"] == 0


def test_times_of_no_calendar(attack, world):
    """GHSA-mr2v-56j5-cmfc: before the epoch, and far beyond."""
    import os

    (world.rw / "from-1960").touch()
    os.utime(world.rw / "from-1960", (-315619200, -315619200))
    out = attack("times").out
    assert len(re.findall(r"^time \d: \d+$", out, re.M)) == 5 and re.search(r"^old: (0|61)$", out, re.M), out
