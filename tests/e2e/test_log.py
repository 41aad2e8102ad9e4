"""Promise: POLYAGENT_LOG, and RUST_LOG in the guide's spelling, tell the decisions by component, in commands as in servers; each line is an
event, and without them nothing is told."""
import json
import os

import pytest
from program import ROOT, run
from server import Server

HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"


def events(done):
    return [json.loads(line) for line in done.err.splitlines()]


def told(events):
    return {(e["component"], e["message"]) for e in events if e["level"] == "debug"}


def quiet(**variables):
    return {**{k: v for k, v in os.environ.items() if k not in ("POLYAGENT_LOG", "RUST_LOG")}, **variables}


@pytest.mark.parametrize("variables", ({"POLYAGENT_LOG": "debug"}, {"RUST_LOG": "polyagent_agent_core=debug,wasi_sandbox=trace"}))
def test_a_command_tells_its_decisions(tmp_path, variables):
    cold = quiet(POLYAGENT_CACHE_DIR=str(tmp_path / "cache"), POLYAGENT_STATE_DIR=str(tmp_path / "state"), **variables)
    first, second = (run("run", "--local", HELLO, env=cold) for _ in range(2))
    assert first.out == second.out == "Hello from WASI!\n"
    assert told(events(first)) >= {("cache", "miss"), ("compiler", "starts"), ("compiler", "has ended"), ("supervisor", "zygote started"),
                                   ("supervisor", "dispatched"), ("supervisor", "verdict")}
    assert ("cache", "hit") in told(events(second)) and ("compiler", "starts") not in told(events(second))
    verdict = next(e for e in events(second) if e["message"] == "verdict")
    assert (verdict["status"], verdict["exit_code"], verdict["cache"]) == ("OK", 0, "hit")


def test_one_component_alone(tmp_path):
    done = run("run", "--local", HELLO, env=quiet(POLYAGENT_LOG="cache=debug"))
    assert {e["component"] for e in events(done)} == {"cache"}
    assert run("run", "--local", HELLO, env=quiet()).err == run("run", "--local", HELLO, env=quiet(RUST_LOG="hyper=trace")).err == ""
    done = run("run", "--local", HELLO, env=quiet(POLYAGENT_LOG="cahce=debug"))
    assert done.returncode == 125 and "did you mean cache?" in done.err


def test_a_server_tells_its_decisions(tmp_path):
    server = Server(tmp_path, http=True, env={"POLYAGENT_LOG": "debug"})
    server.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": "while True: pass", "execution_timeout_ms": 300}})
    server.stop()
    assert told(server.events()) >= {("supervisor", "zygote is ready"), ("supervisor", "dispatched"), ("worker", "ended")}
    verdict = next(e for e in server.events() if e["message"] == "verdict" and e["status"] == "TIMEOUT")
    assert verdict["message"] == "verdict" and "while True" not in server.log.read_text()
