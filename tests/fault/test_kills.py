"""Promise: whatever process is killed, and whenever, what was acknowledged is there afterwards, the server goes on or starts again at
once, and nothing stays behind. kill -9 at random points of each kind of process; 1,000 times by `make faults`, fewer otherwise.
Beside it: files that are damaged, disks that are full, clocks that jump, descriptors that run out."""
import base64
import collections
import hashlib
import http.client
import os
import pathlib
import random
import signal
import subprocess
import socket
import threading
import time

import pytest
from program import BUILD, ROOT
from server import Server, becomes, children, falls_to, zombies

KILLS = 1000 if os.environ.get("POLYAGENT_FAULTS") == "all" else 60
HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"


def ask(server, method, path, body=None):
    """Status and answer; (0, None) if the connection was cut."""
    try:
        return server.ask(method, path, body)
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None


def python(server, code, **more):
    return ask(server, "POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": code, **more}})


def kind_of(pid):
    """Of a child of the supervisor."""
    line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    if b"front" in line:
        return "front"
    if b"compiler" in line:
        return "compiler"
    ids = [row.split()[1:] for row in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("NSpid:")][0]
    return "worker" if len(ids) > 1 else "zygote"


class Files:
    """What sessions have acknowledged: each file's content, to be found again."""

    def __init__(self):
        self.kept, self.lock = {}, threading.Lock()

    def check(self, server):
        with self.lock:
            for (session, name), digest in self.kept.items():
                status, content = ask(server, "GET", f"/sessions/{session}/files/{name}")
                assert status == 200 and hashlib.sha256(content).hexdigest() == digest, (session, name, status)


def work(server, files, stop, seed, seen):
    """Runs, sessions that write files, and new modules, over and over."""
    pick = random.Random(seed)
    session, turns = None, 0
    while not stop.is_set():
        n = pick.randrange(10**9)
        deed = pick.random()
        if deed < 0.5:
            status, answer = python(server[0], f"print({n} + 1)")
            if status == 200 and answer["status"] == "OK":
                assert answer["stdout"] == f"{n + 1}\n", answer
                seen["answered"] += 1
            else:
                seen["refused"] += 1
                time.sleep(0.01)
        elif deed < 0.6:
            wat = HELLO.read_text() + f"(; {n} ;)"
            status, answer = ask(server[0], "POST", "/tools/execute", {"tool": "code_executor", "parameters": {"wasm_base64": base64.b64encode(wat.encode()).decode()}})
            if status == 200 and answer["status"] == "OK":
                assert answer["stdout"] == "Hello from WASI!\n"
        else:
            if session is None or turns > 10:
                status, answer = ask(server[0], "POST", "/sessions", {})
                session, turns = (answer["session_id"], 0) if status == 200 else (None, 0)
                continue
            turns += 1
            name, text = f"f{turns}", str(n) * 50
            with files.lock:
                status, answer = python(server[0], f"open('/workspace/{name}', 'w').write({text!r})", session_id=session)
                if status == 200 and answer["status"] == "OK" and answer["exit_code"] == 0:
                    files.kept[session, name] = hashlib.sha256(text.encode()).hexdigest()
                elif (session, name) in files.kept:
                    del files.kept[session, name]  # it was being written again


