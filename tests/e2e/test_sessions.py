"""Promise: a session keeps variables, imports and files from turn to turn, branches and goes back; how a turn ends, and whether
the state survived, is said plainly; nobody else gets at it; and files outlive the server."""
import base64
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
from server import Server, becomes, children, falls_to, resident_kib, settled, zombies


class Api:
    """JSON over HTTP, as somebody."""

    def __init__(self, server, token=None):
        self.server, self.token = server, token

    def raw(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def __call__(self, method, path, body=None, status=200):
        got, answer = self.raw(method, path, json.dumps(body) if body is not None else None)
        assert got == status, (got, answer)
        return json.loads(answer)

    def open(self, **parameters):
        return Session(self, self("POST", "/sessions", parameters)["session_id"])


class Session:
    def __init__(self, api, id):
        self.api, self.id = api, id

    def __call__(self, action, status=200, **body):
        return self.api("POST", f"/sessions/{self.id}/{action}", body, status)

    def run(self, code, status=200, **more):
        return self("run", status, code=code, **more)

    def value(self, code):
        """What an expression is there."""
        answer = self.run(code)
        assert (answer["status"], answer["exit_code"]) == ("OK", 0), answer
        return answer.get("result")

    def close(self):
        return self.api("DELETE", f"/sessions/{self.id}")

    def state(self):
        return self.api("GET", f"/sessions/{self.id}")["state"]

    def later(self, code, **more):
        """A turn in the background: a function that waits for its result."""
        box = {}
        thread = threading.Thread(target=lambda: box.update(result=self.run(code, **more)))
        thread.start()
        assert becomes(lambda: self.state() == "busy" or bool(box), True)

        def wait():
            thread.join(60)
            return box["result"]

        return wait


def left_in(folder):
    """What is not removed yet, or never will be."""
    return [path for path in pathlib.Path(folder).rglob("*") if path.parent != pathlib.Path(folder) or path.name not in ("trash", "interpreters")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("sessions"), http=True, grpc=True)
    yield server
    server.stop()


@pytest.fixture
def api(server):
    api = Api(server)
    yield api
    for session in api("GET", "/sessions")["sessions"]:
        api("DELETE", f"/sessions/{session['session_id']}")
    assert api("GET", "/sessions")["sessions"] == []


@pytest.fixture
def session(api):
    return api.open()


def test_turns_share_variables_imports_functions_and_files(session):
    assert session.run("import math\nx = 41\ndef f(y): return x + y")["session_state"] == "kept"
    assert session.value("f(1) + math.floor(0.5)") == "42"
    assert session.value("open('a.txt', 'w').write('hello')") == "5"
    assert session.value("import os\nos.getcwd(), open('/workspace/a.txt').read()") == "('/workspace', 'hello')"
    assert session.value("x += 1") is None and session.value("x") == "42"
    handle = session.run("g = open('a.txt'); g.read(2)")["result"]
    assert (handle, session.value("g.read()")) == ("'he'", "'llo'")
    assert session.value("__name__") == "'__main__'"


def test_tracebacks_name_the_turn(session):
    session.run("def f():\n    return 1 / 0\n")
    error = session.run("# a line\nf()")
    assert error["exit_code"] == 1 and error["session_state"] == "kept"
    assert 'File "<code 2>", line 2, in <module>\n    f()' in error["stderr"]
    assert 'File "<code>", line 2, in f\n    return 1 / 0' in error["stderr"]


def test_what_an_error_has_done_before_it_stays(session):
    assert session.run("x = 1\nraise SystemExit(7)")["exit_code"] == 7
    assert session.run("x = 2\nraise ValueError('no')")["exit_code"] == 1
    assert session.value("x") == "2"


@pytest.mark.parametrize("code, more, status", [
    ("x = 9\nwhile True: pass", {"execution_timeout_ms": 300}, "TIMEOUT"),
    ("x = 9\nwhile True: pass", {"cpu_time_ms": 200}, "TIMEOUT"),
    ("x = 9\nimport time; time.sleep(60)", {"execution_timeout_ms": 300}, "TIMEOUT"),
    ("x = 9\nwhile True: print('y' * 1000)", {"output_limit_bytes": 10000}, "OUTPUT_LIMIT"),
    ("x = 9\nimport os; os._exit(3)", {}, "OK"),
    ("x = 9\nimport os; os.abort()", {}, "TRAP")])
def test_a_turn_that_is_stopped_leaves_the_state_as_it_was(session, code, more, status):
    session.run("x = 5\nopen('kept', 'w').close()")
    answer = session.run(code, **more)
    assert answer["status"] == status and answer["session_state"] == "unchanged", answer
    assert "as before this turn" in answer["session_note"]
    if status != "OK":
        assert "as before this turn" in answer["error"]["message"]
    assert session.value("x, __import__('os').listdir()") == "(5, ['kept'])"


def test_a_first_turn_that_fails_leaves_a_fresh_session(session):
    assert session.run("x = 1\nwhile True: pass", execution_timeout_ms=300)["session_state"] == "unchanged"
    assert session.value("'x' in globals()") == "False"


def test_memory_is_bounded_over_all_turns(api):
    session = api.open(memory_limit_bytes=64 << 20)
    assert session.value("a = bytearray(20 << 20)\nlen(a)") == str(20 << 20)
    answer = session.run("b = bytearray(60 << 20)")
    assert answer["status"] in ("OK", "MEMORY_LIMIT") and (answer["exit_code"] == 1 or answer["error"])
    assert session.value("len(a)") == str(20 << 20)
    assert "belongs to the session" in session.run("1", 400, memory_limit_bytes=1 << 30)["error"]["message"]


def test_random_numbers_go_on(api, session):
    """They are not those of another session, nor are they seeded anew behind the program's back."""
    other = api.open()
    assert session.value("import random\nrandom.random()") != other.value("import random\nrandom.random()")
    session.run("random.seed(7)")
    first = [session.value("random.random()") for _ in range(3)]
    assert len(set(first)) == 3
    session.run("random.seed(7)")
    assert [session.value("random.random()") for _ in range(3)] == first


def test_branches_go_their_own_ways(session):
    session.run("x = [1]\nopen('f', 'w').write('base')\nimport os\nos.mkdir('d')\nos.symlink('f', 'l')")
    names = [s["session_id"] for s in session("fork", count=3)["sessions"]]
    branches = [Session(session.api, name) for name in names]
    assert len(set(names + [session.id])) == 4
    for number, branch in enumerate(branches):
        assert branch.value(f"x.append({number})\nopen('f', 'a').write(str({number}))\nx") == f"[1, {number}]"
    assert session.value("x, open('f').read()") == "([1], 'base')"
    assert branches[2].value("open('l').read(), sorted(os.listdir())") == "('base2', ['d', 'f', 'l'])"
    grandchild = Session(session.api, branches[1]("fork")["sessions"][0]["session_id"])
    branches[1].close()
    session.close()
    assert grandchild.value("x") == "[1, 1]" and grandchild.value("x.append(5)\nx") == "[1, 1, 5]"
    lineage = {s["session_id"]: s["parent"] for s in session.api("GET", "/sessions")["sessions"]}
    assert lineage[grandchild.id] == names[1] and lineage[names[0]] == session.id


OPEN_FILES = """
import csv, logging, os, sqlite3
db = sqlite3.connect("x.db")
db.execute("create table t(a)")
db.execute("insert into t values('base')")
db.commit()
log = logging.getLogger("l")
log.addHandler(logging.FileHandler("log.txt"))
log.warning("base")
file = open("o.csv", "w", newline="")
writer = csv.writer(file)
writer.writerow(["base"])
file.flush()
reader = open("in.txt", "w+")
reader.write("one\\ntwo\\nthree\\n")
reader.seek(0)
first = os.read(reader.fileno(), 4)
"""
WRITE = """
db.execute("insert into t values('{0}')")
db.commit()
log.warning("{0}")
writer.writerow(["{0}"])
file.flush()
(os.read(reader.fileno(), 4), [r[0] for r in db.execute("select * from t")])
"""
LOOK = "[r[0] for r in sqlite3.connect('x.db').execute('select * from t')], open('log.txt').read().split(), open('o.csv').read().split()"


def holds(*words):
    return str((list(words),) * 3)


def test_open_files_are_a_branchs_own(session):
    session.run(OPEN_FILES)
    point = session("checkpoint")["checkpoint_id"]
    branches = [Session(session.api, s["session_id"]) for s in session("fork", count=2)["sessions"]]
    for number, branch in enumerate(branches):
        assert branch.value(WRITE.format(f"b{number}")) == f"(b'two\\n', ['base', 'b{number}'])"
    assert session.value(LOOK) == holds("base")
    assert session.value(WRITE.format("parent")) == "(b'two\\n', ['base', 'parent'])"
    assert [branch.value(LOOK) for branch in branches] == [holds("base", "b0"), holds("base", "b1")]
    assert session.value(LOOK) == holds("base", "parent")
    then = Session(session.api, session("fork", checkpoint_id=point)["sessions"][0]["session_id"])
    assert then.value(WRITE.format("then")) == "(b'two\\n', ['base', 'then'])" and then.value(LOOK) == holds("base", "then")
    grandchild = Session(session.api, branches[0]("fork")["sessions"][0]["session_id"])
    branches[0].close()
    turn = grandchild.run(WRITE.format("g"))
    assert turn["result"] == "(b'thre', ['base', 'b0', 'g'])" and "session_note" not in turn
    assert grandchild.value(LOOK) == holds("base", "b0", "g")


def test_a_rollback_takes_open_files_back(session):
    session.run(OPEN_FILES)
    point = session("checkpoint")["checkpoint_id"]
    session.run(WRITE.format("later"))
    session("rollback", checkpoint_id=point)
    assert session.value(LOOK) == holds("base")
    turn = session.run(WRITE.format("again"))
    assert turn["result"] == "(b'two\\n', ['base', 'again'])" and "session_note" not in turn, turn
    assert session.value(LOOK) == holds("base", "again")
    # A turn that is undone moves nothing either, and what it wrote is there.
    assert session.run("os.read(reader.fileno(), 1)\nwhile True: pass", execution_timeout_ms=1000)["session_state"] == "unchanged"
    assert session.value("os.read(reader.fileno(), 4)") == "b'thre'"


def test_open_files_that_are_gone_say_so(session):
    session.run("import os\nf = open('f', 'w+')\nf.write('x')\nf.flush()\nos.unlink('f')\ng = open('g', 'w+')\nh = open('h', 'w+')")
    assert session.value("f.seek(0)\nf.read()") == "'x'"  # its own, without a name
    branch = Session(session.api, session("fork")["sessions"][0]["session_id"])
    turn = branch.run("f.seek(0)\nf.read()")
    assert "1 open file of earlier turns could not be opened again" in turn["session_note"]
    assert turn["exit_code"] == 1 and "I/O error" in turn["stderr"], turn
    assert "session_note" not in branch.run("g.write('y')\ng.flush()") and branch.value("open('g').read()") == "'y'"
    session("files", files={"g": "from elsewhere"})
    turn = session.run("f.seek(0)\nprint(f.read())\ng.write('y')\ng.flush()")
    assert "1 open file" in turn["session_note"] and turn["stdout"] == "x\n" and "I/O error" in turn["stderr"]
    assert session.value("open('g').read()") == "'from elsewhere'"


def test_branches_run_at_once(session):
    session.run("import time\nx = 1")
    branches = [Session(session.api, s["session_id"]) for s in session("fork", count=4)["sessions"]]
    waits = [branch.later(f"time.sleep(1)\nx += {number}") for number, branch in enumerate(branches)]
    assert [wait()["session_state"] for wait in waits] == ["kept"] * 4
    assert [branch.value("x") for branch in branches] == ["1", "2", "3", "4"]


def test_checkpoints(session):
    session.run("x = 1\nopen('f', 'w').write('one')")
    first = session("checkpoint")["checkpoint_id"]
    session.run("x = 2\nopen('f', 'w').write('two')\nopen('g', 'w').close()")
    second = session("checkpoint")["checkpoint_id"]
    session.run("x = 3")
    session("rollback", checkpoint_id=first)
    assert session.value("import os\nx, open('f').read(), os.listdir()") == "(1, 'one', ['f'])"
    session("rollback", checkpoint_id=second)
    assert session.value("import os\nx, open('f').read(), sorted(os.listdir())") == "(2, 'two', ['f', 'g'])"
    branch = Session(session.api, session("fork", checkpoint_id=first)["sessions"][0]["session_id"])
    assert branch.value("x, open('f').read()") == "(1, 'one')"
    assert "no checkpoint c99" in session("rollback", 404, checkpoint_id="c99")["error"]["message"]
    assert [c["checkpoint_id"] for c in session.api("GET", f"/sessions/{session.id}")["checkpoints"]] == [first, second]


def test_folders_in_folders_without_end(server, session):
    """They count against the quota, are in no checkpoint by halves, and nothing of them is left behind."""
    session.run("import os\nx = 1\nopen('f', 'w').write('one')")
    point = session("checkpoint")["checkpoint_id"]
    deep = ("fd = os.open('/workspace', os.O_RDONLY)\n"
            "for i in range(100):\n"
            "    os.mkdir('n' * 200, dir_fd=fd)\n"
            "    fd = os.open('n' * 200, os.O_RDONLY, dir_fd=fd)\n"
            "x = 2")
    assert session.run(deep)["session_state"] == "kept"
    for action in ("fork", "checkpoint"):
        assert "more than 64 folders in each other" in session(action, 400)["error"]["message"]
    assert session.run("open('g', 'w')")["exit_code"] == 0
    assert session.value("x, open('f').read()") == "(2, 'one')"
    session("rollback", checkpoint_id=point)
    assert session.value("x, os.listdir()") == "(1, ['f'])"
    assert session.run(deep)["session_state"] == "kept"
    session.api("DELETE", f"/sessions/{session.id}")
    folder = server.env["POLYAGENT_SESSIONS_DIR"]
    assert becomes(lambda: session.id in subprocess.run(["find", folder], capture_output=True, text=True, check=False).stdout, False) is False


def test_a_checkpoint_of_nothing(session):
    empty = session("checkpoint")["checkpoint_id"]
    session.run("x = 1\nopen('f', 'w').close()")
    session("rollback", checkpoint_id=empty)
    assert session.value("'x' in globals(), __import__('os').listdir()") == "(False, [])"


def test_one_turn_at_a_time(session):
    session.run("import time")
    wait = session.later("time.sleep(1.5)\ny = 1")
    for action in ("run", "fork", "checkpoint"):
        answer = session(action, 429, **({"code": "1"} if action == "run" else {}))
        assert answer["status"] == "OVERLOADED" and "retry in" in answer["error"]["message"]
    assert session.state() == "busy" and wait()["session_state"] == "kept" and session.value("y") == "1"


def test_input_while_the_program_runs(session):
    wait = session.later("name = input('who? ')\nrest = __import__('sys').stdin.read()\nprint(name, rest)", stdin="Ad",
                         stdin_stream=True)
    assert session("input", data="a\nü")["accepted_bytes"] == 4
    time.sleep(0.1)
    session("input", data="!\n", eof=True)
    assert wait()["stdout"] == "who? Ada ü!\n\n"
    assert "takes input" in session("input", 400, data="x")["error"]["message"]
    assert session.value("name") == "'Ada'"


def test_interrupting(session):
    session.run("x = 1")
    wait = session.later("print('began')\nx = 2\nopen('began', 'w').close()\nwhile True: pass")
    assert becomes(lambda: session.api.raw("GET", f"/sessions/{session.id}/files/began")[0], 200) == 200
    assert session("interrupt")["interrupted"] is True
    answer = wait()
    assert (answer["exit_code"], answer["stdout"], answer["interrupted"]) == (130, "began\n", True), answer
    assert answer["session_state"] == "unchanged" and session.value("x") == "1"
    assert session("interrupt")["interrupted"] is False


def test_hanging_up_ends_the_turn_and_keeps_the_session(session):
    session.run("x = 1")
    connection = http.client.HTTPConnection("127.0.0.1", session.api.server.port, timeout=30)
    connection.request("POST", f"/sessions/{session.id}/run", json.dumps({"code": "x = 2\nwhile True: pass"}))
    assert becomes(session.state, "busy") == "busy"
    connection.close()
    assert becomes(lambda: session.state() == "busy", False) is False
    assert session.value("x") == "1"


def test_closing_in_the_middle_of_a_turn(session):
    wait = session.later("while True: pass")
    session.close()
    assert wait()["exit_code"] == 130
    assert "has ended: it was closed" in session.run("1", 404)["error"]["message"]


def test_output_streams(session):
    connection = http.client.HTTPConnection("127.0.0.1", session.api.server.port, timeout=30)
    connection.request("POST", f"/sessions/{session.id}/run", json.dumps({"code": "print('a')\nprint(input())\n5", "stdin_stream": True}),
                       {"Accept": "text/event-stream"})
    response, events = connection.getresponse(), []
    for line in response:
        if line.startswith(b"data:"):
            events.append(json.loads(line[5:]))
            if len(events) == 1:  # it came while the program waits for this
                session("input", data="b\n")
    assert [event.get("text") for event in events[:2]] == ["a\n", "b\n"]
    assert events[2]["result"] == "5" and events[2]["session_state"] == "kept"
    connection.close()


def test_files_come_and_go(session):
    api, base = session.api, f"/sessions/{session.id}/files"
    assert api.raw("PUT", f"{base}/data/t%C3%BC.bin", b"\0\xff\n")[0] == 200
    api("POST", base, {"files": {"a.txt": "text", "/workspace/b": {"base64": "AAE="}}})
    assert {f["path"]: f["bytes"] for f in api("GET", base)["files"]} == {"a.txt": 4, "b": 2, "data/tü.bin": 3}
    assert session.value("open('data/tü.bin', 'rb').read()") == repr(b"\0\xff\n")
    assert api.raw("GET", f"{base}/data/t%C3%BC.bin") == (200, b"\0\xff\n")
    api.raw("PUT", f"{base}/a.txt", b"new")
    assert api.raw("GET", f"{base}/a.txt") == (200, b"new") and session.value("open('a.txt').read()") == "'new'"
    session.run("1", files={"c/d": "in a turn"})
    assert session.value("open('c/d').read()") == "'in a turn'"
    for path, status in [("nothing", 404), ("data", 404), ("..%2Fx", 400), ("%2Fetc%2Fpasswd", 400)]:
        assert api.raw("GET", f"{base}/{path}")[0] == status, path


def test_files_of_the_host_are_out_of_reach(session):
    """Whatever the guest leaves in its workspace, the server follows no link of it."""
    session.run("import os\nos.symlink('../../..', 'up')\nos.symlink('target', 'l')\nos.mkdir('dir')")
    api, base = session.api, f"/sessions/{session.id}/files"
    for path in ("up", "up/etc/passwd", "l"):
        assert api.raw("GET", f"{base}/{path}")[0] == 404
    assert api.raw("PUT", f"{base}/up/x", b"1")[0] == 400 and api.raw("PUT", f"{base}/dir", b"1")[0] == 400
    assert api.raw("PUT", f"{base}/l", b"a file now")[0] == 200
    assert session.value("os.path.islink('l'), os.path.exists('target')") == "(False, False)"
    copy = Session(api, session("fork")["sessions"][0]["session_id"])
    assert copy.value("os.readlink('up')") == "'../../..'"


def test_the_workspace_has_a_quota(tmp_path):
    server = Server(tmp_path, http=True, env={"POLYAGENT_WASI_WORKSPACE_BYTES": "100000", "POLYAGENT_WASI_WORKSPACE_INODES": "10"})
    session = Api(server).open()
    assert session.run("open('a', 'wb').write(b'x' * 60000)")["result"] == "60000"
    full = session.run("open('b', 'wb').write(b'x' * 60000)")
    assert full["exit_code"] == 1 and "OSError" in full["stderr"] and "ENOSPC" not in full["stdout"]
    assert session.run("for i in range(20): open(f'n{i}', 'w').close()")["exit_code"] == 1
    assert "quota" in session("files", 400, files={"big": "x" * 90000})["error"]["message"]
    assert "quota" in session.run("1", 400, files={"big": "x" * 90000})["error"]["message"]
    assert "quota" in session.api("POST", "/sessions", {"files": {"big": "x" * 110000}}, 400)["error"]["message"]
    server.stop()


def test_what_a_stopped_turn_wrote_is_there(session):
    session.run("def write():\n    print('one', end='')\n    print(' two', 'three', end='')")
    for more in ("while True: pass", "import time\ntime.sleep(60)"):
        stopped = session.run("write()\n" + more, execution_timeout_ms=1500)
        assert (stopped["status"], stopped["stdout"]) == ("TIMEOUT", "one two three")
    assert session.run("write()")["stdout"] == "one two three"
    branch = Session(session.api, session("fork")["sessions"][0]["session_id"])
    assert branch.run("write()\nwhile True: pass", execution_timeout_ms=1500)["stdout"] == "one two three"


def test_files_without_a_name_stay_charged(tmp_path):
    server = Server(tmp_path, http=True, env={"POLYAGENT_WASI_WORKSPACE_BYTES": "1000000"})
    session = Api(server).open()
    hide = "f = open('hidden', 'wb')\nf.write(b'x' * 800000)\nf.flush()\nimport os\nos.unlink('hidden')"
    assert session.run(hide)["exit_code"] == 0
    for _ in range(2):
        full = session.run("open('more', 'wb').write(b'x' * 800000)")
        assert full["exit_code"] == 1 and "Quota exceeded" in full["stderr"], full
    assert session.value("f.close()\nopen('more', 'wb').write(b'x' * 800000)") == "800000"
    # Whoever opens it and is stopped before the end has not got it any more.
    stopped = session.run("os.unlink('more')\n" + hide + "\nwhile True: pass", execution_timeout_ms=1500)
    assert stopped["status"] == "TIMEOUT"
    assert session.value("open('more', 'wb').write(b'x' * 800000)") == "800000"
    server.stop()


def test_a_workspace_is_counted_and_not_walked(tmp_path):
    server = Server(tmp_path, http=True, env={"POLYAGENT_WASI_WORKSPACE_INODES": "40"})
    session = Api(server).open()
    bytes_now = lambda: session.api("GET", f"/sessions/{session.id}")["workspace_bytes"]
    assert session.run("import os\nopen('a', 'w').write('x')\nos.mkdir('d')\nos.link('a', 'd/b')\nopen('/output/o', 'w').write('x' * 9000)")["exit_code"] == 0
    assert bytes_now() == 8192
    session("files", files={"e/f": "text", "a": "longer than before"})
    assert bytes_now() == 20480  # the old one is there as d/b
    (workspace,) = (tmp_path / "sessions").glob(f"*/files/{session.id}")
    for i in range(100):  # behind everybody's back: who walks would find them, and no room for one more
        (workspace / f"host{i}").write_text("x")
    assert session.run("open('g', 'w').write('y')")["exit_code"] == 0
    assert bytes_now() == 24576
    branch = session("fork")["sessions"][0]["session_id"]
    assert session.api("GET", f"/sessions/{branch}")["workspace_bytes"] == 24576
    assert session.run("open('h', 'w').write('z' * 5000)\nwhile True: pass", execution_timeout_ms=1500)["status"] == "TIMEOUT"
    assert bytes_now() == 32768  # what a stopped turn has written counts
    server.stop()


def test_artifacts_of_a_turn(session):
    made = session.run("open('/output/r.csv', 'w').write('a,b')")["artifacts"]
    assert [(a["name"], a["mime"]) for a in made] == [("r.csv", "text/csv")]
    assert "artifacts" not in session.run("import os\nos.listdir('/output')") and session.value("os.listdir('/output')") == "[]"


def test_javascript(api):
    session = api.open(language="javascript")
    assert session.value("let x = 5; const f = (y) => x + y; 'ok'") == '"ok"'
    assert session.value("x += 1; f(1)") == "7"
    late = session.run("setTimeout(() => { x = 50; console.log('late') }, 30); 0")
    assert (late["stdout"], late["result"]) == ("late\n", "0") and session.value("x") == "50"
    failed = session.run("x = 51; throw new TypeError('bad')")
    assert failed["exit_code"] == 1 and "TypeError: bad" in failed["stderr"] and failed["session_state"] == "kept"
    assert session.value("await Promise.resolve(x)") == "51"
    assert session.run("while (true) {}", execution_timeout_ms=300)["session_state"] == "unchanged"
    branch = Session(api, session("fork")["sessions"][0]["session_id"])
    assert branch.value("++x") == "52" and session.value("x") == "51"
    assert "for javascript_wasi_runner" in api("POST", "/tools/execute", {
        "tool": "python_wasi_runner", "parameters": {"code": "1", "session_id": session.id}}, 400)["error"]["message"]


def test_the_tool_alone_is_enough(api):
    def call(code, **more):
        return api("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": code, **more}})

    first = call("x = 6", session_id="new")
    assert first["session_state"] == "kept"
    assert call("x * 7", session_id=first["session_id"])["result"] == "42"
    count = len(api("GET", "/sessions")["sessions"])
    body = {"tool": "python_wasi_runner", "parameters": {"code": "1", "session_id": "new", "packages": ["nothing"]}}
    assert api("POST", "/tools/execute", body, 404)["status"] == "NOT_FOUND"
    assert len(api("GET", "/sessions")["sessions"]) == count  # none is left of a call that was refused


