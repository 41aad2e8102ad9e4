"""Promise: native code in the worker of a session, or of a plain run, as an escape from WebAssembly would be, outlives nothing, costs
no other tenant anything, forges nobody's result and reaches no file but its own. hostile_session.c does natively what the name of a
link says; each case as root and as an ordinary user, who has no ids for workers and no control group."""
import collections
import os
import pathlib
import shutil
import tempfile
import time

import host
import pytest
from program import BUILD, POLYAGENT
from server import Server, becomes, children

USER = 10001
HELPER = BUILD / "tests/hostile/hostile-worker"
asan = "asan" in str(BUILD)


def open_to_others(path):
    return all(os.stat(p).st_mode & 0o001 for p in [path, *path.parents])


def given_to(uid, folder):
    """The cache of compiled modules and its key, as that user's own: to compile Python anew takes a minute."""
    home = pathlib.Path.home()
    state = pathlib.Path(os.environ.get("POLYAGENT_STATE_DIR") or home / ".local/state/polyagent")
    cache = pathlib.Path(os.environ.get("POLYAGENT_CACHE_DIR") or home / ".cache/polyagent")
    (folder / "state").mkdir(mode=0o700)
    shutil.copy(state / "cache.key", folder / "state")
    shutil.copytree(cache, folder / "cache", ignore=lambda _, names: [n for n in names if n.startswith("tmp")])
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, uid)
        path.chmod(0o700 if path.is_dir() else 0o400 if path.suffix == ".cwasm" else 0o600)
    return {"POLYAGENT_CACHE_DIR": str(folder / "cache"), "POLYAGENT_STATE_DIR": str(folder / "state"), "HOME": str(folder)}


def start(folder, who):
    env, under = {"POLYAGENT_HELPER": str(HELPER)}, ()
    if who == "user":
        if not open_to_others(BUILD.resolve() / "src"):
            pytest.skip("the build is closed to others")
        env |= given_to(USER, folder)
        under = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    started = Server(folder, http=True, env=env, under=under)
    started.who = who
    return started


@pytest.fixture(scope="module", params=["root", "user"])
def who(request):
    if os.geteuid() != 0:
        pytest.skip("needs root, also to become somebody else")
    return request.param


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="polyagent-native-") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@pytest.fixture(scope="module")
def server(who):
    with tempfile.TemporaryDirectory(prefix="polyagent-native-") as name:
        os.chmod(name, 0o755)
        started = start(pathlib.Path(name), who)
        Session(started).close()  # now it has all that it ever has
        host.python(started, "print(1)")
        yield started
        started.stop()


class Session:
    def __init__(self, server, **parameters):
        self.server = server
        self.id = host.execute(server, "session_open", **parameters)["session_id"]
        assert self.run("x = 41")["status"] == "OK"

    def run(self, code, **parameters):
        return self.server.ask("POST", f"/sessions/{self.id}/run", {"code": code, **parameters})[1]

    def deed(self, what, value="", **parameters):
        return self.run(f"import os\nprint(os.readlink('@{what}:{value}'))", **parameters)

    def close(self):
        assert self.server.ask("DELETE", f"/sessions/{self.id}")[0] == 200


@pytest.fixture
def session(server):
    opened = Session(server)
    yield opened
    opened.close()


def refused(answer):
    return "policy violation" in (answer["error"] or {}).get("message", "") or answer["stdout"].startswith("E")


def count(server):
    """Processes of the server, its front and itself left out; what is dead and was not reaped, too."""
    return len(children(server.pid))


def runs(pid):
    """A worker, a keeper or a zygote; one that is dead has no command line."""
    try:
        return b"zygote" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def settled(server):
    """As many as there are when nothing is being made or reaped."""
    last, same = None, 0
    while same < 8:
        now = count(server)
        same, last = (same + 1 if now == last else 0), now
        time.sleep(0.2)
    return last


@pytest.mark.parametrize("kind", ["rogues", "zombies", "filler", "forger"])
def test_what_a_session_made_and_did_not_tell_of_ends_with_it(server, kind):
    before = settled(server)
    session = Session(server)
    assert session.deed(kind, 5000, execution_timeout_ms=20000)["status"] == "OK"
    session.close()
    assert becomes(lambda: count(server) <= before, True)
    assert host.python(server, "print(1)")["stdout"] == "1\n"


def test_a_session_that_makes_processes_unasked_is_ended(server, session):
    """While it is open, too: they would take the places of others."""
    before = settled(server)
    assert session.deed("rogues", 5)["stdout"] == "5 made\n"
    assert becomes(lambda: count(server) <= before, True)
    assert session.run("x")["status"] == "NOT_FOUND"  # and is told so, once
    assert session.run("x = 1")["status"] == "OK"


