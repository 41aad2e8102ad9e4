"""Promise: whatever one tenant sends, another one's runs are served: it has its share of the places, of the queue, of the compilers and
of the warm interpreters, and no more."""
import base64
import hashlib
import http.client
import json
import os
import re
import select
import threading

import pytest
from server import Server, becomes

TOKENS = {"first": "tokA", "second": "tokB", "third": "tokC"}
PLACES, QUEUE, NAMES = 8, 16, 50000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "tokens").write_text("".join(f"{name}:{hashlib.sha256(token.encode()).hexdigest()}\n" for name, token in TOKENS.items()))
    (folder / "c.yaml").write_text(f"server: {{auth: {{tokens_file: '{folder}/tokens'}}}}\n"
                                   f"queue: {{max_running: {PLACES}, max_queued: {QUEUE}}}\nwasi: {{workspace_inodes: {2 * NAMES}}}\ntenants: {{third: {{running: 1}}}}\n")
    started = Server(folder, "--config", folder / "c.yaml", http=True)
    yield started
    started.stop()


def execute(server, who, tool="python_wasi_runner", **parameters):
    return server.ask("POST", "/tools/execute", {"tool": tool, "parameters": parameters}, TOKENS[who])[1]


def figure(server, name):
    text = server.ask("GET", "/metrics", token=TOKENS["first"])[1].decode()
    return int(re.search(rf"^polyagent_{name} (\d+)$", text, re.M)[1])


SLEEP = {"tool": "python_wasi_runner", "parameters": {"code": "import time; time.sleep(100)", "execution_timeout_ms": 200000}}


def hard(loops):
    """60 KB that take the compiler the longer, the more loops that change all variables are within each other."""
    variables = range(1000)
    text = "".join(["(module (memory (export \"memory\") 1) (func (result i32) i32.const 0) (func (export \"_start\") (local ", "i32 " * len(variables), ") ",
                    "(loop " * loops, *(f"(local.set {i} (i32.add (local.get {i}) (call 0)))" for i in variables),
                    *(f"(br_if 0 (local.get {i % len(variables)})))" for i in range(loops)), "))"])
    return {"tool": "code_executor", "parameters": {"wasm_base64": base64.b64encode(text.encode()).decode()}}


class Flood:
    """Calls of a tenant that last until it hangs up."""

    def __init__(self, server, who, calls):
        self.connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=120) for _ in calls]
        for call, connection in zip(calls, self.connections):
            connection.request("POST", "/tools/execute", json.dumps(call), {"Authorization": f"Bearer {TOKENS[who]}"})

    def answered(self):
        """Those that are not under way (any more)."""
        return select.select([c.sock for c in self.connections], [], [], 0)[0]

    def hang_up(self):
        for connection in self.connections:
            connection.close()


