"""Promise: runs share nothing, although they come from one warm process: no memory, no globals, no files, no environment, no
random numbers. Cases 30 and 31 of the hostile list."""
import collections
import concurrent.futures
import json

import host
import pytest

pytestmark = pytest.mark.usefixtures("standing")

CANARY = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 256) (global $g (mut i64) (i64.const 0)) (table $t 1000 funcref) (elem declare func $f) (func $f)
  (func (export "_start") (local $i i32)
    (loop $next
      (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then (call $exit (i32.const 1))))
      (i64.store (local.get $i) (i64.const 0x5a5a5a5a5a5a5a5a))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 16777216))))
    (if (i64.ne (global.get $g) (i64.const 0)) (then (call $exit (i32.const 2))))
    (global.set $g (i64.const 7))
    (local.set $i (i32.const 0))
    (loop $slot
      (if (i32.eqz (ref.is_null (table.get $t (local.get $i)))) (then (call $exit (i32.const 3))))
      (table.set $t (local.get $i) (ref.func $f))
      (br_if $slot (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then (call $exit (i32.const 4))))
    (local.set $i (i32.const 16777216))
    (loop $grown
      (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then (call $exit (i32.const 5))))
      (i64.store (local.get $i) (i64.const 0x5a5a5a5a5a5a5a5a))
      (br_if $grown (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 33554432))))))"""


def test_30_canary_next_run(server, tmp_path):
    """CVE-2026-34988, CVE-2022-39393: what one run wrote everywhere, the next does not find."""
    module = tmp_path / "canary.wat"
    module.write_text(CANARY)
    for _ in range(12):
        done = server.run("run", "--stats=json", module)
        assert done.returncode == 0, done.err


def test_30_canary_next_run_in_python(server):
    """In the interpreter's own objects, modules, files and environment, as far as a program can reach them."""
    spoil = """
import sys, os, builtins, json, random, gc
builtins.canary = json.canary = sys.canary = 'CANARY'
os.environ['CANARY'] = 'CANARY'
sys.path.append('CANARY'); sys.argv.append('CANARY'); sys.modules['canary'] = json
random.seed(1)
json.dumps = lambda *a, **k: 'CANARY'
for o in gc.get_objects():
    if type(o) is dict and '__name__' in o:
        try: o['CANARY'] = 'CANARY'
        except Exception: pass
for place in ('/tmp', '/', '.', '/workspace', '/output'):
    try: open(f'{place}/CANARY', 'w').write('CANARY')
    except OSError: pass
print('spoilt')
"""
    look = """
import sys, os, builtins, json, gc
found = [o for o in gc.get_objects() if type(o) is dict and 'CANARY' in o]
print(hasattr(builtins, 'canary'), hasattr(json, 'canary'), 'CANARY' in os.environ, 'CANARY' in sys.path + sys.argv,
      'canary' in sys.modules, json.dumps(1), len([f for f in found if f is not globals()]))
for place in ('/tmp', '/', '.', '/workspace', '/output'):
    try: print(place, 'CANARY' in os.listdir(place))
    except OSError: pass
"""
    for _ in range(4):
        assert host.python(server, spoil)["stdout"] == "spoilt\n"
        answer = host.python(server, look)
        assert answer["stdout"].splitlines()[0] == "False False False False False 1 0", answer
        assert " True" not in answer["stdout"]


def test_31_same_seed(server, slow):
    """A thousand runs at once: no random number twice. Python's hash seed, and addresses, are those of a warm interpreter's
    children (docs/security.md)."""
    code = "import random, uuid, os, secrets, tempfile\nprint(random.random(), uuid.uuid4(), os.urandom(8).hex(), secrets.token_hex(8), next(tempfile._get_candidate_names()))"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: host.python(server, code), range(1000 // slow)))
    rows = [a["stdout"].split() for a in answers]
    assert all(len(row) == 5 for row in rows), [a for a in answers if len(a["stdout"].split()) != 5][:3]
    for column in zip(*rows):
        assert [v for v, n in collections.Counter(column).items() if n > 1] == []


def test_31_same_seed_in_other_languages(server):
    programs = {"javascript_wasi_runner": "console.log(Math.random())", "ruby_wasi_runner": "require 'securerandom'\nputs rand, SecureRandom.hex(8), Random.new.rand"}
    for tool, code in programs.items():
        seen = collections.Counter(line for _ in range(40) for line in host.execute(server, tool, code=code)["stdout"].split())
        assert seen and max(seen.values()) == 1, (tool, seen.most_common(3))


def test_31_branches_of_a_session_differ_unless_they_share_a_state(server):
    """Branches go on from one state: random.random() is part of it, as of any variable; the kernel's numbers are not."""
    session = host.execute(server, "session_open")["session_id"]
    host.python(server, "import random, os", session_id=session)
    forks = [f["session_id"] for f in host.execute(server, "session_fork", session_id=session, count=4)["sessions"]]
    seen = [host.python(server, "os.urandom(8).hex()", session_id=f)["result"] for f in forks]
    assert len({json.dumps(s) for s in seen}) == len(forks) > 1
    for one in [session, *forks]:
        server.ask("DELETE", f"/sessions/{one}")