def test_processes_are_counted_by_session(server, session):
    made = session.deed("rogues", 5000, execution_timeout_ms=20000)["stdout"]
    assert int(made.split()[0]) < (64 if server.who == "root" else 256)
    other = Session(server)
    assert other.run("print(x)")["stdout"] == "41\n"
    other.close()


@pytest.mark.parametrize("kind", ["rogues", "filler"])
def test_nothing_of_a_session_outlives_the_server(who, folder, kind):
    server = start(folder, who)
    session = Session(server)
    session.deed(kind, 5000, execution_timeout_ms=20000)
    left = children(server.pid)
    assert len(left) > 5
    server.process.kill()
    server.process.wait()
    assert becomes(lambda: [p for p in left if runs(p)], []) == []


def test_no_report_is_read_by_another_run(server):
    """A copy that keeps the memory of its turn's report writes to it for ever: nobody's result is made of that."""
    session = Session(server)
    assert session.deed("forger")["status"] == "OK"
    seen = collections.Counter()
    for _ in range(60):
        answer = host.python(server, "import sys; sys.exit(3)")
        seen[answer["exit_code"], answer["usage"]["fuel"]] += 1
    assert seen == {(3, 0): 60}
    session.close()


def test_one_that_says_it_rests_and_computes_is_ended(server):
    before = settled(server)
    session = Session(server)
    assert session.deed("rest")["status"] == "OK"
    assert session.run("x", execution_timeout_ms=30000)["status"] == "NOT_FOUND"  # not a TIMEOUT: nobody answers
    assert becomes(lambda: count(server) <= before, True)
    session.close()


@pytest.mark.parametrize("kind, value", [("liar", 0), ("liar", 1), ("flood", 0), ("flood", 4), ("flood", 600)])
def test_one_that_lies_ends_and_its_zygote_does_not(server, session, kind, value):
    other = Session(server)
    started = server.ask("GET", "/metrics")[1]
    zygotes = [line for line in started.decode().splitlines() if "zygotes_started" in line and not line.startswith("#")]
    assert session.deed(kind, value, execution_timeout_ms=3000)["status"] == "OK"
    assert session.run("print(x)", execution_timeout_ms=5000)["status"] in ("NOT_FOUND", "TIMEOUT")
    assert other.run("print(x)")["stdout"] == "41\n"
    ended = server.ask("GET", "/metrics")[1].decode()
    assert all(line in ended for line in zygotes)
    other.close()


def test_a_report_that_is_no_text_is_an_answer_all_the_same(session):
    assert session.deed("garbage")["status"] == "TRAP"


def test_a_session_is_in_a_pid_namespace(session):
    answer = session.deed("pid")
    assert "pid_namespace" in answer["isolation"] and int(answer["stdout"]) < 100


@pytest.mark.parametrize("what, value", [("unshare", ""), ("group", ""), ("tgkill", 1)])
def test_no_way_out_of_its_namespace_and_group(session, what, value):
    assert refused(session.deed(what, value))


def test_memory_counts_whatever_its_kind(server):
    """Pages that are shared, of a stack, no longer writable, or only addresses: none is beyond the limit."""
    if asan:
        pytest.skip("RLIMIT_DATA would count the sanitizer's shadow")
    for what, value in [("shared", 1200), ("stack", 1200), ("private", 1200), ("hidden", 1200), ("space", 1 << 20)]:
        session = Session(server, memory_limit_bytes=64 << 20)
        answer = session.deed(what, value, execution_timeout_ms=20000)
        assert refused(answer), (what, answer)
        session.close()


def test_outputs_in_memory_are_bounded(server, session):
    """The limit of a run's own files holds for the memory that its output goes to."""
    assert session.deed("output", 3000)["stdout"] == "EFBIG\n"
    assert host.python(server, "print(1)")["stdout"] == "1\n"


@pytest.mark.parametrize("where", ["session", "run"])
def test_no_way_up_from_a_workspace(server, session, where):
    """Not even a look, and no times of any file of the user's."""
    victim = pathlib.Path(server.socket.parent) / "victim"
    victim.write_text("x")
    os.chown(victim, *[USER] * 2 if server.who == "user" else [0, 0])
    before = victim.stat().st_mtime_ns
    target = str(victim).replace("/", "%")
    for path in (target, "%etc%passwd"):
        if where == "session":
            answer = session.deed("climb", path)
        else:
            answer = host.python(server, f"import os\nprint(os.readlink('/workspace/@climb:{path}'))", files={"a": "b"})
        assert "stat " in answer["stdout"] and "ok" not in answer["stdout"], answer
    assert victim.stat().st_mtime_ns == before


def test_times_are_set_by_descriptors_only(session):
    session.run("open('/workspace/mine', 'w').close()")
    assert refused(session.deed("times", "mine"))
    assert session.run("import os; os.utime('/workspace/mine', (1, 1)); print(os.stat('/workspace/mine').st_mtime)")["stdout"] == "1.0\n"
