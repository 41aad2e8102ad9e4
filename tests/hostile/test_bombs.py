"""Promise: a run that wants all time, memory, stack, output or disk ends at its limit with the status that says so, and neither
the server nor anybody else notices more than that. Cases 20 to 25 of the hostile list."""
import json
import os
import re
import subprocess

import host
import pytest
from program import POLYAGENT
from server import resident_kib

pytestmark = pytest.mark.usefixtures("standing")


@pytest.fixture
def bomb(server, tmp_path):
    """Throws one, expects its status, and sees to it that a good run goes well beside and after."""

    def throw(*args, status, wat=None, timeout_ms=1000, options=(), **more):
        if wat:
            (tmp_path / "bomb.wat").write_text(f"(module {wat})")
            args = ("run", "--stats=json", "--timeout", f"{timeout_ms}ms", *options, tmp_path / "bomb.wat")
        else:
            args = ("python", "--stats=json", "--timeout", f"{timeout_ms}ms", *options, "-c", *args)
        before = resident_kib(server.pid)
        done = server.run(*args, **more)
        done.stats = json.loads(done.err.splitlines()[-1])
        assert done.stats["status"] == status, done.stats
        assert done.stats["usage"]["wall_ms"] < timeout_ms + host.LATE_MS
        assert resident_kib(server.pid) - before < 40 << 10
        assert server.python("print(1 + 1)").out == "2\n"
        return done

    return throw


START = '(func (export "_start") '


@pytest.mark.parametrize("wat", [
    f'{START}(loop $l (br $l)))',
    f'(memory (export "memory") 16384) {START}(loop $l (memory.copy (i32.const 0) (i32.const 8) (i32.const 0x3fffff00)) (br $l)))',
    f'(memory (export "memory") 16384) {START}(loop $l (memory.fill (i32.const 0) (i32.const 8) (i32.const 0x3fffffff)) (br $l)))',
    f'(import "wasi_snapshot_preview1" "sched_yield" (func $y (result i32))) {START}(loop $l (drop (call $y)) (br $l)))',
], ids=["loop", "memory.copy", "memory.fill", "yield"])
def test_20_time_bomb(bomb, wat):
    bomb(wat=wat, status="TIMEOUT", options=("--memory", "1G"))


@pytest.mark.parametrize("code", [
    "while True: pass", "import re; re.match('(a*)*b', 'a' * 64)", "10 ** 10 ** 8", "sum(range(10 ** 12))",
    "import time\nwhile True:\n    try: time.sleep(10 ** 6)\n    except BaseException: pass",
    "import sys\nsys.settrace(lambda *a: a)\nwhile True: pass",
    "class A:\n    def __del__(self):\n        while True: pass\nA()",
    "import atexit\n@atexit.register\ndef f():\n    while True: pass",
])
def test_20_time_bomb_in_python(bomb, code):
    bomb(code, status="TIMEOUT")


def test_21_mem_bomb(bomb):
    grow = f'(memory (export "memory") 1) {START}(loop $l (br_if $l (i32.ne (memory.grow (i32.const %d)) (i32.const -1)))) unreachable)'
    for step in (1, 4096, 65535):
        done = bomb(wat=grow % step, status="MEMORY_LIMIT", timeout_ms=20000)
        assert done.stats["usage"]["peak_memory_bytes"] <= 256 << 20
    bomb(wat=f'(memory 65536) {START})', status="MEMORY_LIMIT")
    bomb(wat=f'(table 4294967295 funcref) {START})', status="INVALID_MODULE")
    assert "table" in bomb(wat=f'(table 9000000 funcref) {START})', status="INVALID_MODULE").stats["error"]["message"]
    for code in ("x = 'a' * 10 ** 10", "x = [0] * 10 ** 9"):  # no number of bytes, for 32 bits: it did not get to ask
        assert "Error" in bomb(code, status="OK").err
    for code in ("x = 'a' * 10 ** 9", "x = []\nwhile True: x.append('a' * 10 ** 6)", "x = b'a'\nwhile True: x += x"):
        done = bomb(code, status="MEMORY_LIMIT", timeout_ms=20000)
        assert done.returncode in (1, 137) and "MemoryError" in done.err


