"""Promise: the configuration is what the file, the variables and the options say, in this order; whatever is wrong in it is
named with its line, and nothing starts; SIGHUP reads it again without losing a run."""
import concurrent.futures
import http.client
import json
import os
import re
import signal
import time

import pytest
from program import ROOT, run
from server import Server, becomes

SHIPPED = ROOT / "config" / "polyagent.yaml"


def printed(path=None, env=None, *options):
    done = run("serve", "--print-config", *(["--config", path] if path else []), *options, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.err
    return done.out


def config(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_the_shipped_file_has_every_setting_with_its_default():
    defaults = printed()
    assert printed(SHIPPED) == defaults
    names = set(re.findall(r"^ *(\w+):", defaults, re.M))
    assert names <= set(re.findall(r"^ *(\w+):", SHIPPED.read_text(), re.M))


def test_what_is_printed_can_be_read(tmp_path):
    path = config(tmp_path, 'wasi:\n  env_vars: {A: "x y", B: "\\"q\\""}\n  allowed_paths: ["/tmp"]\n  max_fuel: 7\nlog: {level: "warn,http=debug"}\n'
                  'tenants: {ci: {running: 8, queued: 9}, other: {}}\n')
    first = printed(path)
    assert 'A: "x y"' in first and '- "/tmp"' in first and "max_fuel: 7" in first
    assert '"ci": {running: 8, queued: 9}' in first and '"other": {}' in first
    (tmp_path / "d.yaml").write_text(first)
    assert printed(tmp_path / "d.yaml") == first


def test_what_wins(tmp_path):
    path = config(tmp_path, "queue: {max_running: 3, max_queued: 4}\nserver: {http: '127.0.0.1:1'}\n")
    text = printed(path, {"POLYAGENT_QUEUE_MAX_RUNNING": "5", "POLYAGENT_WASI_MODULE_PATHS": "/a,/b", "POLYAGENT_WASI_ENV_VARS": "A=1",
                          "PYTHON_WASI_WASM_PATH": "/x.wasm", "RUST_LOG": "polyagent_agent_core=debug,wasi_sandbox=trace"}, "--max-running", "6")
    for line in ("max_running: 6", "max_queued: 4", '- "/a"\n    - "/b"', 'A: "1"', 'python: "/x.wasm"', 'level: "debug,wasi=trace"'):
        assert line in text, line


@pytest.mark.parametrize("text, where, why", [
    ("wasi:\n  memory_limt_bytes: 1\n", ":2: wasi.memory_limt_bytes", "did you mean wasi.memory_limit_bytes?"),
    ("wasi:\n  memory_limit_bytes: many\n", ":2: wasi.memory_limit_bytes", "must be a number"),
    ("wasi:\n  memory_limit_bytes: 5\n", ":2: wasi.memory_limit_bytes", "must be a number of 65536 to 4294967296"),
    ("wasi:\n  max_fuel: -1\n", ":2: wasi.max_fuel", "must be a number"),
    ("wasi:\n  max_fuel: 1e3\n", ":2: wasi.max_fuel", "must be a number"),
    ("wasi:\n\n  security:\n    allow_clock: maybe\n", ":4: wasi.security.allow_clock", "true or false"),
    ("wasi:\n  security:\n    allow_network: true\n", "wasi.security.allow_network", "nothing to allow"),
    ("wasi:\n  security:\n    allow_subprocess: true\n", "wasi.security.allow_subprocess", "nothing to allow"),
    ("wasi:\n  allowed_paths: /tmp\n", ":2: wasi.allowed_paths", "must be a list"),
    ("wasi:\n  allowed_paths: [relative]\n", "wasi.allowed_paths", "absolute"),
    ("wasi:\n  allowed_paths: [[a]]\n", ":2: wasi.allowed_paths", "list of texts"),
    ("wasi:\n  env_vars: [a]\n", ":2: wasi.env_vars", "mapping"),
    ("tenants: [ci]\n", ":1: tenants", "mapping of names to shares"), ("tenants: {ci: 5}\n", ":1: tenants.ci", "mapping"),
    ("tenants:\n  ci: {runing: 5}\n", ":2: tenants.ci.runing", "did you mean running?"),
    ("tenants:\n  ci: {running: 0}\n", ":2: tenants.ci.running", "a number of 1 to"),
    ("tenants:\n  ci: {running: 1, running: 2}\n", ":2: tenants.ci.running", "twice"),
    ("tenants:\n  ci: {}\n  ci: {}\n", ":3: ci", "twice"), ("tenants: {'': {}}\n", ":1: tenants", "names of credentials"),
    ("wasi: 5\n", ":1: wasi", "must be a mapping"), ("5\n", ":1: the file", "must be a mapping"),
    ("wasi:\n  max_fuel: 1\n  max_fuel: 2\n", ":3: wasi.max_fuel", "twice"), ("wasi: [\n", ":2: no YAML", ""),
    ("a: &a\n  b: *a\n", ":1: a", "no such setting"), ("server:\n  tls: {certificate: /x}\n", "server.tls", "key"),
    ("llm: {model: x}\n", "llm", "base_url"), ("log: {level: loud}\n", "log level 'loud'", "LEVEL"), ("log: {format: xml}\n", "log.format", "json"),
    ("server: {auth: {tokens_file: /nonexistent}}\n", "server.auth.tokens_file", "No such file"),
    ("server: {http: '0.0.0.0:1'}\n", "server.http", "not on loopback"),
    ("server:\n  tls: {certificate: /nonexistent, key: /nonexistent}\n  http: '127.0.0.1:0'\n  grpc: ''\n", "server.tls", "No such file"),
])
def test_what_is_wrong_is_named_and_nothing_starts(tmp_path, text, where, why):
    done = run("serve", "--config", config(tmp_path, text), env={**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "s")})
    assert done.returncode == 125 and where in done.err and why in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("variable, value", [
    ("POLYAGENT_WASI_MAX_FUEL", "x"), ("POLYAGENT_WASI_SECURITY_ALLOW_CLOCK", "1"), ("POLYAGENT_WASI_ENV_VARS", "A"),
    ("POLYAGENT_LOG", "loud")])
def test_wrong_variables_are_named(tmp_path, variable, value):
    done = run("serve", env={**os.environ, variable: value, "POLYAGENT_SOCKET": str(tmp_path / "s")})
    assert done.returncode == 125 and (variable in done.err or "log level" in done.err) and done.err.count("\n") == 1, done.err


def execute(server, code, tool="python_wasi_runner", headers={}, **parameters):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = {"tool": tool, "parameters": {"code": code, **parameters}}
    connection.request("POST", "/tools/execute", json.dumps(body), headers)
    response = connection.getresponse()
    result = json.loads(response.read())
    connection.close()
    return response, result


def test_settings_hold_for_runs(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "f").write_text("seen")
    path = config(tmp_path, f"""
wasi:
  execution_timeout_ms: 700
  allowed_paths: ["{data}"]
  env_vars: {{A: "1", B: "2"}}
  ceilings: {{execution_timeout_ms: 900}}
  security: {{allow_clock: true}}
""")
    server = Server(tmp_path, "--config", path, http=True)
    _, result = execute(server, f"import os; print(open('{data}/f').read(), os.environ['A'], os.environ['B'])", env={"B": "3"})
    assert result["stdout"] == "seen 1 3\n"
    _, result = execute(server, f"open('{data}/f', 'w')")
    assert "Read-only" in result["stderr"] and (data / "f").read_text() == "seen"
    assert execute(server, "while True: pass")[1]["error"]["message"].startswith("Execution timeout: 700 ms")
    assert execute(server, "while True: pass", execution_timeout_ms=800)[1]["error"]["message"].startswith("Execution timeout: 800 ms")
    response, result = execute(server, "", execution_timeout_ms=901)
    assert response.status == 400 and "at most 900 here" in result["error"]["message"]
    server.stop()


def test_a_signal_reads_the_file_again_and_loses_no_run(tmp_path):
    path = config(tmp_path, "wasi: {execution_timeout_ms: 5000}\n")
    server = Server(tmp_path, "--config", path, http=True)

    def reload(text, message):
        before = len(server.events())
        path.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 20
        while not any(message in e["message"] for e in server.events()[before:]) and time.monotonic() < until:
            time.sleep(0.02)
        assert any(message in e["message"] for e in server.events()[before:]), server.log.read_text()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(execute, server, "import time; time.sleep(1.5); print('kept')") for _ in range(4)]
        assert becomes(lambda: b"polyagent_runs_in_flight 4" in server.ask("GET", "/metrics")[1], True)
        reload("wasi: {execution_timeout_ms: 300, env_vars: {NEW: 'yes'}}\n", "configuration read again")
        assert all(s.result()[1]["stdout"] == "kept\n" for s in slow)
    assert execute(server, "import os; print(os.environ['NEW'])")[1]["stdout"] == "yes\n"
    assert execute(server, "while True: pass")[1]["status"] == "TIMEOUT"
    reload("wasi: {nope: 1}\n", "not taken")
    assert execute(server, "import os; print(os.environ['NEW'])")[1]["stdout"] == "yes\n"
    server.stop()