def test_bad_requests_leave_nothing(session):
    api = session.api
    for body, status, text in [({"language": "cobol"}, 400, "language"), ({"langage": "python"}, 400, "did you mean language"),
                               ({"interpreter": "nothing"}, 404, "interpreter"), ({"files": {"../x": "1"}}, 400, "files"),
                               ({"memory_limit_bytes": 1}, 400, "memory_limit_bytes")]:
        assert text in api("POST", "/sessions", body, status)["error"]["message"]
    assert len(api("GET", "/sessions")["sessions"]) == 1
    assert "code: missing" in session("run", 400)["error"]["message"]
    assert "deterministic: belongs" in session.run("1", 400, deterministic=True)["error"]["message"]
    assert session.run("1", 400, stdinn="x")["status"] == "INVALID_ARGUMENT"
    assert "count" in session("fork", 400, count=1000)["error"]["message"]
    assert api.raw("GET", "/sessions/" + "0" * 24)[0] == 404 and api.raw("GET", "/sessions/x/y/z")[0] == 404
    assert api.raw("PATCH", f"/sessions/{session.id}")[0] == 405
    assert session.value("1 + 1") == "2"


def test_only_its_credential_may_touch_it(tmp_path):
    tokens = "".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("alice", "bob"))
    (tmp_path / "tokens").write_text(tokens)
    (tmp_path / "c.yaml").write_text(f"server: {{auth: {{tokens_file: '{tmp_path}/tokens'}}}}\n")
    server = Server(tmp_path, "--config", tmp_path / "c.yaml", http=True)
    alice, bob = Api(server, "alice"), Api(server, "bob")
    session = alice.open()
    session.run("secret = 1")
    theirs = Session(bob, session.id)
    for action, body in [("run", {"code": "secret"}), ("fork", {}), ("checkpoint", {}), ("rollback", {"checkpoint_id": "c1"}),
                         ("interrupt", {}), ("input", {"data": "x"}), ("files", {"files": {"a": "1"}})]:
        assert "there is no session" in theirs(action, 404, **body)["error"]["message"]
    assert bob("GET", "/sessions")["sessions"] == [] and bob.raw("DELETE", f"/sessions/{session.id}")[0] == 404
    assert bob.raw("GET", f"/sessions/{session.id}")[0] == 404 and bob.raw("GET", f"/sessions/{session.id}/files/a")[0] == 404
    session.close()
    assert "there is no session" in theirs.run("1", 404)["error"]["message"]  # not even that it has ended
    assert Api(server).raw("GET", "/sessions")[0] == 401
    server.stop()