def test_22_stack_bomb(bomb):
    assert "stack" in bomb(wat=f'(func $f (call $f)) {START}(call $f))', status="TRAP").stats["error"]["message"]
    deepest = """(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\01\\00\\00\\00") (data (i32.const 16) "x")
        (func $f (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (call $f))"""
    done = bomb(wat=f'{deepest} {START}(call $f))', status="TRAP", timeout_ms=20000)
    assert set(done.out) == {"x"}
    done = bomb("def f(): f()\nf()", status="OK")
    assert done.returncode == 1 and "RecursionError" in done.err
    bomb("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()", status="TIMEOUT", timeout_ms=2000)
    bomb("import sys\nsys.setrecursionlimit(10 ** 9)\nx = ()\nfor _ in range(10 ** 6): x = (x,)\nrepr(x)", status="OK", timeout_ms=20000)
    bomb("exec('(' * 10 ** 5 + ')' * 10 ** 5)", status="OK")


def test_23_output_bomb(bomb, server, guest):
    done = server.run("run", "--stats=json", "--timeout", "20s", guest("calls"), "--", "output", "0")
    stats = json.loads(done.err.splitlines()[-1])
    assert (stats["status"], len(done.out)) == ("OUTPUT_LIMIT", 1 << 20) and stats["stdout_truncated"]
    done = server.run("run", "--stats=json", "--timeout", "60s", guest("calls"), "--", "output", "1")
    stats = json.loads(done.err.splitlines()[-1])
    assert (stats["status"], len(done.out)) == ("OUTPUT_LIMIT", 1 << 20)
    bomb("while True: print('x' * 10 ** 6, end='')", status="OUTPUT_LIMIT", timeout_ms=20000)
    bomb("import sys\nwhile True: sys.stderr.write('x' * 10 ** 6)", status="OUTPUT_LIMIT", timeout_ms=20000)


def test_23_output_bomb_with_a_closed_reader(server, guest):
    """Whoever read the output is gone: so is the run."""
    with subprocess.Popen([POLYAGENT, "run", "--output-limit", "0", "--timeout", "60s", guest("calls"), "--", "output", "0"],
                          env=server.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert len(run.stdout.read(100_000)) == 100_000
        run.stdout.close()
        run.wait(30)


def test_24_disk_bomb(server, world, guest):
    free = os.statvfs(world.top)
    done = server.run("run", "--timeout", "60s", "--dir", f"{world.rw}::/w:rw", guest("calls"), "--", "disk", timeout=90)
    facts = dict(line.rsplit(": ", 1) for line in done.out.splitlines() if ": " in line)
    assert all(int(e) in (19, 22, 28, 51) for e in facts.values()), facts  # EDQUOT, EFBIG, EINVAL, ENOSPC
    limit = 256 << 20
    assert 0 < int(done.out.rsplit("wrote ", 1)[1]) <= limit
    size = os.stat(world.rw / "big")
    assert size.st_size <= limit and size.st_blocks * 512 <= limit + (1 << 20)
    assert (free.f_bavail - os.statvfs(world.top).f_bavail) * free.f_frsize < limit + (64 << 20)
    world.check(done.out)


def test_25_inode_bomb(server, world, guest):
    done = server.run("run", "--timeout", "60s", "--dir", f"{world.rw}::/w:rw", guest("calls"), "--", "inodes", 6000, timeout=90)
    assert "no UTF-8: 25" in done.out  # EILSEQ
    names = os.listdir(world.rw)
    deep, made = map(int, re.search(r"deep (\d+), made (\d+)", done.out).groups())
    assert 1000 < made < 6000 and deep + made + 9 == 10_000, done.out  # workspace_inodes
    assert {"new\nline", "esc\x1b[2Jape", "-rf"} <= set(names)
    world.check(done.out)
    subprocess.run(["rm", "-rf", "--", world.rw / "d"], check=True)  # too deep for Python


def test_25_inode_bomb_in_a_session(server):
    """Whatever it made can be listed, and goes."""
    session = host.execute(server, "session_open")["session_id"]
    made = host.python(server, """
import os
os.chdir('/workspace')
for name in ('new\\nline', 'esc\\x1b[2Jape', '-rf', 'n' * 255, 'é'): open(name, 'w').close()
try:
    for i in range(10 ** 6): open(f'f{i}', 'w').close()
except OSError as e: print(i, e.errno)
""", session_id=session, execution_timeout_ms=60000)
    assert made["status"] == "OK" and made["stdout"].split()[1] in ("19", "51"), made
    status, listing = server.ask("GET", f"/sessions/{session}/files")
    assert status == 200 and json.dumps(listing).count('"path"') >= 1000
    assert server.ask("DELETE", f"/sessions/{session}")[0] == 200
    assert not (server.log.parent / "sessions" / session).exists()
