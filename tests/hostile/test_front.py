"""Promise: native code in polyagent-net, as a request would bring it in that finds a hole in what parses requests, finds every
layer in its way, each does its part when it is the only one, and who opens files for it opens nothing that the configuration does not
name. The hostile front (hostile_front.c) is polyagent-net, started as ever, that does natively what a call's name says."""
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest
from program import BUILD, POLYAGENT, ROOT, run
from server import Server, becomes, children

FRONT_UID = 0x70000000 + 65536
HELLO = ROOT / "docs/assets/hello-wasi.wat"
ASAN = "asan" in str(BUILD)
ALL = "all"

pytestmark = pytest.mark.skipif(ASAN, reason="a sanitizer's front has neither filter nor Landlock")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="without any layer the deeds are possible for root only")


@contextlib.contextmanager
def hostile(folder, layers=ALL, net="hostile-front", under=(), env=None, config=None):
    options = ("--config", str(config)) if config else ()
    server = Server(folder, *options, http=True, under=under, env={
        "POLYAGENT_NET": str(BUILD / "tests/hostile" / net) if net != "polyagent-net" else str(BUILD / "src/polyagent-net"),
        "POLYAGENT_WASI_ISOLATION_LAYERS": layers, "POLYAGENT_WASI_ISOLATION_REQUIRED": "seccomp" if layers == ALL else "none",
        **(env or {})})
    try:
        yield server
    finally:
        server.stop()


def told(server):
    """What its deeds have come to, and its deaths, in their order."""
    text = server.log.read_text()
    return [line for line in text.splitlines() if line.startswith("deed: ") or "polyagent-net has died" in line]


def deed(server, *words):
    """"0" or another number, "refused (ERRNO)", or "killed": the filter ended it, and it was started again."""
    before = len(told(server))
    with contextlib.suppress(OSError, Exception):
        server.ask("POST", "/tools/execute", {"tool": " ".join(("deed",) + words), "parameters": {}}, timeout=20)
    until = time.monotonic() + 60
    while len(told(server)) == before and time.monotonic() < until:
        time.sleep(0.02)
    line = told(server)[before]
    if line.startswith("deed: "):
        return line.removeprefix("deed: ")
    event = json.loads(line)
    assert (event["by"], event["code"]) == ("signal", signal.SIGSYS), event
    assert becomes(lambda: ready(server), True) is True
    return "killed"


def ready(server):
    with contextlib.suppress(OSError):
        return server.ask("GET", "/ready")[0] == 200
    return False


def serves(server):
    call = {"tool": "code_executor", "parameters": {"wasm_base64": base64.b64encode(HELLO.read_bytes()).decode()}}
    return server.ask("POST", "/tools/execute", call)[1].get("stdout") == "Hello from WASI!\n"


def refused(answer):
    return answer == "killed" or answer.startswith("refused")


# What strangers' code would do, and the layers that stop it, each alone.
SECCOMP, LANDLOCK, USER, POWERS, LIMITS = "seccomp,no_new_privs", "landlock,no_new_privs", "uid", "no_capabilities", "rlimits"
DEEDS = {
    "open /etc/shadow": {LANDLOCK, USER},
    "create {shared}/file": {LANDLOCK},
    "exec": {SECCOMP, LANDLOCK},
    "process": {SECCOMP},
    "ptrace {other}": {SECCOMP, LANDLOCK, USER},
    "kill {other}": {SECCOMP, LANDLOCK, USER},
    "connect {port}": {LANDLOCK},
    "bind {free}": {LANDLOCK},
    "family 17": {SECCOMP, USER, POWERS},  # AF_PACKET
    "memory 1000": {LIMITS},
    "code": {SECCOMP},
    "hostname": {SECCOMP, USER, POWERS},
    "setuid": {SECCOMP, USER},
}


