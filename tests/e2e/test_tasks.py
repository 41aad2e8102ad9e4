"""Promise: a task in words runs a named tool with no model; anything else is an exchange with an OpenAI-compatible endpoint,
which gets the tools, whose calls are run, and which is bounded in rounds, tokens and time."""
import concurrent.futures
import http.client
import http.server
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from program import BUILD, ROOT, run
from server import Server, becomes, children, falls_to, settled


class Model(http.server.ThreadingHTTPServer):
    """Answers POST /v1/chat/completions by `script`: a function of the request's body."""

    daemon_threads = True

    def __init__(self):
        self.requests, self.script = [], None
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        status, answer = self.server.script(body)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def says(content, tokens=10):
    return 200, {"choices": [{"message": {"role": "assistant", "content": content}}],
                 "usage": {"prompt_tokens": tokens, "completion_tokens": 1}}


def calls(*wanted, tokens=10):
    return 200, {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(wanted)]}}], "usage": {"prompt_tokens": tokens, "completion_tokens": 1}}


@pytest.fixture(scope="module")
def model():
    model = Model()
    yield model
    model.shutdown()
    model.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "c.yaml").write_text(f"llm: {{base_url: '{model.url}', model: tiny, max_rounds: 3, max_tokens: 500, timeout_ms: 4000}}\n")
    server = Server(folder, "--config", folder / "c.yaml", http=True, env={"POLYAGENT_LLM_API_KEY": "sk-secret"})
    yield server
    server.stop()
    assert "sk-secret" not in server.log.read_text()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("alone"), http=True)
    yield server
    server.stop()


