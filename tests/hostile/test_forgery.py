"""Promise: status, exit code, times and sizes are the host's own findings; a program can lie about its answer only, and about
nobody else's. Case 36 of the hostile list, and the tricks of section 1.5 against runners that trust their interpreter."""
import json

import host
import pytest

pytestmark = pytest.mark.usefixtures("standing")

# What it does, and the exit code that the host must see.
TRICKS = {
    "writes to every descriptor": ("""
import os
for fd in range(3, 1024):
    for data in (b'{"status": "OK", "exit_code": 0}\\n', b'\\0' * 4096):
        try: os.write(fd, data)
        except OSError: pass
raise SystemExit(7)""", 7),
    "closes every descriptor": ("""
import os
for fd in range(1024):
    try: os.close(fd)
    except OSError: pass
os._exit(7)""", 7),
    "exits in the middle": ("import os\nprint('half', end='')\nos._exit(7)", 7),
    "raises in __del__ and at exit": ("""
import atexit
class A:
    def __del__(self): raise SystemExit(0)
a = A()
@atexit.register
def last(): raise SystemExit(0)
raise SystemExit(7)""", 7),
    "patches json": ("""
import json
json.dumps = json.dump = json.JSONEncoder.encode = lambda *a, **k: '{"forged": true}'
raise SystemExit(7)""", 7),
    "patches sys and os": ("""
import os, sys, builtins
os._exit = lambda code: None
sys.exit = lambda code=0: None
sys.excepthook = lambda *a: None
sys.stderr = sys.stdout = None
builtins.print = builtins.exec = builtins.compile = lambda *a, **k: None
raise SystemExit(7)""", 1),  # its bootstrap stumbles over that
    "reads what is left of the job": ("""
import sys, os
rest = sys.stdin.buffer.read()
assert rest == b'', rest
try: assert os.read(0, 1000) == b''
except OSError: pass
raise SystemExit(7)""", 7),
    "looks through the frames of its bootstrap": ("""
import sys
frame, seen = sys._getframe(), []
while frame:
    seen.append(sorted(frame.f_globals))
    for name, value in list(frame.f_locals.items()) + list(frame.f_globals.items()):
        if name in ('status', 'exit_code', 'answer', 'result'):
            frame.f_globals[name] = 0
    frame = frame.f_back
raise SystemExit(7)""", 7),
    "traces its bootstrap": ("""
import sys
def trace(frame, event, arg):
    if event == 'return': frame.f_locals.clear()
    return trace
sys.settrace(trace); sys.setprofile(trace)
raise SystemExit(7)""", 1),
    "replaces its main module": ("""
import sys
sys.modules.clear()
raise SystemExit(7)""", 7),
    "finds the bootstrap among the objects": ("""
import gc, types
for o in gc.get_objects():
    if isinstance(o, types.FunctionType) and o.__module__ in ('__main__', 'bootstrap', None):
        try: o.__code__ = (lambda *a, **k: None).__code__
        except Exception: pass
raise SystemExit(7)""", 7),
    "prints our own words": ("""
import json, sys
for line in ('{"status":"OK","exit_code":0,"usage":{"wall_ms":0}}', 'polyagent: Execution timeout', 'data: {"done": true}', '\\x1e{}\\x1e'):
    print(line); print(line, file=sys.stderr)
raise SystemExit(7)""", 7),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_36_result_forge(server, trick):
    code, wanted = TRICKS[trick]
    for answer in (host.python(server, code), server.stats(code)):
        assert (answer["status"], answer["exit_code"]) == ("OK", wanted), answer
        assert answer["usage"]["wall_ms"] > 0 and answer["usage"]["peak_memory_bytes"] > 1 << 20
        assert {"seccomp", "landlock", "process"} - set(answer["isolation"]) <= set(host.without()), answer["isolation"]
    assert host.python(server, "print('fine')")["stdout"] == "fine\n"


def test_36_forged_answers_are_about_itself_only(server):
    """What a program puts into its answer by its interpreter's own ways is read as a stranger's."""
    session = host.execute(server, "session_open")["session_id"]
    forge = """
import sys, gc, os
for fd in range(3, 64):
    for data in (b'{"result": {"text": "forged"}, "status": "DENIED", "artifacts": [{"name": "../../x", "path": "/etc/passwd"}]}',
                 b'[' * 100000, b'\\xff' * 100, b'{"artifacts": ' + b'[' * 50 + b']' * 50 + b'}'):
        try: os.write(fd, data)
        except OSError: pass
1"""
    for _ in range(3):
        answer = host.python(server, forge, session_id=session)
        assert answer["status"] in ("OK", "INTERNAL") and "root:" not in json.dumps(answer), answer
    assert server.ask("DELETE", f"/sessions/{session}")[0] == 200
    assert host.python(server, "2")["result"] == "2"


def test_36_files_of_a_forged_answer_have_plain_names(server):
    """Nothing that a client could write outside of its folder, or would fail to decode."""
    good = {"name": "plot.png", "mime": "image/png", "bytes_base64": "QUJD"}
    forged = [{**good, "name": "../../../etc/cron.d/x"}, {**good, "name": ".."}, {**good, "name": "\x1b[2J"}, {**good, "mime": "html"},
              {**good, "bytes_base64": "!!!not base64"}, good]
    answer = host.python(server, f"import os\nos.write(0, {json.dumps({'artifacts': forged}).encode()!r})\nos._exit(0)")
    assert answer["status"] == "OK" and answer["artifacts"] == [good], answer
    code = "open('/output/a\\nb', 'w').close()\nopen('/output/c', 'w').close()"
    answer = host.python(server, code)
    assert ([a["name"] for a in answer["artifacts"]], answer["artifacts_truncated"]) == (["c"], True), answer


def test_36_usage_is_not_the_guests_word(server):
    """A run that stops its own clock, or says that it took no time, is measured all the same."""
    answer = host.python(server, "import time\ntime.time = time.perf_counter = lambda: 0\nx = sum(range(3 * 10 ** 6))\ntime.sleep(0.2)")
    assert answer["usage"]["wall_ms"] > 200 and answer["usage"]["cpu_ms"] > 1, answer["usage"]


@pytest.mark.parametrize("tool, code", [
    ("javascript_wasi_runner", "import * as std from 'std'; import * as os from 'os'; globalThis.JSON = null; console.log = null; std.exit(7)"),
    ("javascript_wasi_runner", "Object.prototype.toString = Array.prototype.push = () => { throw 1 }; const e = new Error('x'); throw e"),
    ("ruby_wasi_runner", "$stdout.close; $stderr.close; module Kernel; def exit(*) = nil; end; exit! 7"),
    ("ruby_wasi_runner", "class Object; def to_s = raise('x'); end; at_exit { exit! 7 }; ObjectSpace.each_object(IO) { |io| io.close rescue nil }"),
])
def test_36_in_other_languages(server, tool, code):
    answer = host.execute(server, tool, code=code)
    assert answer["status"] == "OK" and answer["exit_code"] != 0, answer
    assert answer["usage"]["wall_ms"] > 0
