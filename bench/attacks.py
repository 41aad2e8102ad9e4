#!/usr/bin/env python3
"""attacks.py [SECONDS] [WORD]...: what attacks over HTTP cost others. A server with the tokens of two tenants; while one attacks for so
long (30), the other asks for /health and runs print(1) at each turn. A row an attack (those whose names have WORD): the other's
latencies in ms, its calls that failed, the memory of the front at its most since the attack began, and the longest stretch of its loop in ms."""
import base64
import hashlib
import http.client
import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from server import Server  # noqa: E402

FILE = base64.b64encode(os.urandom(24 << 20)).decode()
FILL = "b = {}\nn = 0\nwhile n < len(b): n += os.write(0, b[n:n + (1 << 20)])\nos._exit(0)"


class Tenant:
    def __init__(self, server, token):
        self.server, self.token = server, token

    def ask(self, method, path, body=None):
        if isinstance(body, dict):
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def run(self, code, **more):
        return self.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": code, **more}})

    def open(self, **parameters):
        return json.loads(self.ask("POST", "/sessions", parameters)[1])["session_id"]

    def turn(self, session, code, **more):
        return self.ask("POST", f"/sessions/{session}/run", {"code": code, **more})


# Each is made ready once, and gives what is done again and again.

def nothing(tenant):
    return lambda: time.sleep(0.1)


def escapes(tenant):
    body = b'{"tool": "python_wasi_runner", "parameters": {"code": "' + b"\\n" * (16 << 20) + b'"}}'
    return lambda: tenant.ask("POST", "/tools/execute", body)


def many_values(tenant):
    body = b"[" + b"[1]," * 49000 + b'"' + b"x" * (40 << 20) + b'"]'
    return lambda: tenant.ask("POST", "/mcp", body)


def answer_bomb(tenant):
    code = "import os\n" + FILL.format('b\'{"artifacts": [\' + b"{},"  * (10 << 20) + b"1]}"')
    return lambda: tenant.run(code)


def artifacts(tenant):
    code = "import os\nfor i in range(8): open(f'/output/{i}', 'wb').write(os.urandom(4 << 20))"
    return lambda: tenant.run(code)


def many_names(tenant):
    code = "import os\nos.chdir('/workspace')\ntry:\n    for i in range(10 ** 6): open(f'n{i}', 'w').close()\nexcept OSError: pass"
    return lambda: tenant.run(code, files={"x": "1"}, execution_timeout_ms=60000)


def hard_links(tenant):
    code = "import os\nos.chdir('/workspace')\ntry:\n    for i in range(10 ** 6): os.link('x', f'n{i}')\nexcept OSError: pass"
    return lambda: tenant.run(code, files={"x": "1"}, execution_timeout_ms=60000)


def branches(tenant):
    session = tenant.open(files={f"f{i}": {"base64": FILE} for i in range(2)})
    def attack():
        for branch in json.loads(tenant.ask("POST", f"/sessions/{session}/fork", {"count": 20})[1]).get("sessions", []):
            tenant.ask("DELETE", f"/sessions/{branch['session_id']}")
    return attack


def checkpoints(tenant):
    session = tenant.open(files={f"f{i}": {"base64": FILE} for i in range(2)})
    def attack():
        point = json.loads(tenant.ask("POST", f"/sessions/{session}/checkpoint", {})[1]).get("checkpoint_id")
        if point:
            tenant.ask("POST", f"/sessions/{session}/rollback", {"checkpoint_id": point})
    return attack


def sessions(tenant):
    return lambda: tenant.open()


def interpreters(tenant):
    wasm = (ROOT / "build/interpreters/python.wasm").read_bytes()
    body = b'{"interpreter_wasm_base64": "' + base64.b64encode(wasm) + b'"}'  # made once: who asks for /health is of the same process
    return lambda: tenant.ask("POST", "/sessions", body)


def large_files(tenant):
    session, data = tenant.open(), os.urandom(24 << 20)
    def attack():
        tenant.ask("PUT", f"/sessions/{session}/files/blob", data)
        tenant.ask("GET", f"/sessions/{session}/files/blob")
    return attack


def many_files(tenant):
    session = tenant.open()
    tenant.turn(session, "for i in range(9000): open(f'/workspace/f{i}', 'w').close()")
    def attack():
        for path in ("", "/files"):
            tenant.ask("GET", f"/sessions/{session}{path}")
        tenant.turn(session, "1")
        tenant.ask("GET", "/sessions")
    return attack


def slow_runs(tenant):
    return lambda: tenant.run("while True: pass", execution_timeout_ms=3000)


ATTACKS = [nothing, escapes, many_values, answer_bomb, artifacts, many_names, hard_links, branches, checkpoints, sessions, interpreters,
           large_files, many_files, slow_runs]


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))] * 1000 if values else float("nan")


def front_mib(server):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{server.front}/status").read_text())[1]) >> 10


def measure(server, attack, seconds, threads=4):
    bad, good, stop = Tenant(server, "bad"), Tenant(server, "good"), threading.Event()
    pathlib.Path(f"/proc/{server.front}/clear_refs").write_text("5")  # the most it had is what it has now
    act = attack(bad)

    def loop():
        while not stop.is_set():
            try:
                act()
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.05)

    crowd = [threading.Thread(target=loop, daemon=True) for _ in range(threads)]
    for thread in crowd:
        thread.start()
    health, runs, failed, until = [], [], 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for times, call in ((health, lambda: good.ask("GET", "/health")), (runs, lambda: good.run("print(1)"))):
            began = time.monotonic()
            try:
                status, body = call()
                failed += status != 200 or (times is runs and json.loads(body)["stdout"] != "1\n")
            except (OSError, http.client.HTTPException, ValueError):
                failed += 1
            times.append(time.monotonic() - began)
        time.sleep(0.02)
    stop.set()
    most = front_mib(server)
    longest = float(re.search(rb"loop_longest_seconds ([\d.]+)", good.ask("GET", "/metrics")[1])[1]) * 1000
    for thread in crowd:
        thread.join(130)
    return health, runs, failed, most, longest


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30
    chosen = [a for a in ATTACKS if not sys.argv[2:] or any(word in a.__name__ for word in sys.argv[2:])]
    print(f"{'attack':14} {'health p50':>10} {'p99':>8} {'max':>8} {'run p50':>8} {'p99':>8} {'max':>8} {'calls':>6} {'failed':>6} {'front MiB':>9} {'loop':>7}")
    for attack in chosen:
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            tokens, config = place / "tokens", place / "config.yaml"
            tokens.write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("good", "bad")))
            config.write_text(f"server: {{auth: {{tokens_file: '{tokens}'}}}}\n")
            server = Server(place, "--config", str(config), http=True)
            try:
                Tenant(server, "good").run("print(1)")  # its interpreter has started
                health, runs, failed, most, longest = measure(server, attack, seconds)
            finally:
                server.stop()
        print(f"{attack.__name__:14} {quantile(health, 0.5):10.1f} {quantile(health, 0.99):8.1f} {quantile(health, 1):8.1f} {quantile(runs, 0.5):8.1f} "
              f"{quantile(runs, 0.99):8.1f} {quantile(runs, 1):8.1f} {len(runs):6} {failed:6} {most:9} {longest:7.1f}", flush=True)


main()