def test_files_outlive_the_server(tmp_path):
    server = Server(tmp_path, http=True)
    session = Api(server).open(files={"given": "1"})
    session.run("x = 1\nopen('made', 'w').write('2')")
    session("checkpoint")
    gone = Api(server).open()
    gone.close()
    server.stop()
    server = Server(tmp_path, http=True)
    again = Session(Api(server), session.id)
    listed = again.api("GET", "/sessions")["sessions"]
    assert [(s["session_id"], s["state"], s["checkpoints"]) for s in listed] == [(session.id, "fresh", [])]
    answer = again.run("open('given').read() + open('made').read(), 'x' in globals()")
    assert (answer["result"], answer["session_state"]) == ("('12', False)", "restarted")
    assert "variables, imports and functions of earlier turns are gone" in answer["session_note"]
    assert again.run("1")["session_state"] == "kept"
    again.close()
    server.stop()
    assert becomes(lambda: left_in(tmp_path / "sessions"), []) == []


def test_two_servers_do_not_share_them(tmp_path):
    server = Server(tmp_path, http=True)
    other = server.run("serve", "--http", "127.0.0.1:0", "--grpc", "off", "--socket", tmp_path / "o.sock", timeout=30)
    assert other.returncode == 125 and "another server keeps its sessions" in other.err
    server.stop()


