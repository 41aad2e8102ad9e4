"""Promise: memory may run out at any allocation of ours: what was asked for comes right or is refused in words, nothing crashes or
hangs, nothing stays behind, and the next request is served. For every n, the n-th allocation of one kind of process fails, once or
from then on, in a build whose allocations count (tests/fault/alloc.h). `make faults` runs it."""
import ctypes
import http.client
import mmap
import os
import subprocess
import sys
import time

import pytest
from program import BUILD, POLYAGENT, ROOT
from server import Server, children

sys.path.insert(0, str(ROOT / "clients" / "python"))
HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"
COLLATZ = ROOT / "examples" / "collatz.py"
ROLES = ("main", "net", "zygote", "compiler", "worker")
PLAN = BUILD / "plan"

pytestmark = pytest.mark.skipif("faulty" not in str(BUILD), reason="needs the build with -Dfaults=true (make faults)")


class Plan:
    """The plan of faults, in memory shared with all processes of the build."""

    def __init__(self):
        PLAN.write_bytes(bytes(4096))
        with open(PLAN, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 4096)
        self.left = (ctypes.c_int * 5).from_buffer(self.memory, 0)
        self.fired = (ctypes.c_int * 5).from_buffer(self.memory, 20)
        self.from_then_on = ctypes.c_int.from_buffer(self.memory, 40)

    def arm(self, role, n, lasting=False):
        self.calm()
        self.from_then_on.value = int(lasting)
        self.left[ROLES.index(role)] = n

    def calm(self):
        for i in range(5):
            self.left[i] = self.fired[i] = 0

    def has_fired(self, role):
        return self.fired[ROLES.index(role)] > 0


@pytest.fixture
def plan():
    made = Plan()
    yield made
    made.calm()


