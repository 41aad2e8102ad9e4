"""Promise: the HTTP interface gives the contract's results and statuses, whatever a client sends or
however it behaves; nothing of a client stays behind."""
import base64
import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import time

import pytest
from program import PYTHON_WASM, ROOT, cold_cpu_ms, run
from server import Server, becomes, children, descriptors, falls_to, settled

HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("http"), http=True)
    yield server
    server.stop()


def request(front, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=60)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    response.text = text.decode()
    return response


def execute(front, tool, parameters):
    response = request(front, "POST", "/tools/execute", json.dumps({"tool": tool, "parameters": parameters}))
    assert response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(response.text)


def test_tools_run(front):
    status, result = execute(front, "python_wasi_runner", {"code": "print(input() + '!')", "stdin": "hé"})
    assert (status, result["status"], result["stdout"], result["usage"]["cache"]) == (200, "OK", "hé!\n", "hit")
    assert "seccomp" in result["isolation"] and result["usage"]["cpu_ms"] < cold_cpu_ms() / 3  # warm
    status, result = execute(front, "code_executor", {"wasm_base64": base64.b64encode(HELLO.read_bytes()).decode()})
    assert (status, result["stdout"]) == (200, "Hello from WASI!\n")


def test_a_large_module_and_a_large_output(front):
    encoded = base64.b64encode(PYTHON_WASM.read_bytes()).decode()
    status, result = execute(front, "python_wasi_runner", {
        "code": "print('x' * 900000)", "interpreter_wasm_base64": encoded})
    assert status == 200 and len(result["stdout"]) == 900001


@pytest.mark.parametrize("parameters, name", [
    ({"code": "print('before', flush=True)\nwhile True: pass", "execution_timeout_ms": 300}, "TIMEOUT"),
    ({"code": "x = 'a' * 10**9"}, "MEMORY_LIMIT"),
    ({"code": "while True: print('x' * 1000)"}, "OUTPUT_LIMIT"),
    ({"code": "while True: pass", "max_fuel": 100000}, "FUEL_EXHAUSTED"),
    ({"code": "import sys; sys.exit(9)"}, "OK"),
])
def test_however_a_program_ends_the_call_succeeded(front, parameters, name):
    status, result = execute(front, "python_wasi_runner", parameters)
    assert (status, result["status"]) == (200, name)
    assert name != "TIMEOUT" or result["stdout"] == "before\n"


@pytest.mark.parametrize("body, status, name, text", [
    (b"", 400, "INVALID_ARGUMENT", "no JSON"), (b"{", 400, "INVALID_ARGUMENT", "no JSON"),
    (b"[]", 400, "INVALID_ARGUMENT", "object"), (b'{"tool": 5}', 400, "INVALID_ARGUMENT", "tool"),
    (b'{"tool": "code_executor"}', 400, "INVALID_ARGUMENT", "parameters"),
    (b'{"tool": "python_wasi_runner", "parameters": {"code": ""}, "session_id": "s"}', 404, "NOT_FOUND", "session_id"),
    (b'{"tool": "python_wasi_runner", "parameters": {"code": ""}, "what": 1}', 400, "INVALID_ARGUMENT", "what"),
    (b'{"tool": "nope", "parameters": {}}', 404, "NOT_FOUND", "nope"),
    (b'{"tool": "code_executor", "parameters": {"wasm_bas64": ""}}', 400, "INVALID_ARGUMENT", "did you mean wasm_base64"),
    (b'{"tool": "code_executor", "parameters": {"wasm_base64": "QQ=="}}', 400, "INVALID_MODULE", "Invalid WASM module"),
    (b'{"tool": "code_executor", "parameters": {"wasm_path": "/etc/passwd"}}', 403, "DENIED", "wasm_path"),
    (b'{"tool": "code_executor", "parameters": {"wasm_path": "/opt/wasm-interpreters/../../etc/passwd"}}', 403, "DENIED", "wasm_path"),
    (b'{"tool": "python_wasi_runner", "parameters": {"code": "\xff"}}', 400, "INVALID_ARGUMENT", "no JSON"),
    (b"[" * 100000, 400, "INVALID_ARGUMENT", "no JSON"),
])
def test_bad_bodies_get_their_status(front, body, status, name, text):
    response = request(front, "POST", "/tools/execute", body)
    result = json.loads(response.text)
    assert (response.status, result["status"]) == (status, name) and text in result["error"]["message"], result