def test_a_front_that_dies_takes_no_process_along(tmp_path):
    server = Server(tmp_path, http=True)
    session = Api(server).open()
    session.run("x = 1")
    before = settled(lambda: len(children(server.pid)))
    os.kill(server.front, signal.SIGKILL)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if session.api.raw("GET", "/ready")[0] == 200:
                break
        except OSError:
            time.sleep(0.1)
    assert session.run("'x' in globals()")["session_state"] == "restarted"
    falls_to(before + 1, lambda: len(children(server.pid)))
    server.stop()


def test_an_interpreter_that_is_killed(session):
    """By the kernel, say, when memory is short: it is told once, and the session goes on with its files."""
    session.run("x = b'x' * (160 << 20)\nopen('f', 'w').close()")
    killed = set()

    def alive():
        """Those with the session's memory: its interpreter, and the copy for its next turn."""
        large = [pid for pid in children(session.api.server.pid) if (resident_kib(pid) or 0) > 160 << 10]
        for pid in large:
            with contextlib.suppress(ProcessLookupError):  # the copy ends with its interpreter
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        return large

    assert becomes(alive, []) == [] and killed
    answer = session.run("x", 404)
    assert answer["status"] == "NOT_FOUND" and "interpreter has ended" in answer["error"]["message"]
    assert session.value("'x' in globals(), __import__('os').listdir()") == "(False, ['f'])"