def steps(dense=60):
    """Every n at first; where thousands of allocations of one kind follow, then each further one by a few percent more."""
    n = 1
    while True:
        yield n
        n += 1 if n < dense else max(1, n // 40)


COMMANDS = {
    "run": (["run", "--local", HELLO], b"Hello from WASI!\n"),
    "python": (["python", "--local", "-c", "print(input())"], b"x\n"),
    "refused": (["run", "--local", ROOT / "README.md"], b""),
    "tool": (["tool", "call", "python_wasi_runner", '{"code": "print(7)", "files": {"a": "b"}, "args": ["x"]}'], None),
    "stats": (["run", "--local", "--stats=json", "--dir", ".::/d", "--env", "A=B", HELLO], b"Hello from WASI!\n"),
    "build": (["build", COLLATZ, "-o", "{folder}/out.wat"], b""),
    "settings": (["serve", "--print-config"], None),
    "interpreters": (["interpreter", "list"], None),
    "cache": (["cache", "verify"], None),
    "doctor": (["doctor"], None),
}


def attempt(args, env):
    done = subprocess.run([POLYAGENT, *map(str, args)], env=env, input=b"x\n", capture_output=True, timeout=60)
    assert done.returncode >= 0 and b"Sanitizer" not in done.stderr and b"panicked" not in done.stderr, done.stderr.decode()
    return done


def leftovers():
    return sorted(n for n in os.listdir("/tmp") if n.startswith("polyagent-"))


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("role", ["main", "zygote", "worker", "compiler"])
@pytest.mark.parametrize("command", COMMANDS)
def test_of_a_command(plan, tmp_path, command, role, lasting):
    args, wanted = COMMANDS[command]
    args = [str(a).replace("{folder}", str(tmp_path)) for a in args]
    if role != "main" and command not in ("run", "python", "refused"):
        pytest.skip("no other processes than with run")
    env = {**os.environ, "POLYAGENT_CACHE_DIR": str(tmp_path / "cache"), "POLYAGENT_STATE_DIR": str(tmp_path / "state")}
    if command != "refused" and role != "compiler":
        attempt(args, env)  # compiled by now
    good, before, found = attempt(args, env), set(leftovers()), set()
    for n in steps():
        if role == "compiler":
            subprocess.run(["rm", "-rf", tmp_path / "cache"], check=True)
        plan.arm(role, n, lasting)
        done = attempt(args, env)
        fired = plan.has_fired(role)
        plan.calm()
        if done.returncode != good.returncode or done.stdout != good.stdout and wanted is not None:
            assert fired, done.stderr
            # A worker's own words may be "out of memory", or the kernel's that it has ended.
            assert done.stderr.strip(), f"allocation {n} failed without a word (exit code {done.returncode})"
        found |= set(leftovers())
        if not fired:
            break
    until = time.monotonic() + 10  # those of other servers on the machine go by themselves
    while (stay := (found - before) & set(leftovers())) and time.monotonic() < until:
        time.sleep(0.2)
    assert not stay
    again = attempt(args, env)
    assert (again.returncode, again.stdout if wanted is not None else b"") == (good.returncode, good.stdout if wanted is not None else b""), again.stderr


def tool(server, name, **parameters):
    return server.ask("POST", "/tools/execute", {"tool": name, "parameters": parameters})


def turn(server):
    """A session from its beginning to its end."""
    status, answer = server.ask("POST", "/sessions", {})
    if status != 200:
        return status, answer
    session = answer["session_id"]
    seen = [server.ask("POST", f"/sessions/{session}/run", {"code": "open('/workspace/f', 'w').write('x'); 1 + 1"}),
            server.ask("POST", f"/sessions/{session}/checkpoint", {}), server.ask("POST", f"/sessions/{session}/fork", {}),
            server.ask("GET", f"/sessions/{session}/files"), server.ask("GET", f"/sessions/{session}/files/f")]
    worst = max(seen, key=lambda s: s[0])
    for one in server.ask("GET", "/sessions")[1].get("sessions", []):
        server.ask("DELETE", f"/sessions/{one['session_id']}")
    return worst


def grpc_call(server):
    from polyagent import Client, PolyagentError

    try:
        with Client(server.grpc) as client:
            done = client.run_python("print(3)", deadline=20)
            return 200, done.stdout
    except PolyagentError as e:
        return 500, str(e)


REQUESTS = {
    "python": lambda s: tool(s, "python_wasi_runner", code="print(1)"),
    "files and figures": lambda s: tool(s, "python_wasi_runner", code="open('/output/a', 'w').write('x' * 100); [1, 2]", files={"a": "b"}),
    "compiled": lambda s: tool(s, "python_compile", code="def f(x):\n    return [x, 'é']\nprint(f(2))", wat=True),
    "compiled, then not": lambda s: tool(s, "python_wasi_runner", code="print('ß'.upper())", mode="auto"),
    "refused": lambda s: tool(s, "python_wasi_runner", code=1),
    "nonsense": lambda s: tool(s, "nothing"),
    "list": lambda s: s.ask("GET", "/tools"),
    "metrics": lambda s: s.ask("GET", "/metrics"),
    "openapi": lambda s: s.ask("GET", "/openapi.json"),
    "mcp": lambda s: s.ask("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "python_wasi_runner", "arguments": {"code": "print(2)"}}}),
    "session": turn,
    "task": lambda s: s.ask("POST", "/tasks", {"query": "Use python_wasi_runner to execute: print(5)"}),
    "grpc": grpc_call,
}


@pytest.mark.parametrize("role", ["main", "net", "zygote", "worker"])
@pytest.mark.parametrize("request_name", REQUESTS)
def test_of_a_server(plan, tmp_path, request_name, role):
    """The server stays, or is started again by its supervisor; it answers, and the next request as if nothing had been."""
    ask = REQUESTS[request_name]
    server = Server(tmp_path, "--spare", "1", http=True, grpc=True)
    try:
        good = ask(server)
        front = server.front
        for n in steps(40):
            plan.arm(role, n)
            try:
                status, answer = ask(server)
            except (OSError, http.client.HTTPException) as e:
                status, answer = 0, repr(e)  # the connection ended
            fired = plan.has_fired(role)
            plan.calm()
            assert status or fired, answer
            assert server.process.poll() is None, server.log.read_text()[-2000:]
            assert server.front == front, f"the front ended at allocation {n}: " + server.log.read_text()[-2000:]
            status, again = REQUESTS["python"](server)
            assert status == 200 and again["stdout"] == "1\n", (n, again, server.log.read_text()[-1000:])
            if not fired:
                break
        assert ask(server)[0] == good[0]
        assert len(children(server.pid)) < 40
    finally:
        server.stop()


@pytest.mark.parametrize("role", ["main", "net"])
def test_of_a_start(plan, tmp_path, role):
    """A server that lacks memory at its start says so and ends, or starts."""
    for n in steps(200):
        (tmp_path / str(n)).mkdir()
        plan.arm(role, n)
        env = {**os.environ, "POLYAGENT_SOCKET": str(tmp_path / str(n) / "s"), "POLYAGENT_SESSIONS_DIR": str(tmp_path / str(n) / "sessions"),
               "POLYAGENT_INTERPRETERS_COMPILE_AHEAD": "false"}
        with subprocess.Popen([POLYAGENT, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"], env=env, stderr=subprocess.PIPE, text=True) as server:
            said = ""
            for line in server.stderr:
                said += line
                if "listening" in line:
                    server.terminate()
            code = server.wait(60)
        fired = plan.has_fired(role)
        plan.calm()
        assert code >= 0 and (code == 0 or said.strip()), (n, code, said)
        if not fired:
            break