@pytest.fixture
def scene():
    """What deeds are done to: a folder that all may write to, a process, a port that is listened at, and one that is free."""
    shared = tempfile.mkdtemp()
    os.chmod(shared, 0o777)
    other = subprocess.Popen(["sleep", "1000"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        yield {"shared": shared, "other": other.pid, "port": server.getsockname()[1], "free": port}
    other.kill()
    other.wait()
    shutil.rmtree(shared)


@as_root
def test_without_layers_every_deed_is_possible(tmp_path, scene):
    with hostile(tmp_path, "wasm,process") as server:
        answers = {text: deed(server, *text.format(**scene).split()) for text in DEEDS}
    assert answers == {text: "0" for text in DEEDS}


@as_root
@pytest.mark.parametrize("layer", [SECCOMP, LANDLOCK, USER, POWERS, LIMITS])
def test_each_layer_alone_stops_what_it_is_for(tmp_path, scene, layer):
    with hostile(tmp_path, "wasm,process," + layer) as server:
        answers = {text: deed(server, *text.format(**scene).split()) for text, layers in DEEDS.items() if layer in layers}
    assert answers and all(map(refused, answers.values())), answers


def test_all_layers_together_stop_all_of_it(tmp_path, scene):
    with hostile(tmp_path) as server:
        answers = {text: deed(server, *text.format(**scene).split()) for text in DEEDS}
        assert all(map(refused, answers.values())), answers
        assert deed(server, "thread") == "0"  # of its own it may make
        assert (deed(server, "core"), deed(server, "uid")) == ("0", str(FRONT_UID if os.geteuid() == 0 else os.geteuid()))
        status = pathlib.Path(f"/proc/{server.front}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0} or os.geteuid() != 0
        assert (facts["NoNewPrivs"], facts["Seccomp"], facts["CapEff"]) == ("1", "2", "0" * 16)
        assert facts["Groups"].strip() == "" or os.geteuid() != 0
        opener, = children(server.front)  # of its files
        facts = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{opener}/status").read_text().splitlines() if ":\t" in line)
        files = 1 << 1 | 1 << 2 | 1 << 3  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2") and int(facts["CapEff"], 16) & ~files == 0
        assert len(os.listdir(f"/proc/{opener}/fd")) <= 5  # no listening socket of the front's
        assert serves(server)


def test_an_ordinary_users_front_is_sealed_too(scene):
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    for parent in POLYAGENT.parents:
        if not os.stat(parent).st_mode & 0o001:
            pytest.skip(f"{parent} is closed to others")
    home = pathlib.Path(tempfile.mkdtemp())
    os.chown(home, 65534, 65534)
    under = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    env = {"HOME": str(home), "POLYAGENT_STATE_DIR": str(home / "state"), "POLYAGENT_CACHE_DIR": str(home / "cache"),
           "POLYAGENT_WASI_EXECUTION_TIMEOUT_MS": "300000"}  # Python is compiled first
    (home / "secret").write_text("of the same user")
    os.chown(home / "secret", 65534, 65534)
    own = subprocess.Popen([*under, "sleep", "1000"])
    try:
        with hostile(home, under=under, env=env) as server:
            scene = {**scene, "other": own.pid}  # of the same user, so that its id alone stops nothing
            answers = {text: deed(server, *text.format(**scene).split()) for text in DEEDS}
            answers["secret"] = deed(server, "open", str(home / "secret"))
            assert all(map(refused, answers.values())), answers
            assert serves(server)
    finally:
        own.kill()
        own.wait()
        shutil.rmtree(home)


def test_nothing_is_opened_that_the_configuration_does_not_name(tmp_path):
    """By the process that opens files for the front, whatever the front asks it for."""
    modules = tmp_path / "modules"
    modules.mkdir()
    shutil.copy(HELLO, modules / "m.wat")
    (tmp_path / "secret").write_text("x")
    (modules / "out").symlink_to(tmp_path / "secret")
    (modules / "folder").mkdir()
    os.mkfifo(modules / "fifo")
    (tmp_path / "data").mkdir()
    config = tmp_path / "c.yaml"
    config.write_text(f"wasi:\n  module_paths: ['{modules}']\n  allowed_paths: ['{tmp_path / 'data'}']\n")
    with hostile(tmp_path, env={"POLYAGENT_STATE_DIR": str(tmp_path / "state")}, config=config) as server:
        for words in (("file", config), ("folder", tmp_path / "data"), ("module", modules / "m.wat")):
            assert deed(server, *map(str, words)) == "0", words
        for words in (("file", "/etc/shadow"), ("file", tmp_path / "secret"), ("file", f"{config}/../secret"), ("folder", "/etc"),
                      ("folder", tmp_path), ("folder", tmp_path / "data/.."), ("file", tmp_path / "data"), ("module", "/etc/passwd"),
                      ("module", modules / "../secret"), ("module", modules / "out"), ("module", modules / "folder"),
                      ("module", modules / "fifo"), ("module", f"{modules}2/x"), ("interpreter", "../secret"), ("interpreter", "/etc/passwd"),
                      ("registry", "../../secret"), ("registry", "/etc/passwd")):
            assert refused(deed(server, *map(str, words))), words


def test_a_front_that_talks_nonsense_is_started_again(tmp_path):
    """A message of no request's size: who opens files ends, and with it the front, and all is well again."""
    with hostile(tmp_path) as server:
        for size in (1, 8192):
            front = server.front
            assert deed(server, "lie", str(size)) == str(size)
            assert becomes(lambda: not os.path.exists(f"/proc/{front}"), True)
            assert becomes(lambda: ready(server), True) is True
        assert serves(server)


@as_root
def test_sessions_of_a_root_front_are_taken_over(tmp_path):
    """A server of before fronts had a user of their own, and back."""
    def turn(server, code, session):
        return server.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": code, "session_id": session}})[1]

    without = "wasm,process,rlimits,no_new_privs,not_dumpable,no_capabilities,landlock,seccomp"
    with hostile(tmp_path, without, net="polyagent-net") as server:
        first = turn(server, "import os; os.makedirs('a/b'); open('a/b/f', 'w').write('mine'); os.symlink('f', 'a/b/l')", "new")
        session = first["session_id"]
        assert {p.lstat().st_uid for p in (tmp_path / "sessions").rglob("*")} == {0}
    with hostile(tmp_path, net="polyagent-net") as server:
        assert turn(server, "print(open('a/b/l').read()); open('a/b/g', 'w').write('x')", session)["stdout"] == "mine\n"
        owners = {p.lstat().st_uid for p in [tmp_path / "sessions", *(tmp_path / "sessions").rglob("*")]}
        assert owners == {FRONT_UID} and stat.S_IMODE((tmp_path / "sessions").stat().st_mode) == 0o700
    with hostile(tmp_path, without, net="polyagent-net") as server:
        assert turn(server, "print(open('a/b/g').read())", session)["stdout"] == "x\n"
        assert server.ask("DELETE", f"/sessions/{session}")[0] == 200
    assert not (tmp_path / "sessions" / session).exists()


@as_root
def test_files_that_only_root_reads_reach_a_front_without_rights(tmp_path):
    """Configuration, tokens and modules, at the start and when they are read again; a wrong file changes nothing."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in ("one", "two"):
        (closed / name).mkdir(mode=0o700)
        shutil.copy(HELLO, closed / name / "m.wat")
    tokens, config = closed / "tokens", closed / "c.yaml"

    def write(folder, token):
        tokens.write_text(f"me:{hashlib.sha256(token.encode()).hexdigest()}\n")
        config.write_text(f"wasi:\n  module_paths: ['{closed / folder}']\nserver:\n  auth:\n    tokens_file: '{tokens}'\n")
        for path in (tokens, config):
            path.chmod(0o600)

    def call(folder, token):
        return server.ask("POST", "/tools/execute", {"tool": "code_executor", "parameters": {"wasm_path": str(closed / folder / "m.wat")}}, token=token)[0]

    write("one", "first")
    with hostile(tmp_path, net="polyagent-net", config=config) as server:
        assert (call("one", "first"), call("two", "first"), call("one", "second")) == (200, 403, 401)
        write("two", "second")
        server.process.send_signal(signal.SIGHUP)
        assert becomes(lambda: call("two", "second"), 200) == 200
        assert (call("one", "second"), call("two", "first")) == (403, 401)
        config.write_text("wasi: {nothing: 1}\n")
        server.process.send_signal(signal.SIGHUP)
        assert becomes(lambda: any("not taken" in e["message"] for e in server.events()), True) is True
        assert call("two", "second") == 200


def test_a_front_without_a_required_layer_does_not_serve(tmp_path):
    """The supervisor has them all: it is the front alone that one is kept from."""
    layers = "wasm,process,rlimits,no_new_privs,not_dumpable,no_capabilities,uid,landlock"
    wrapper = tmp_path / "net"
    wrapper.write_text(f"#!/bin/sh\nPOLYAGENT_WASI_ISOLATION_LAYERS={layers} exec {BUILD}/src/polyagent-net \"$@\"\n")
    wrapper.chmod(0o755)
    env = {**os.environ, "POLYAGENT_NET": str(wrapper), "POLYAGENT_SOCKET": str(tmp_path / "s.sock"), "POLYAGENT_SESSIONS_DIR": str(tmp_path / "s"),
           "TMPDIR": str(tmp_path)}
    done = subprocess.run([POLYAGENT, "serve", "--http", "127.0.0.1:0", "--grpc", "off"], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 125 and "polyagent-net: isolation layers that are required are not in force: seccomp" in done.stderr
    assert not list(tmp_path.glob("polyagent-front-*"))


def test_doctor_shows_the_fronts_layers(monkeypatch):
    def columns():
        return {w[0]: tuple(w[1:5]) for w in (line.split() for line in run("doctor").out.splitlines()) if len(w) > 4}

    seen = columns()
    for layer in ("rlimits", "no_new_privs", "not_dumpable", "no_capabilities", "landlock", "seccomp"):
        assert seen[layer][2:] == ("yes", "yes"), (layer, seen[layer])
    assert seen["uid"][2] == ("yes" if os.geteuid() == 0 else "no") and seen["net_namespace"][2:] == ("-", "-")
    monkeypatch.setenv("POLYAGENT_WASI_ISOLATION_LAYERS", "wasm,process,rlimits,no_new_privs,landlock")
    assert columns()["seccomp"] == ("no", "MISSING", "MISSING", "yes") and run("doctor").returncode == 1