def test_the_idle_and_the_many(tmp_path):
    server = Server(tmp_path, http=True, env={"POLYAGENT_SESSIONS_MAX": "3", "POLYAGENT_SESSIONS_IDLE_SECONDS": "4"})
    api = Api(server)
    sessions = [api.open() for _ in range(3)]
    sessions[0].run("1")
    wait = sessions[1].later("import time\ntime.sleep(2)")
    fourth = api.open()
    assert "sessions.max" in sessions[2].run("1", 404)["error"]["message"]
    assert wait()["session_state"] == "kept" and fourth.value("1") == "1"
    time.sleep(6)
    assert "idle for 4 s (sessions.idle_seconds)" in fourth.run("1", 404)["error"]["message"]
    assert api("GET", "/sessions")["sessions"] == [] and becomes(lambda: left_in(tmp_path / "sessions"), []) == []
    server.stop()


def test_metrics_count_them(server, session):
    def told():
        lines = session.api.raw("GET", "/metrics")[1].decode().splitlines()
        return [line for line in lines if line.startswith(("polyagent_sessions ", 'polyagent_workers{state="resting"}'))]

    assert session.run("x = 1")["session_state"] == "kept"
    # The supervisor writes its figures when it has answered: the front may read them a moment before.
    resting = ["polyagent_sessions 1", 'polyagent_workers{state="resting"} 1']
    assert becomes(told, resting) == resting
    session.close()
    gone = ["polyagent_sessions 0", 'polyagent_workers{state="resting"} 0']
    assert becomes(told, gone) == gone