def test_a_request_id_is_in_the_log_the_result_and_the_answer(tmp_path):
    server = Server(tmp_path, http=True)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response, result = execute(server, "print('secret output')", headers={"X-Request-Id": "my.id-1", "traceparent": trace})
    assert response.headers["X-Request-Id"] == "my.id-1" == result["request_id"] and response.headers["traceparent"] == trace
    response, result = execute(server, "", headers={"X-Request-Id": "bad id\x7f", "traceparent": "00-nonsense"})
    assert re.fullmatch("[0-9a-f]{24}", result["request_id"]) and "traceparent" not in response.headers
    execute(server, "", tool="nope")
    server.stop()
    events = server.events()
    ended = next(e for e in events if e.get("request_id") == "my.id-1")
    assert (ended["message"], ended["tool"], ended["status"], ended["traceparent"]) == ("run ended", "python_wasi_runner", "OK", trace)
    assert ended["wall_ms"] > 0 and ended["component"] == "http" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ended["time"])
    assert any(e["message"] == "call refused" and e["status"] == "NOT_FOUND" for e in events)
    assert "secret output" not in server.log.read_text()


@pytest.mark.parametrize("filter", [{"RUST_LOG": "polyagent_agent_core=warn,wasi_sandbox=trace"}, {"POLYAGENT_LOG": "warn,wasi=trace"}])
def test_each_wasi_call_is_in_the_log_at_level_trace(tmp_path, filter):
    """With arguments and result; of commands with and without a server, and of the server's own runs."""
    calls = lambda text: [json.loads(line)["call"] for line in text.splitlines() if line.startswith("{")]
    module = ROOT / "docs" / "assets" / "hello-wasi.wat"
    done = run("run", "--local", module, env={**os.environ, **filter})
    assert done.out == "Hello from WASI!\n" and calls(done.err) == ["fd_write(1, 0, 1, 28) = 0"]
    server = Server(tmp_path, http=True, env=filter)
    assert execute(server, "import os\nos.urandom(4)\nopen('/x')")[1]["exit_code"] == 1
    assert execute(server, "print('hi')")[1]["stdout"] == "hi\n"
    served = run("run", module, env=server.env)
    server.stop()
    assert served.err == "wasi: fd_write(1, 0, 1, 28) = 0\n"
    told = [e for e in server.events() if e["component"] == "wasi"]
    assert any(e["call"].startswith("random_get(") for e in told) and any(e["call"].startswith("proc_exit(") for e in told)
    assert all(e["level"] == "trace" for e in told)


def test_levels_by_component(tmp_path):
    server = Server(tmp_path, http=True, env={"POLYAGENT_LOG": "info,http=error"})
    execute(server, "")
    server.stop()
    assert not [e for e in server.events() if e["component"] == "http"]