def test_paths_and_methods(front):
    assert json.loads(request(front, "GET", "/health").text) == {"status": "ok"}
    assert request(front, "GET", "/ready").status == 200
    assert {t["name"] for t in json.loads(request(front, "GET", "/tools/list").text)["tools"]} >= {
        "code_executor", "python_wasi_runner", "javascript_wasi_runner"}
    assert request(front, "GET", "/nope").status == 404
    document = json.loads(request(front, "GET", "/openapi.json").text)
    assert document["openapi"] == "3.1.0" and len(document["components"]["schemas"]["ToolCall"]["oneOf"]) > 3
    refused = request(front, "GET", "/tools/execute")
    assert (refused.status, refused.headers["Allow"]) == (405, "POST")
    assert request(front, "DELETE", "/health").headers["Allow"] == "GET"
    head = request(front, "HEAD", "/health")
    assert (head.status, head.text) == (200, "")


def test_metrics_count(front):
    def runs():
        text = request(front, "GET", "/metrics").text
        found = re.search(r'^polyagent_runs_total\{tool="python_wasi_runner",status="OK"\} (\d+)$', text, re.M)
        count = re.search(r'^polyagent_run_seconds_count\{tool="python_wasi_runner"\} (\d+)$', text, re.M)
        infinite = re.search(r'^polyagent_run_seconds_bucket\{tool="python_wasi_runner",le="\+Inf"\} (\d+)$', text, re.M)
        assert count[1] == infinite[1] and re.search(r"^polyagent_runs_in_flight 0$", text, re.M)
        assert re.search(r"^polyagent_queue_depth 0$", text, re.M)
        assert int(re.search(r'^polyagent_workers\{state="parked"\} (\d+)$', text, re.M)[1]) > 0
        assert int(re.search(r'^polyagent_code_cache_total\{result="hit"\} (\d+)$', text, re.M)[1]) > 0
        return int(found[1])

    execute(front, "python_wasi_runner", {"code": ""})
    before = runs()
    for _ in range(3):
        execute(front, "python_wasi_runner", {"code": "1 / 0"})
    assert runs() == before + 3


def test_too_large_is_refused_and_the_rest_goes_on(front):
    with socket.create_connection(("127.0.0.1", front.port)) as client:
        client.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 80000000\r\n\r\n")
        piece = b" " * (1 << 20)
        for _ in range(80):
            try:
                client.sendall(piece)
            except OSError:
                break
        assert b" 413 " in client.recv(1000)
    assert request(front, "GET", "/health").status == 200


def test_bodies_of_many_are_bounded_together(tmp_path):
    """1 GiB for all: who comes then is told to come again; when they are gone, there is room."""
    front = Server(tmp_path, http=True)
    piece, clients = b" " * (1 << 20), []
    for _ in range(16):
        client = socket.create_connection(("127.0.0.1", front.port))
        client.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000000\r\n\r\n")
        for _ in range(66):
            client.sendall(piece)
        clients.append(client)
    refused = request(front, "POST", "/tools/execute", " " * 60000000)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1") and "OVERLOADED" in refused.text
    for client in clients:
        client.close()
    until = time.monotonic() + 20
    while execute(front, "python_wasi_runner", {"code": "#" + "x" * 1000000})[0] != 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert execute(front, "python_wasi_runner", {"code": "#" + "x" * 1000000})[0] == 200
    front.stop()


def test_many_at_once_on_kept_connections(front):
    def some(i):
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=60)
        for j in range(10):
            body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": f"print({i}, {j})"}})
            connection.request("POST", "/tools/execute", body)
            assert json.loads(connection.getresponse().read())["stdout"] == f"{i} {j}\n"
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(some, range(16)))


def test_a_client_that_is_gone_ends_its_run(front):
    execute(front, "python_wasi_runner", {"code": ""})
    before = settled(lambda: (len(children(front.pid)), descriptors(front.front)))
    body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "while True: pass"}}).encode()
    head = b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", front.port)) as client:
            client.sendall(head + body)
            assert in_flight(front, 1)
    falls_to(before[0] + 3, lambda: len(children(front.pid)))
    falls_to(before[1] + 1, lambda: descriptors(front.front))
    assert in_flight(front, 0)