def test_closed_sessions_leave_no_processes(server):
    api = Api(server)
    before = settled(lambda: len(children(server.pid)))
    sessions = [api.open() for _ in range(5)]
    for session in sessions:
        session.run("x = bytearray(1 << 20)")
        session("checkpoint")
        session.run("x = 1")
        session("fork", count=2)
    for session in api("GET", "/sessions")["sessions"]:
        api("DELETE", f"/sessions/{session['session_id']}")
    falls_to(before, lambda: len(children(server.pid)))
    assert becomes(lambda: left_in(server.env["POLYAGENT_SESSIONS_DIR"]), []) == []


def test_sessions_closed_while_a_copy_is_made_leave_no_zombies(server):
    """After a turn, the interpreter makes a copy for the next one: a session closed meanwhile takes it along."""
    api = Api(server)

    def open_and_close():
        for _ in range(40):
            session = api.open()
            assert session.run("1")["status"] == "OK"
            session.close()

    threads = [threading.Thread(target=open_and_close) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    falls_to(0, lambda: zombies(server.pid))


def test_turns_are_sealed_as_runs_are(session):
    """In the first turn, in copies, and in branches of these."""
    first = session.run("x = 1")["isolation"]
    fresh = session.api("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": "1"}})["isolation"]
    assert set(fresh) - set(first) <= {"pid_namespace"} and {"seccomp", "landlock", "rlimits", "no_new_privs"} <= set(first)
    branch = Session(session.api, session("fork")["sessions"][0]["session_id"])
    assert session.run("x")["isolation"] == branch.run("x")["isolation"] == first