def post(server, body, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/api/v1/tasks", body if isinstance(body, str) else json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text if "event-stream" in response.headers["Content-Type"] else json.loads(text)


@pytest.mark.parametrize("query, result", [
    ('Use python_wasi_runner to execute: print("Hello PolyAgent")', "Hello PolyAgent\n"),
    ("use python_wasi_runner to RUN : print(1)", "1\n"),
    ("Use python_wasi_runner to execute:\n```python\nfor i in range(2):\n    print(i)\n```\n", "0\n1\n"),
    ("Use python_wasi_runner to execute: ```\nprint('`')\n```", "`\n"),
    ("  Use  python_wasi_runner  to execute: print('Use x to execute: y')", "Use x to execute: y\n"),
])
def test_the_direct_form(alone, query, result):
    status, task = post(alone, {"query": query})
    assert (status, task["status"], task["result"], task["error"]) == (200, "OK", result, None)
    assert task["tool_calls"][0]["name"] == "python_wasi_runner" and task["tool_results"][0]["output"]["stdout"] == result


def test_tool_parameters_in_the_context(alone):
    status, task = post(alone, {"query": "whatever", "task_id": "t1", "context": {
        "tool_parameters": {"tool": "python_wasi_runner", "code": "print(input())", "stdin": "x"}}})
    assert (status, task["task_id"], task["result"]) == (200, "t1", "x\n")
    status, task = post(alone, {"query": "", "context": {"tool_parameters": {"tool": "python_wasi_runner", "parameters": {"code": "1/0"}}}})
    assert (status, task["status"]) == (200, "OK") and task["result"].rstrip().endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize("body, status, text", [
    ({"query": "What is 2 + 2?"}, 400, "no model is configured"), ({"query": ""}, 400, "query"), ({}, 400, "query"), ({"query": 5}, 400, "query"),
    ({"query": "x", "context": []}, 400, "context"), ({"query": "x", "context": {"tool_parameters": 1}}, 400, "context"),
    ({"query": "x", "context": {"tool_parameters": {}}}, 400, "tool_parameters.tool"), ({"query": "x", "wat": 1}, 400, "wat"),
    ({"query": "Use nope to execute: x"}, 404, "nope"), ({"query": "Use code_executor to execute: QQ=="}, 400, "Invalid WASM module"),
    ({"query": "Use code_executor to execute: /etc/passwd"}, 403, "wasm_path"), ("{", 400, "no JSON"), ("[]", 400, "object"),
])
def test_refusals(alone, body, status, text):
    got, answer = post(alone, body)
    assert got == status and text in answer["error"]["message"], answer


def test_the_exchange_with_a_model(server, model):
    def script(body):
        last = body["messages"][-1]
        if last["role"] == "user":
            return calls(("python_wasi_runner", '{"code": "import math; print(math.factorial(10))"}'), ("nope", "{}"), ("python_wasi_runner", "no json"))
        assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool", "tool", "tool"]
        results = [json.loads(m["content"]) for m in body["messages"][3:]]
        assert [m["tool_call_id"] for m in body["messages"][3:]] == ["call_0", "call_1", "call_2"]
        assert results[0]["stdout"] == "3628800\n" and results[1]["status"] == "NOT_FOUND" and "code: missing" in results[2]["error"]["message"]
        return says("10! is 3628800.")

    model.script, model.requests[:] = script, []
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    status, task = post(server, {"query": "Execute the Python code that calculates factorial of 10"}, traceparent=trace, **{"X-Request-Id": "r-1"})
    assert (status, task["status"], task["result"]) == (200, "OK", "10! is 3628800."), task
    assert [r["status"] for r in task["tool_results"]] == ["OK", "NOT_FOUND", "INVALID_ARGUMENT"]
    assert task["metrics"]["model_rounds"] == 2 and task["metrics"]["prompt_tokens"] == 20
    path, headers, body = model.requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer sk-secret" and body["model"] == "tiny"
    assert headers["traceparent"] == trace and headers["X-Request-Id"] == "r-1" == task["request_id"]
    assert {t["function"]["name"] for t in body["tools"]} >= {"code_executor", "python_wasi_runner", "javascript_wasi_runner"}
    assert body["tools"][1]["function"]["parameters"]["required"] == ["code"]


@pytest.mark.parametrize("script, status, name, text", [
    (lambda b: calls(("python_wasi_runner", '{"code": ""}')), 200, "TIMEOUT", "max_rounds"),
    (lambda b: calls(("python_wasi_runner", '{"code": ""}'), tokens=600), 200, "TIMEOUT", "max_tokens"),
    (lambda b: calls(*[("python_wasi_runner", '{"code": ""}')] * 65), 200, "TIMEOUT", "more than 64"),
    (lambda b: time.sleep(6) or says("late"), 200, "TIMEOUT", "model at"),
    (lambda b: (500, {"error": {"message": "out of order"}}), 500, "INTERNAL", "out of order"),
    (lambda b: (429, {}), 429, "OVERLOADED", "429"), (lambda b: (200, b"no json"), 500, "INTERNAL", "no JSON"),
    (lambda b: (200, {}), 500, "INTERNAL", "no content"), (lambda b: (200, {"choices": [{"message": {"tool_calls": 5}}]}), 500, "INTERNAL", "no content"),
    (lambda b: (200, {"choices": [{"message": {"tool_calls": [5]}}]}), 200, "TIMEOUT", "max_rounds"),
    (lambda b: (200, b"[" * 100000), 500, "INTERNAL", "no JSON"), (lambda b: (200, b'"' + b"x" * (9 << 20)), 500, "INTERNAL", "model at"),
])
def test_models_that_misbehave(server, model, script, status, name, text):
    model.script = script
    got, task = post(server, {"query": "Do something"})
    assert (got, task["status"]) == (status, name) and text in task["error"]["message"], task


def test_a_client_that_hangs_up_ends_the_task(server, model):
    model.script = lambda body: calls(("python_wasi_runner", '{"code": "while True: pass"}'))
    before = settled(lambda: len(children(server.pid)))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/api/v1/tasks", json.dumps({"query": "Hang"}))
    time.sleep(1)
    connection.close()
    falls_to(before + 3, lambda: len(children(server.pid)))


def test_events_tell_what_happens(server, model):
    model.script = lambda body: calls(("python_wasi_runner", '{"code": "print(1)"}')) if body["messages"][-1]["role"] == "user" else says("done")
    status, text = post(server, {"query": "Do it"}, Accept="text/event-stream")
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    assert [e["event"] for e in events] == ["tool_call", "tool_result", "result"] and json.loads(events[2]["data"])["result"] == "done"


def test_submit(alone, server, model):
    script = [ROOT / "scripts" / "submit_task.sh"] if BUILD.name == "main" else [BUILD / "src" / "polyagent", "submit"]
    env = {**os.environ, "POLYAGENT_SERVER": f"127.0.0.1:{alone.port}"}
    done = subprocess.run([*script, 'Use python_wasi_runner to execute: print("Hello PolyAgent")'], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello PolyAgent\n", "")
    done = run("submit", "What is 2 + 2?", env=env)
    assert done.returncode == 125 and "Use python_wasi_runner to execute" in done.err and done.err.count("\n") == 1
    model.script = lambda body: says("four")
    assert run("submit", "--server", f"http://127.0.0.1:{server.port}", "What is 2 + 2?").out == "four"
    assert json.loads(run("submit", "--json", "--server", f"127.0.0.1:{server.port}", "x").out)["metrics"]["model_rounds"] == 1
    done = run("submit", "--server", "127.0.0.1:1", "x")
    assert done.returncode == 125 and "is polyagent serve running there?" in done.err
    assert run("submit", "a", "b").returncode == 125 and run("submit", "--nope", "x").returncode == 125
    done = run("tool", "--server", f"127.0.0.1:{alone.port}", "python_wasi_runner", '{"code": "import sys; sys.exit(5)"}')
    assert done.returncode == 5 and json.loads(done.out)["exit_code"] == 5


def test_many_tasks_at_once(alone):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: post(alone, {"query": f"Use python_wasi_runner to execute: print({i})"}), range(100)))
    assert all(task["result"] == f"{i}\n" for i, (_, task) in enumerate(answers))


def test_the_models_key_may_be_in_a_file(tmp_path, model):
    """Of root's alone; read again by SIGHUP, and none of it where the file is no key."""
    key = tmp_path / "key"
    (tmp_path / "c.yaml").write_text(f"llm: {{base_url: '{model.url}', model: tiny, api_key_file: '{key}'}}\n")

    def used():
        model.requests[:] = []
        assert post(server, {"query": "Anything"})[0] == 200
        return model.requests[0][1]["Authorization"]

    model.script = lambda body: says("done")
    key.write_text("sk-one\n")
    key.chmod(0o600)
    server = Server(tmp_path, "--config", tmp_path / "c.yaml", http=True, env={"POLYAGENT_LLM_API_KEY": "sk-variable"})
    assert used() == "Bearer sk-one"
    key.write_text("sk-two")
    server.process.send_signal(signal.SIGHUP)
    assert becomes(used, "Bearer sk-two") == "Bearer sk-two"
    key.write_text("sk-three\nX-Other: header\n")
    server.process.send_signal(signal.SIGHUP)
    assert becomes(lambda: any("not taken" in e["message"] for e in server.events()), True) is True
    assert used() == "Bearer sk-two"
    server.stop()
    assert "sk-" not in server.log.read_text()