def test_a_stream_whose_reader_is_gone_ends_its_run(front):
    before = settled(lambda: (len(children(front.pid)), descriptors(front.front)))
    body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "while True: print('x' * 1000)", "output_limit_bytes": 16 << 20}}).encode()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", front.port)) as client:
            client.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert client.recv(1000)
            time.sleep(0.3)
    falls_to(before[0] + 3, lambda: len(children(front.pid)))
    falls_to(before[1] + 1, lambda: descriptors(front.front))
    assert in_flight(front, 0)


def test_clients_that_behave_badly_harm_nobody(front):
    before = settled(lambda: descriptors(front.front))
    bad = []
    for data in (b"", b"\0" * 100, b"GET", b"GET /health HTTP/9.9\r\n\r\n", b"POST /tools/execute HTTP/1.1\r\n",
                 b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{", os.urandom(500),
                 b"GET / HTTP/1.1\r\nX: " + b"y" * 100000, b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\n"
                 b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"):
        client = socket.create_connection(("127.0.0.1", front.port))
        client.sendall(data)
        bad.append(client)
    idle = [socket.create_connection(("127.0.0.1", front.port)) for _ in range(500)]
    assert execute(front, "python_wasi_runner", {"code": "print('well')"})[1]["stdout"] == "well\n"
    for client in bad + idle:
        client.close()
    falls_to(before + 1, lambda: descriptors(front.front))
    assert front.process.poll() is None


def test_overload_is_told_with_a_hint(tmp_path):
    front = Server(tmp_path, "--max-running", "1", "--max-queued", "1", http=True)
    body = {"code": "while True: pass", "execution_timeout_ms": 3000}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: request(front, "POST", "/tools/execute", json.dumps(
            {"tool": "python_wasi_runner", "parameters": body})), range(6)))
    refused = [a for a in answers if a.status == 429]
    assert refused and all(a.headers["Retry-After"] and "OVERLOADED" in a.text for a in refused)
    front.stop()


def stream(front, code, read=None, **parameters):
    """The events of a run; `read` is called with the open response first."""
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=60)
    connection.request("POST", "/tools/execute", json.dumps({"tool": "python_wasi_runner", "parameters": {"code": code, **parameters}}),
                       {"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream"
    first = read(response) if read else ""
    blocks = (first + response.read().decode()).strip().split("\n\n")
    connection.close()
    return [(b.split("\n")[0].removeprefix("event: "), json.loads(b.split("\n")[1].removeprefix("data: "))) for b in blocks]


def test_output_streams_as_events(front):
    came = []

    def read_first(response):
        head = response.readline() + response.readline() + response.readline()
        came.append(time.monotonic())
        return head.decode()

    events = stream(front, "import sys, time\nprint('first', flush=True)\ntime.sleep(3)\nprint('e', file=sys.stderr)\nsys.exit(3)", read_first)
    assert time.monotonic() - came[0] > 1  # it did not wait for the end
    assert events[0] == ("stdout", {"text": "first\n"}) and ("stderr", {"text": "e\n"}) in events
    assert (events[-1][0], events[-1][1]["exit_code"]) == ("result", 3) and "stdout" not in events[-1][1]


@pytest.mark.parametrize("end, rest, code", [("print('ß'.upper(), input())\nprint(1 // 0)", "SS Ada\n", 1), ("print(1)", "1\n", 0), ("print(1)\nassert False", "1\n", 1)])
@pytest.mark.parametrize("merged", [False, True])
def test_a_stream_in_mode_auto_is_of_one_run(front, merged, end, rest, code):
    """Compiled Python that gives up is interpreted, and nobody sees that it began twice."""
    lines = "".join(f"line {i}\n" for i in range(3000))
    events = stream(front, f"for i in range(3000):\n    print('line', i)\n{end}", mode="auto", stdin="Ada\n", stderr_to_stdout=merged)
    out, err = ("".join(d["text"] for kind, d in events if kind == which) for which in ("stdout", "stderr"))
    if merged:
        out, err = out[:len(lines + rest)], out[len(lines + rest):]
    assert out == lines + rest and events[-1][1]["exit_code"] == code
    assert err.startswith("Traceback") and "Error" in err and "cannot do this" not in err if code else err == ""


def test_folders_of_runs_go_with_them(tmp_path):
    server = Server(tmp_path, http=True, env={"TMPDIR": str(tmp_path)})
    there = lambda: list(tmp_path.glob("polyagent-front-*/polyagent-run-*"))  # noqa: E731
    for _ in range(3):
        _, result = execute(server, "python_wasi_runner", {"code": "print(open('f').read()); open('g', 'w').write('x')", "files": {"f": "of mine"}})
        assert result["stdout"] == "of mine\n" and result["exit_code"] == 0
    execute(server, "python_wasi_runner", {"code": "", "files": {"f": ""}, "stdn": ""})
    body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "while True: pass", "files": {"f": ""}}}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert becomes(lambda: len(there()), 1) == 1
    assert becomes(there, []) == []
    server.stop()
    assert not list(tmp_path.glob("polyagent-front-*"))


