"""Promise: commands of the same user run by a server when there is one, with the same results as
without, each in a fresh warm interpreter; the server survives its clients, says no clearly, and leaves
nothing behind."""
import array
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest
from program import BUILD, POLYAGENT, PYTHON_WASM, ROOT, cold_cpu_ms, run
from server import Server, becomes, children, descriptors, falls_to, resident_kib, settled

HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"
# By chance a worker more or less is parked; a server keeps a descriptor for as many workers as it ever had.
SPARE, SPARE_FDS = 3, 16


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("serve"))
    yield server
    server.stop()


def test_results_are_those_without_a_server(server, tmp_path):
    (tmp_path / "in.txt").write_text("from a file")
    cases = [
        (["python", "-c", "print('ü', input())"], "line\n"),
        (["python", "-c", "import sys; print(sys.argv); sys.exit(7)", "--", "a", "--b"], ""),
        (["python", "-c", "def f(x):\n    return 1 / x\nf(0)"], ""),
        (["python", "--env", "A=1", "--env", "B=x=y", "-c", "import os; print(os.environ['A'], os.environ['B'])"], ""),
        (["python", "--dir", f"{tmp_path}::/data", "-c", "print(open('/data/in.txt').read())"], ""),
        (["python", "-c", "import atexit; atexit.register(print, 'bye'); print('hi')"], ""),
        (["python", "-c", "print('x' * 3000000)"], ""),
        (["python", "--memory", "64M", "-c", "x = 'a' * 10**9"], ""),
        (["python", "--timeout", "3s", "-c", "print('before', flush=True)\nwhile True: pass"], ""),
        (["python", "--timeout", "300ms", "-c", "import time; time.sleep(100)"], ""),
        (["python", "--cpu-time", "1s", "-c", "while True: pass"], ""),
        (["python", "--deterministic=5", "-c", "import random, time; print(random.random(), time.time(), hash('a'))"], ""),
        (["python", "--no-clock", "-c", "import time; time.time()"], ""),
        (["run", HELLO], ""),
        (["run", ROOT / "docs/assets/input-reader.wat"], "z" * 200000),
        (["run", "/nonexistent.wasm"], ""),
        (["python", "--fuel", "1000000", "-c", "while True: pass"], ""),
        (["python", "-"], "print('by stdin')"),
    ]
    for args, stdin in cases:
        served, alone = server.run(*args, stdin=stdin), run(*args[:1], "--local", *args[1:], stdin=stdin)
        served.err, alone.err = (re.sub(r"got \d+ ms", "got N ms", done.err) for done in (served, alone))
        assert (served.returncode, served.out, served.err) == (alone.returncode, alone.out, alone.err), args


def test_interpreters_are_warm_and_sealed(server):
    server.python("pass")
    stats = server.stats("print(1)")
    alone = json.loads(run("python", "--local", "--stats=json", "-c", "print(1)").err)
    # Not timed, but told: the guest starts by a fork and not by Python's start.
    assert stats["usage"]["cpu_ms"] < alone["usage"]["cpu_ms"] / 3
    assert {"seccomp", "no_new_privs", "rlimits", "process"} <= set(stats["isolation"])
    assert stats["usage"]["cache"] == "hit" and stats["status"] == "OK"
    assert stats["module_sha256"] == alone["module_sha256"]


def test_local_refuses_the_server(server):
    hidden = {**server.env, "POLYAGENT_WASI_ISOLATION_REQUIRED": "unknown"}  # would end a local run
    assert run("python", "-c", "print(1)", env=hidden).out == "1\n"
    assert run("python", "--local", "-c", "print(1)", env=hidden).returncode == 125


def test_runs_share_nothing(server):
    first = ("import random, uuid, os, json, builtins, tempfile\n"
             "print(random.random(), uuid.uuid4(), os.urandom(8).hex(), random.Random().random())\n"
             "builtins.leak = json.leak = 1; os.environ['LEAK'] = '1'")
    words = [w for _ in range(20) for w in server.python(first).out.split()]
    assert len(words) == len(set(words)) == 80
    probe = "import builtins, json, os; print(hasattr(builtins, 'leak'), hasattr(json, 'leak'), 'LEAK' in os.environ)"
    assert server.python(probe).out == "False False False\n"
    assert server.python("import os; print(dict(os.environ))").out == "{}\n"