def test_places_and_queue_are_shared(server):
    """Second wants everything: it has three quarters of the places, and of the queue, and is told so."""
    running, queued = PLACES * 3 // 4, QUEUE * 3 // 4
    flood = Flood(server, "second", [SLEEP] * 30)
    assert becomes(lambda: figure(server, "queue_depth"), queued) == queued
    assert becomes(lambda: len(flood.answered()), 30 - running - queued) == 30 - running - queued
    answers = [execute(server, "first", code=f"print({i})") for i in range(5)]
    assert [a["stdout"] for a in answers] == [f"{i}\n" for i in range(5)], answers
    assert len(flood.answered()) == 30 - running - queued  # none of second's has ended meanwhile
    refused = execute(server, "second", code="print(1)")
    assert refused["status"] == "OVERLOADED"
    assert f"your share of the queue is full: {queued} of your runs wait" in refused["error"]["message"]
    assert 10 <= int(re.search(r"retry in (\d+) ms", refused["error"]["message"])[1]) <= 10000
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/tools/execute", json.dumps(SLEEP), {"Authorization": f"Bearer {TOKENS['second']}"})
    response = connection.getresponse()
    hint = int(re.search(r"retry in (\d+) ms", response.read().decode())[1])
    connection.close()
    assert (response.status, int(response.headers["Retry-After"])) == (429, -(-hint // 1000))
    flood.hang_up()
    assert becomes(lambda: (figure(server, "queue_depth"), figure(server, "runs_in_flight")), (0, 0)) == (0, 0)


def test_shares_by_name(server):
    flood = Flood(server, "third", [SLEEP] * 3)
    assert becomes(lambda: (figure(server, "queue_depth"), figure(server, "runs_in_flight")), (2, 3)) == (2, 3)
    flood.hang_up()
    assert becomes(lambda: figure(server, "runs_in_flight"), 0) == 0


def test_compilers_are_shared(server):
    """Modules that take the compiler long keep their own tenant waiting only."""
    flood = Flood(server, "second", [hard(loops) for loops in range(400, 406)])
    assert becomes(lambda: figure(server, "runs_in_flight"), 6) == 6
    small = base64.b64encode(b'(module (memory (export "memory") 1) (func (export "_start")))').decode()
    answer = execute(server, "first", "code_executor", wasm_base64=small)
    assert answer["status"] == "OK", answer
    assert not flood.answered()
    flood.hang_up()
    assert becomes(lambda: figure(server, "runs_in_flight"), 0) == 0


INTERPRETER = (b'(module (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))'
               b'(memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\10\\00\\00\\00")'
               b'(func (export "_start") (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))) (data (i32.const 64) "%d"))')


def test_a_tenants_own_interpreters_make_room_for_one_another(server):
    """Twelve interpreters that second hands over push out none that first uses."""
    before = [execute(server, "first", tool, code="1")["status"] for tool in ("python_wasi_runner", "javascript_wasi_runner")]
    assert before == ["OK"] * 2
    started = figure(server, "zygotes_started_total")
    for number in range(12):
        own = base64.b64encode(INTERPRETER % number).decode()
        answer = execute(server, "second", code="1", interpreter_wasm_base64=own)
        assert answer["status"] == "OK", answer
    assert figure(server, "zygotes_started_total") == started + 12
    assert figure(server, "zygotes") <= 8
    for tool in ("python_wasi_runner", "javascript_wasi_runner"):
        assert execute(server, "first", tool, code="1")["status"] == "OK"
    assert figure(server, "zygotes_started_total") == started + 12  # first's were there all the time


def test_others_are_answered_while_many_names_are_removed(server):
    """Of a session that is ended: its names become fewer, another tenant is answered, and some of them are still there."""
    def names():
        return sum(len(files) for _, _, files in os.walk(server.env["POLYAGENT_SESSIONS_DIR"]))

    status, session = server.ask("POST", "/sessions", {}, TOKENS["first"])
    assert status in (200, 201), session
    path, few = f"/sessions/{session['session_id']}", names() + 10  # what else it keeps there
    code = f"for i in range({NAMES}):\n    open(f'n{{i}}', 'w').close()\n"
    done = server.ask("POST", path + "/run", {"code": code, "execution_timeout_ms": 300000}, TOKENS["first"], timeout=400)[1]
    assert done["status"] == "OK" and names() >= NAMES, done
    ending = threading.Thread(target=server.ask, args=("DELETE", path, None, TOKENS["first"]))
    ending.start()
    answered, left = 0, names()
    while left > few:
        begun = left < NAMES
        assert server.ask("GET", "/sessions", token=TOKENS["second"])[0] == 200
        left = names()
        answered += begun and left > few
    ending.join()
    assert answered > 0


FILES = {f"f{i}": "x" * 100 for i in range(900)}
DEEP = "import os\nfor i in range(2000): open(f'/workspace/n{i}', 'w').close()\nos.chdir('/workspace')\nfor i in range(70): os.mkdir('d'); os.chdir('d')"


@pytest.mark.parametrize("path, body", [
    ("/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": "1", "session_id": "new", "files": FILES}}),
    ("/sessions", {"files": {**FILES, "f0/x": "1"}}),  # which is refused
    ("/sessions/ID/fork", {"count": 2})])  # of too many folders in each other
def test_a_session_that_is_closed_while_it_is_made_ends_once(server, path, body):
    front, caught = server.front, 0
    if "ID" in path:
        base = server.ask("POST", "/sessions", {}, TOKENS["second"])[1]["session_id"]
        assert server.ask("POST", f"/sessions/{base}/run", {"code": DEEP}, TOKENS["second"])[1]["status"] == "OK"
        path = path.replace("ID", base)
    for _ in range(20):
        if caught >= 3:
            break
        answers = []
        maker = threading.Thread(target=lambda: answers.append(server.ask("POST", path, body, TOKENS["second"])[0]))
        maker.start()
        while maker.is_alive():
            for one in server.ask("GET", "/sessions", token=TOKENS["second"])[1]["sessions"]:
                if one["state"] == "busy" and one["session_id"] not in path:
                    caught += server.ask("DELETE", f"/sessions/{one['session_id']}", token=TOKENS["second"])[0] == 200
        maker.join()
        assert answers and answers[0] in (200, 400, 404), answers
    assert caught >= 3 and server.front == front
    for one in server.ask("GET", "/sessions", token=TOKENS["second"])[1]["sessions"]:
        server.ask("DELETE", f"/sessions/{one['session_id']}", token=TOKENS["second"])
    assert becomes(lambda: server.ask("GET", "/sessions", token=TOKENS["second"])[1]["sessions"], []) == []