def test_characters_are_not_torn_apart(front):
    code = "import sys, time\nfor b in 'aé€🐍z'.encode() + b'\\xe2\\x82':\n    sys.stdout.buffer.write(bytes([b])); sys.stdout.flush(); time.sleep(.01)"
    events = stream(front, code)
    assert "".join(d["text"] for kind, d in events if kind == "stdout") == "aé€🐍z\ufffd\ufffd"


def test_a_stream_waits_for_a_slow_reader(front):
    events = stream(front, "for i in range(200): print('x' * 49999)", lambda response: time.sleep(1) or "", output_limit_bytes=16 << 20)
    assert sum(len(d["text"]) for kind, d in events if kind == "stdout") == 10000000 and events[-1][1]["status"] == "OK"


def test_a_refused_stream_is_an_answer(front):
    response = request(front, "POST", "/tools/execute", '{"tool": "nope", "parameters": {}}', Accept="text/event-stream")
    assert (response.status, json.loads(response.text)["status"]) == (404, "NOT_FOUND")


def in_flight(front, count):
    return becomes(lambda: f"polyagent_runs_in_flight {count}" in request(front, "GET", "/metrics").text, True)


def test_it_ends_when_its_runs_have_ended(tmp_path):
    front = Server(tmp_path, http=True)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(execute, front, "python_wasi_runner", {"code": "import time; time.sleep(1.5); print('done')"})
        assert in_flight(front, 1)
        front.stop()
        status, result = slow.result()
        assert (status, result["stdout"]) == (200, "done\n")


def test_runs_that_outlast_its_end_are_cancelled(tmp_path):
    front = Server(tmp_path, "--drain", "1", http=True)
    clients = []
    body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "while True: pass"}}).encode()
    for _ in range(3):
        clients.append(socket.create_connection(("127.0.0.1", front.port)))
        clients[-1].sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert in_flight(front, 3)
    front.stop()
    assert all(client.recv(100) == b"" for client in clients)
    for client in clients:
        client.close()


def test_the_process_in_front_is_started_again_when_it_dies(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("log: {level: info}\n")
    front = Server(tmp_path, "--config", config, http=True)
    config.write_text("nonsense: 1\n")  # with which it could not start; it is tried until it can
    os.kill(front.front, signal.SIGKILL)
    until = time.monotonic() + 30
    while "nonsense" not in front.log.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    config.write_text("log: {level: info}\n")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if execute(front, "python_wasi_runner", {"code": "print(1)"})[1]["stdout"] == "1\n":
                break
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
    assert any(e["message"].startswith("polyagent-net has died") for e in front.events())
    front.stop()


@pytest.mark.parametrize("options, text", [
    (["--http", "8000"], "ADDR:PORT"), (["--http", "0.0.0.0:8000"], "not on loopback"), (["--grpc", "[::]:1"], "not on loopback"),
    (["--http", "localhost:1"], "ADDR:PORT"), (["--http", "127.0.0.1:99999"], "server.http"), (["--what"], "--help"),
    (["extra"], "extra"), (["--config", "/nonexistent"], "/nonexistent"), (["--max-running", "0"], "--max-running")])
def test_bad_usage_is_one_line(tmp_path, options, text):
    done = run("serve", *options, env={**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "s"), "POLYAGENT_SERVER_GRPC": ""})
    assert done.returncode == 125 and text in done.err and done.err.count("\n") == 1, done.err


def test_a_port_that_is_taken(front, tmp_path):
    done = run("serve", "--http", f"127.0.0.1:{front.port}", env={**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "s")})
    assert done.returncode == 125 and "Address already in use" in done.err and done.err.count("\n") == 1, done.err