def test_an_interpreter_of_the_users_own_is_warm_too(server, tmp_path):
    """One that is handed over at run time: compiled, and from then on as warm as the one that comes along."""
    own = tmp_path / "own.wasm"
    own.write_bytes(PYTHON_WASM.read_bytes() + b"\0\6\4mine!")  # another module: a custom section at its end
    assert server.python("print('first')", "--python", own).out == "first\n"
    done = server.python("print('again')", "--python", own, "--stats=json")
    stats = json.loads(done.err)
    assert (done.out, stats["usage"]["cache"]) == ("again\n", "hit")
    assert stats["usage"]["cpu_ms"] < cold_cpu_ms() / 3 and stats["module_sha256"] != server.stats("pass")["module_sha256"]


def test_variables_do_not_cost_an_interpreter(server):
    """Jobs with different variables share a zygote: else anybody could fill the server with them."""
    server.python("pass")
    before = settled(lambda: len(children(server.pid)))
    for i in range(20):
        assert server.python("import os; print(os.environ['N'])", "--env", f"N={i}").out == f"{i}\n"
    falls_to(before + SPARE, lambda: len(children(server.pid)))


def test_many_at_once_and_nothing_left(server):
    code = ["print({0})", "import sys; sys.exit({0} % 100)", "1 / 0", "while True: pass", "x = ['a' * 10**6 for _ in range(10**5)]"]

    def one(i):
        return i, server.python(code[i % 5].format(i), "--timeout", "500ms" if i % 5 == 3 else "30s", "--memory", "64M")

    def left():
        return len(children(server.pid)), descriptors(server.pid)

    counts = []
    for _ in range(2):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for i, done in pool.map(one, range(100)):
                expected = [0, i % 100, 1, 124, 137][i % 5]
                assert done.returncode == expected, (i, done.err)
                assert done.out == (f"{i}\n" if i % 5 == 0 else "")
        counts.append(settled(left))
    assert counts[1][0] <= counts[0][0] + SPARE
    assert counts[1][1] <= counts[0][1] + SPARE_FDS


def test_hanging_up_ends_the_run(server):
    server.python("pass")
    before = settled(lambda: len(children(server.pid)))
    clients = [subprocess.Popen([POLYAGENT, "python", "-c", "print('on', flush=True)\nwhile True: pass"],
                                env=server.env, stdout=subprocess.PIPE) for _ in range(4)]
    for client in clients:
        assert client.stdout.readline() == b"on\n"
        client.kill()
        client.wait()
        client.stdout.close()
    falls_to(before + SPARE, lambda: len(children(server.pid)))
    assert server.python("print('well')").out == "well\n"