@pytest.mark.parametrize("code", [
    "import os\nos.write(0, b'{\"result\": \"forged\"}')\n7", "import os\nos.write(0, b'no json')\n7",
    "import os\nos.write(0, b'{\"exit_code\": \"x\", \"artifacts\": [1, {}, {\"name\": 1}], \"result\": [1]}')\nos._exit(0)",
    "import os\nos.write(0, b'{}')\nos.read(0, 4)\n7", "import json\njson.dumps = lambda *a: '[' * 100000\n7",
    "import os\ntry:\n    while True: os.write(0, b'x' * 1000000)\nexcept OSError: pass\n7",
    "import os\nfor fd in range(64):\n    try: os.close(fd)\n    except OSError: pass\n7"])
def test_forged_answers(session, code):
    """A program that writes where its bootstrap answers fools nobody but itself, and the session goes on."""
    session.run("x = 1")
    answer = session.run(code, execution_timeout_ms=5000)
    assert answer["status"] in ("OK", "TIMEOUT", "TRAP") and isinstance(answer["exit_code"], int)
    assert isinstance(answer.get("result", ""), str) and all(set(a) == {"name", "mime", "bytes_base64"} for a in answer.get("artifacts", []))
    for _ in range(2):  # what it has done to its own interpreter, it has to live with
        assert session.run("1", execution_timeout_ms=5000)["session_state"] in ("kept", "unchanged")
    assert session.api.open().value("1 + 1") == "2"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", tmp_path], check=False).returncode != 0:
        pytest.skip("needs to mount a file system")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_costs_no_file_that_was_acknowledged(small_disk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    server = Server(folder, http=True, env={"POLYAGENT_SESSIONS_DIR": str(small_disk / "sessions")})
    try:
        session = Api(server).open()
        path = f"/sessions/{session.id}/files/"
        assert session.api.raw("PUT", path + "keep.txt", b"keep me")[0] == 200
        session.run("import os\nf = os.open('fill', os.O_WRONLY | os.O_CREAT)\ntry:\n    while True: os.write(f, b'z' * 65536)\nexcept OSError as e: print(e)")
        status, answer = session.api.raw("PUT", path + "keep.txt", b"replaced " * 50000)
        assert status == 500 and b"No space left" in answer
        assert session.api.raw("PUT", path + "new.txt", b"x" * 50000)[0] == 500
        assert session("files", 500, files={"keep.txt": "y", "more/a.txt": "x" * 50000})["status"] == "INTERNAL"
        assert session.run("1", 500, files={"keep.txt": "y", "more/a.txt": "x" * 50000})["status"] == "INTERNAL"
        assert session.api.raw("GET", path + "keep.txt") == (200, b"keep me")
        names = [f["path"] for f in json.loads(session.api.raw("GET", f"/sessions/{session.id}/files")[1])["files"]]
        assert names == ["fill", "keep.txt"]
        assert session.value("os.ftruncate(f, 0)\nos.unlink('fill')\nopen('keep.txt').read()") == "'keep me'"
        assert session.api.raw("PUT", path + "keep.txt", b"replaced " * 50)[0] == 200
    finally:
        server.stop()


@pytest.fixture
def two_tenants(tmp_path):
    """A server with tokens of two; who asks, and the server."""
    tokens, config = tmp_path / "tokens", tmp_path / "config.yaml"
    tokens.write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("first", "second")))
    servers = []

    def start(text):
        config.write_text(f"server: {{auth: {{tokens_file: '{tokens}'}}}}\n{text}")
        servers.append(Server(tmp_path, "--config", str(config), http=True))
        return Api(servers[0], "first"), Api(servers[0], "second")

    yield start
    for server in servers:
        server.stop()