def test_kills(tmp_path):
    seen, kills, files, stop, pick = collections.Counter(), collections.Counter(), Files(), threading.Event(), random.Random(9)
    start = lambda: Server(tmp_path, "--spare", "2", http=True, grpc=True)  # noqa: E731
    server = [start()]
    failures = []

    def guarded(seed):
        try:
            work(server, files, stop, seed, seen)
        except Exception as e:
            failures.append(e)

    workers = [threading.Thread(target=guarded, args=(i,)) for i in range(3)]
    for worker in workers:
        worker.start()
    try:
        while sum(kills.values()) < KILLS and not failures:
            time.sleep(pick.uniform(0, 0.2))
            if pick.random() < 0.03:  # the supervisor itself: all goes with it
                old = [server[0].pid, *children(server[0].pid)]
                server[0].process.kill()
                server[0].process.wait()
                until = time.monotonic() + 20
                while (alive := [p for p in old if os.path.exists(f"/proc/{p}")]) and time.monotonic() < until:
                    time.sleep(0.05)
                assert not alive, "processes that nobody owns"
                server[0].socket.unlink(missing_ok=True)
                server[0] = start()
                files.check(server[0])
                kills["supervisor"] += 1
                continue
            victims = children(server[0].pid)
            by_kind = collections.defaultdict(list)
            for pid in victims:
                try:
                    by_kind[kind_of(pid)].append(pid)
                except (OSError, IndexError):
                    pass
            if not by_kind:
                continue
            kind = pick.choice(sorted(by_kind))
            try:
                os.kill(pick.choice(by_kind[kind]), signal.SIGKILL)
                kills[kind] += 1
            except ProcessLookupError:
                pass
            assert server[0].process.poll() is None, server[0].log.read_text()[-2000:]
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not failures, failures
    until = time.monotonic() + 30
    while python(server[0], "print(1)")[0] != 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert python(server[0], "print(1)")[1]["stdout"] == "1\n"
    files.check(server[0])
    assert seen["answered"] > KILLS / 4 and len(kills) >= 3, (seen, kills)
    for session in {s for s, _ in files.kept}:
        assert ask(server[0], "DELETE", f"/sessions/{session}")[0] == 200
    for one in (ask(server[0], "GET", "/sessions")[1] or {}).get("sessions", []):
        ask(server[0], "DELETE", f"/sessions/{one['session_id']}")
    left = lambda: [p.name for p in (tmp_path / "sessions").rglob("*") if p.name not in ("trash", "interpreters")]  # noqa: E731
    assert becomes(left, []) == []
    falls_to(29, lambda: len(children(server[0].pid)))
    assert zombies(server[0].pid) == 0
    print(dict(kills), dict(seen), len(files.kept), "files")
    server[0].stop()


def test_damaged_session_files(tmp_path):
    """Truncated, flipped, replaced: such a session is refused or not there; the others are, and the server starts."""
    server = Server(tmp_path, http=True)
    sessions = [ask(server, "POST", "/sessions", {})[1]["session_id"] for _ in range(30)]
    for s in sessions:
        assert python(server, "open('/workspace/f', 'w').write('kept')", session_id=s)[1]["status"] == "OK"
    server.stop()
    records = {s: next((tmp_path / "sessions").glob(f"*/{s}.json")) for s in sessions}
    pick = random.Random(5)
    for i, s in enumerate(sessions[:24]):
        record, data = records[s], bytearray(records[s].read_bytes())
        if i % 4 == 0:
            record.write_bytes(data[:pick.randrange(len(data))])
        elif i % 4 == 1:
            data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
            record.write_bytes(data)
        elif i % 4 == 2:
            record.write_bytes(os.urandom(200) if i % 8 == 2 else b"[" * 100_000)
        else:
            record.unlink()
            record.symlink_to("/etc/passwd") if i % 8 == 3 else os.mkfifo(record)
    server = Server(tmp_path, http=True)
    for s in sessions[24:]:
        assert ask(server, "GET", f"/sessions/{s}/files/f") == (200, b"kept")
    for s in sessions[:24]:
        status, content = ask(server, "GET", f"/sessions/{s}/files/f")
        assert (status, content) == (200, b"kept") or status in (400, 404, 500), (status, content)
        assert python(server, "1", session_id=s)[0] in (200, 400, 404, 500)
    assert python(server, "print(1)")[1]["stdout"] == "1\n"
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_disk_full(tmp_path):
    """Where sessions and code are kept there is no room left: refusals in words; with room again, all goes on."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", small], check=True)
    try:
        (small / "cache").mkdir(mode=0o700)
        env = {"POLYAGENT_CACHE_DIR": str(small / "cache"), "POLYAGENT_SESSIONS_DIR": str(small / "sessions")}
        server = Server(tmp_path, http=True, env=env)
        session = ask(server, "POST", "/sessions", {})[1]["session_id"]
        python(server, "open('/workspace/kept', 'w').write('kept')", session_id=session)
        fill = small / "fill"
        subprocess.run(["dd", "if=/dev/zero", f"of={fill}", "bs=4096"], capture_output=True)
        answer = python(server, "open('/workspace/more', 'wb').write(bytes(10 ** 6))", session_id=session)[1]
        assert answer["status"] != "OK" or answer["exit_code"] == 1, answer
        status, answer = ask(server, "POST", "/tools/execute", {"tool": "code_executor", "parameters": {"wasm_base64": base64.b64encode(HELLO.read_bytes() + b"(; new ;)").decode()}})
        assert answer["status"] in ("OK", "INTERNAL"), answer
        assert answer["status"] == "OK" or answer["error"]["message"]
        status, answer = ask(server, "POST", "/sessions", {})
        assert status == 200 or answer["error"]["message"], answer
        fill.unlink()
        assert ask(server, "GET", f"/sessions/{session}/files/kept") == (200, b"kept")
        assert python(server, "open('/workspace/more', 'wb').write(bytes(10 ** 6))", session_id=session)[1]["exit_code"] == 0
        assert [n for n in os.listdir(small / "cache") if n.startswith("tmp-")] == []
        server.stop()
    finally:
        subprocess.run(["umount", "-l", small], check=True)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *jump;
__attribute__((constructor)) static void start(void) {
    int fd = open(CLOCK_FILE, O_RDONLY | O_CLOEXEC);
    void *at = fd >= 0 ? mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0) close(fd);
    if (at != MAP_FAILED) jump = at;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);
    if (result == 0 && jump && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += *jump;
    return result;
}
time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    out->tv_sec = t.tv_sec;
    out->tv_usec = t.tv_nsec / 1000;
    return 0;
}
"""