def test_long_runs_make_way_for_short_ones(server):
    with subprocess.Popen([POLYAGENT, "python", "-c", "print('on', flush=True)\nwhile True: pass"],
                          env=server.env, stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"on\n"
        until, nice = time.monotonic() + 10, []
        while 10 not in nice and time.monotonic() < until:
            nice = [os.getpriority(os.PRIO_PROCESS, pid) for pid in children(server.pid)]
        client.kill()
    assert 10 in nice and 0 in nice  # the loop, and those that wait for work


@contextlib.contextmanager
def endless(env, *options):
    """A run that computes until it is over with it."""
    with subprocess.Popen([POLYAGENT, "python", *options, "-c", "print('on', flush=True)\nwhile True: pass"],
                          env=env, stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"on\n"
        yield client
        client.kill()


def slow(pid):
    """How many of its workers make way."""
    count = 0
    for child in children(pid):
        with contextlib.suppress(ProcessLookupError):
            count += os.getpriority(os.PRIO_PROCESS, child) == 10
    return count


def test_a_run_makes_way_for_runs_only(tmp_path):
    """Without a weight of the server's own, a run that is alone is as any other process on the host."""
    layers = [line.split()[0] for line in run("doctor").out.splitlines() if re.match(r"^\w+ +(yes|no|-)", line)]
    without = ",".join(layer for layer in layers if layer != "cgroup")
    server = Server(tmp_path, env={"POLYAGENT_WASI_ISOLATION_LAYERS": without})
    with endless(server.env):
        time.sleep(0.5)
        assert slow(server.pid) == 0
        with endless(server.env):
            assert becomes(lambda: slow(server.pid), 2) == 2
        if os.geteuid() == 0:  # nobody else may take a nice value back
            assert becomes(lambda: slow(server.pid), 0) == 0
    server.stop()


def test_a_command_alone_makes_way_for_nobody(tmp_path):
    with endless(os.environ, "--local") as client:
        time.sleep(0.5)
        assert slow(client.pid) == 0


def test_output_comes_as_it_is_written(server):
    client = subprocess.Popen([POLYAGENT, "python", "-c", "print('first')\ninput()\nprint('second')"],
                              env=server.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout.readline() == b"first\n"  # while the program waits for its input
    out, _ = client.communicate(b"\n", timeout=20)
    assert out == b"second\n"


def test_bad_clients_harm_nobody(server):
    before = settled(lambda: descriptors(server.pid))
    idle = []
    for data in (b"", b"\0", b"x" * 100, os.urandom(2000), b"\1\0\x41\x50" + os.urandom(500), b"\0" * 60000):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(str(server.socket))
        fds = array.array("i", [0, 1, 2])
        client.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        idle.append(client)
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(200)]
    for client in silent:
        client.connect(str(server.socket))
    assert server.python("print('well')").out == "well\n"
    for client in idle + silent:
        client.close()
    falls_to(before + SPARE_FDS, lambda: descriptors(server.pid))
    assert server.process.poll() is None


def test_killed_children_are_replaced(server):
    for pid in children(server.pid):
        with contextlib.suppress(ProcessLookupError):  # with its zygote, a worker may be gone already
            os.kill(pid, signal.SIGKILL)
    assert server.python("print('well')").out == "well\n"


def test_a_full_queue_refuses_with_a_hint(tmp_path):
    server = Server(tmp_path, "--max-running", "1", "--max-queued", "1", "--spare", "1")
    busy = [subprocess.Popen([POLYAGENT, "python", "-c", "print('on', flush=True)\nwhile True: pass"],
                             env=server.env, stdout=subprocess.PIPE)]
    assert busy[0].stdout.readline() == b"on\n"
    before = settled(lambda: descriptors(server.pid))
    busy.append(subprocess.Popen([POLYAGENT, "python", "-c", "print('queued')"], env=server.env, stdout=subprocess.PIPE))
    until = time.monotonic() + 20
    while descriptors(server.pid) < before + 4 and time.monotonic() < until:  # its socket and its job's
        time.sleep(0.05)
    refused = server.python("print('third')")
    assert refused.returncode == 125 and "retry in" in refused.err
    busy[0].kill()  # its place goes to the one that waits
    assert busy[1].communicate(timeout=20)[0] == b"queued\n"
    busy[0].wait()
    busy[0].stdout.close()
    server.stop()


def test_large_jobs(server, tmp_path):
    """Code, input and arguments that are too large for a message."""
    program = tmp_path / "p.py"
    program.write_text("#" + "x" * 3000000 + "\nimport sys\nprint(len(sys.stdin.read()), len(sys.argv[1]))")
    assert server.run("python", program, "--", "a" * 100000, stdin="y" * 2000000).out == "2000000 100000\n"
    for code in ("#" + "x" * 40000 + "\nprint(1)", "print(len(input()))"):
        done = server.run("tool", "python_wasi_runner", "-", stdin=json.dumps({"code": code, "stdin": "z" * 500000}))
        assert json.loads(done.out)["stdout"] in ("1\n", "500000\n")
    done = server.run("tool", "code_executor", "-", stdin=json.dumps({"wasm_path": str(ROOT / "docs/assets/hello-wasi.wat"), "stdin": "z" * 500000}))
    assert json.loads(done.out)["stdout"] == "Hello from WASI!\n"


def test_one_server_a_socket_and_leftovers_of_killed_ones(tmp_path):
    server = Server(tmp_path)
    second = subprocess.run([POLYAGENT, "serve"], env=server.env, capture_output=True, text=True, timeout=20)
    assert second.returncode == 125 and "a server is running there" in second.stderr
    pids = children(server.pid)
    server.process.kill()
    server.process.wait()
    until = time.monotonic() + 10
    while [p for p in pids if os.path.exists(f"/proc/{p}")] and time.monotonic() < until:
        time.sleep(0.05)
    assert not [p for p in pids if os.path.exists(f"/proc/{p}")]  # the kernel ends them with it
    assert server.python("print('alone')").out == "alone\n"  # a dead socket is no server
    Server(tmp_path).stop()


def test_the_server_ends_while_runs_go_on(tmp_path):
    server = Server(tmp_path)
    client = subprocess.Popen([POLYAGENT, "python", "-c", "print('on', flush=True)\nwhile True: pass"],
                              env=server.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert client.stdout.readline() == b"on\n"
    server.stop()
    out, err = client.communicate(timeout=20)
    assert client.returncode == 125 and err.startswith(b"polyagent: ") and err.count(b"\n") == 1, err


@pytest.mark.parametrize("options, text", [
    (["--max-running", "0"], "--max-running"), (["--spare", "x"], "--spare"), (["--memory", "much"], "--memory"),
    (["--socket", "x" * 200], "--socket"), (["--unknown"], "--help"), (["extra"], "extra"),
    (["--socket", "/proc/nowhere/s.sock"], "/proc/nowhere")])
def test_bad_usage_is_one_line(options, text):
    done = run("serve", *options)
    assert done.returncode == 125 and text in done.err and done.err.count("\n") == 1, done.err


def test_bounds_of_all_workers_by_cgroup(tmp_path, monkeypatch):
    """A native fork bomb, with no other layer in its way, ends at the control group's bound; a process that outlives its run
    ends with the server."""
    if os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("needs root and a writable control group")
    with monkeypatch.context() as patch:
        patch.setenv("POLYAGENT_HELPER", str(BUILD / "tests/hostile/hostile-worker"))
        patch.setenv("POLYAGENT_WASI_ISOLATION_LAYERS", "wasm,process,cgroup")
        patch.setenv("POLYAGENT_WASI_ISOLATION_REQUIRED", "cgroup")
        server = Server(tmp_path, "--max-running", "2")
    try:
        stray = int(server.run("run", ROOT / "tests/hostile/yield.wat", "--", "stray").out.split()[-1])
        assert resident_kib(stray)
        done = server.run("run", "--stats=json", ROOT / "tests/hostile/yield.wat", "--", "forks", "5000")
        made = int(done.out.split()[-1])
        assert 0 < made < 1000, done.out
        assert "cgroup" in json.loads(done.err.splitlines()[-1])["isolation"]
    finally:
        server.stop()
    places = [p for p in pathlib.Path("/sys/fs/cgroup").rglob("polyagent-*") if str(server.pid) in p.name]
    assert not places and resident_kib(stray) is None


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full disk"])
def test_the_first_start_waits_for_the_compiler(tmp_path, full):
    """However little time a run has by the settings; systemd hears that it is ready when Python is."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    if full and (os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", cache], check=False).returncode != 0):
        pytest.skip("mounting takes root")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        try:
            server = Server(tmp_path, seconds=600, env={"POLYAGENT_CACHE_DIR": str(cache), "NOTIFY_SOCKET": str(tmp_path / "notify"),
                                                        "POLYAGENT_WASI_EXECUTION_TIMEOUT_MS": "100"})
            assert systemd.recv(1000) == b"READY=1"
            call = {"code": "print('warm')", "execution_timeout_ms": 30000}
            result = json.loads(server.run("tool", "python_wasi_runner", "-", stdin=json.dumps(call)).out)
            assert (result["stdout"], result["usage"]["cache"]) == ("warm\n", "hit")
            assert any(entry.stat().st_size > 1 << 20 for entry in cache.iterdir()) != full
            server.stop()
        finally:
            if full:
                subprocess.run(["umount", "--lazy", cache], check=True)


def test_callers_of_an_interpreter_that_is_being_compiled_are_told_when_to_come_again(tmp_path):
    """Not that it is an invalid module; it is compiled meanwhile, and a command waits for it."""
    server = Server(tmp_path, http=True, env={"POLYAGENT_CACHE_DIR": str(tmp_path / "cache")})
    call = {"tool": "ruby_wasi_runner", "parameters": {"code": "puts 6 * 7", "execution_timeout_ms": 100}}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/tools/execute", json.dumps(call))
    response = connection.getresponse()
    message = json.loads(response.read())["error"]["message"]
    connection.close()
    assert response.status == 429 and "the interpreter ruby is being compiled, for 0 s now" in message, message
    hint = int(re.search(r"retry in (\d+) ms", message)[1])
    assert hint > 2000 and int(response.headers["Retry-After"]) == -(-hint // 1000)
    assert server.run("ruby", "-c", "puts 6 * 7", timeout=600).out == "42\n"
    assert server.ask("POST", "/tools/execute", {**call, "parameters": {"code": "puts 6 * 7"}})[1]["stdout"] == "42\n"
    server.stop()