def test_room_is_made_among_ones_own_sessions(two_tenants):
    first, second = two_tenants("sessions: {max: 8}\ntenants: {second: {sessions: 3}}\n")
    theirs = first.open(files={"precious.txt": "x"})
    mine = [second.open() for _ in range(5)]
    assert [s["session_id"] for s in second("GET", "/sessions")["sessions"]] == [s.id for s in mine[2:]]
    assert "sessions.max_tenant" in mine[0].run("1", 404)["error"]["message"]
    assert first.raw("GET", f"/sessions/{theirs.id}/files/precious.txt") == (200, b"x")
    others = [first.open() for _ in range(3)]  # a quarter of 8 is hers: the oldest went
    assert [s["session_id"] for s in first("GET", "/sessions")["sessions"]] == [s.id for s in others[1:]]
    assert "more than the 3 that you may have" in mine[4]("fork", 400, count=4)["error"]["message"]
    branches = mine[4]("fork", count=2)["sessions"]
    assert len(branches) == 2 and len(second("GET", "/sessions")["sessions"]) == 3 and mine[4].value("1") == "1"


def test_what_a_tenant_stores_is_bounded(two_tenants):
    first, second = two_tenants("sessions: {max_bytes: 10000000}\ntenants: {second: {stored_bytes: 1000000}}\n")
    session = second.open()
    path = f"/sessions/{session.id}/files/"
    assert second.raw("PUT", path + "a", b"x" * 400000)[0] == 200
    status, answer = second.raw("PUT", path + "b", b"x" * 700000)
    assert status == 429 and b"sessions.tenant_bytes" in answer
    assert "sessions.tenant_bytes" in session("fork", 429, count=2)["error"]["message"]
    point = session("checkpoint")["checkpoint_id"]
    assert "sessions.tenant_bytes" in session("checkpoint", 429)["error"]["message"]
    full = session.run("open('c', 'wb', 0).write(b'x' * 500000)")
    assert full["exit_code"] == 1 and "Quota exceeded" in full["stderr"], full
    assert session.value("import os\nos.truncate('a', 0)\nopen('c', 'wb', 0).write(b'x' * 500000)") == "500000"
    assert "sessions.tenant_bytes" in session("rollback", 429, checkpoint_id=point)["error"]["message"]
    assert first.raw("PUT", f"/sessions/{first.open().id}/files/a", b"x" * 2000000)[0] == 200


def test_an_interpreter_that_is_handed_over_is_stored_once(server, api):
    folder = pathlib.Path(server.env["POLYAGENT_SESSIONS_DIR"])
    wasm = (pathlib.Path(__file__).parents[2] / "build/interpreters/quickjs.wasm").read_bytes()
    encoded = base64.b64encode(wasm).decode()
    sessions = [api.open(language="javascript", interpreter_wasm_base64=encoded) for _ in range(3)]
    (stored,) = (folder / "interpreters").iterdir()
    assert stored.name == hashlib.sha256(wasm).hexdigest() and stored.read_bytes() == wasm and stored.stat().st_mode & 0o777 == 0o600
    assert all(path.stat().st_size < 2000 for path in folder.glob("*/*.json"))
    branch = Session(api, sessions[0]("fork")["sessions"][0]["session_id"])
    assert branch.value("20 + 1") == "21" and sessions[1].value("6 * 7") == "42"
    for session in [*sessions, branch]:
        assert stored.exists()
        session.close()
    assert becomes(stored.exists, False) is False
    refused = api("POST", "/sessions", {"language": "javascript", "interpreter_wasm_base64": "!"}, 400)
    assert "not base64" in refused["error"]["message"] and list((folder / "interpreters").iterdir()) == []


def test_who_hangs_up_leaves_no_session_behind(server, api):
    """What is being made when its client goes away is nobody's."""
    session = api.open(files={f"f{i}": "x" * 1000 for i in range(500)})
    for path, body in (("/sessions", {"files": {f"f{i}": "x" * 1000 for i in range(1000)}}), (f"/sessions/{session.id}/fork", {"count": 20})):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            text = json.dumps(body).encode()
            connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(text), text))
        assert becomes(lambda: [s["session_id"] for s in api("GET", "/sessions")["sessions"]], [session.id]) == [session.id]
    assert becomes(session.state, "fresh") == "fresh"


def test_large_requests_and_answers(api, session):
    """They are read and written in threads, and are what they were."""
    text = "ä\n\"" * 200000
    answer = session.run(f"import sys\ntext = sys.stdin.read()\nopen('/output/t.txt', 'w').write(text)\nlen(text)", stdin=text)
    assert answer["result"] == str(len(text))
    assert base64.b64decode(answer["artifacts"][0]["bytes_base64"]).decode() == text
    assert session("run", code="print(text, end='')", output_limit_bytes=4 << 20)["stdout"] == text
    status, events = api.raw("POST", f"/sessions/{session.id}/run", json.dumps({"code": f"#{text!a}\nopen('/output/t.txt', 'w').write(text)"}), Accept="text/event-stream")
    assert status == 200 and events.endswith(b"\n\n")
    last = json.loads(events.decode().split("event: result\ndata: ")[1])
    assert base64.b64decode(last["artifacts"][0]["bytes_base64"]).decode() == text
    for body in (b"[" * (1 << 20), b'{"code": "' + b"\\n" * (1 << 19), b'{"a": [' + b"1," * 300000 + b"1]}"):
        status, answer = api.raw("POST", f"/sessions/{session.id}/run", body)
        assert status == 400 and json.loads(answer)["status"] == "INVALID_ARGUMENT"