@pytest.mark.skipif("asan" in str(BUILD), reason="a sanitizer wants to be loaded first")
def test_clock_jumps(tmp_path):
    """The calendar jumps by ten years, there and back: deadlines are kept, sessions stay."""
    clock = tmp_path / "clock"
    clock.write_bytes(bytes(4096))
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", f'-DCLOCK_FILE="{clock}"', "-o", tmp_path / "clock.so", tmp_path / "clock.c", "-ldl"], check=True)
    server = Server(tmp_path, http=True, grpc=True, env={"LD_PRELOAD": str(tmp_path / "clock.so")})
    session = ask(server, "POST", "/sessions", {})[1]["session_id"]
    python(server, "x = 5", session_id=session)
    for years in (10, -10, 60, -40, 0):
        with open(clock, "r+b") as file:
            file.write((years * 31_556_952).to_bytes(8, "little", signed=True))
        answer = python(server, "import time\nwhile True: pass", execution_timeout_ms=300)[1]
        assert answer["status"] == "TIMEOUT" and 250 < answer["usage"]["wall_ms"] < 20_000, answer
        assert python(server, "print(x)", session_id=session)[1]["stdout"] == "5\n"
        assert python(server, "print(2)")[1]["stdout"] == "2\n"
        time.sleep(0.3)
    server.stop()


def test_descriptors_exhausted(tmp_path):
    """With few descriptors: runs wait or are refused, none is wrong; and all go on when there are some again."""
    server = Server(tmp_path, "--spare", "1", http=True, grpc=True, limit_files=96)
    python(server, "1")
    results, held = collections.Counter(), []
    for _ in range(120):
        try:


            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        except OSError:
            break

    def go():
        status, answer = python(server, "import time\ntime.sleep(0.2)\nprint(1)")
        results[answer["status"] if answer else "CUT OFF"] += 1
        assert not answer or answer["status"] != "OK" or answer["stdout"] == "1\n"

    callers = [threading.Thread(target=go) for _ in range(60)]
    for caller in callers:
        caller.start()
    for connection in held:
        connection.close()
    for caller in callers:
        caller.join()
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    assert set(results) <= {"OK", "INTERNAL", "OVERLOADED", "CUT OFF"}, results
    until = time.monotonic() + 30
    while (answer := python(server, "print(1)")[1] or {}).get("stdout") != "1\n" and time.monotonic() < until:
        time.sleep(0.2)
    assert answer["stdout"] == "1\n", answer
    server.stop()
