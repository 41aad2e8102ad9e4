"""Promise: text of guests and strangers is text: wherever it is cut, whatever bytes and control characters are in it, the answer comes
and the log is a log; and messages speak of the caller's own knobs."""
import base64
import json
import os
import re

import pytest
from program import run
from server import Server

# Import names and function names are a stranger's: this title, this colour and this line are not the terminal's.
WICKED = "\\1b]0;pwned\\07\\1b[31mFAKE\\0astatus OK, exit code 0\\0a\\c2\\9b2J\\e2\\80\\ae"
SHOWN = "\\x1b]0;pwned\\a\\x1b[31mFAKE\\nstatus OK, exit code 0\\n\\x9b2J\\u202e"


def importing(name):
    return f'(module (import "{name}" "f" (func)) (func (export "_start")))'


def trapping_in(name):
    """The name section by hand: the text format has no such names."""
    def leb(n):
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + leb(n >> 7)

    def section(kind, content):
        return bytes([kind]) + leb(len(content)) + content
    names = section(1, b"\x01\x00" + leb(len(name)) + name)
    return (b"\0asm\1\0\0\0" + section(1, b"\1\x60\0\0") + section(3, b"\1\0") + section(7, b"\1\6_start\0\0")
            + section(10, b"\1\3\0\0\x0b") + section(0, b"\4name" + names))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("text"), http=True)
    yield server
    server.stop()
    for line in server.log.read_bytes().decode().splitlines():  # UTF-8, and an event a line
        assert line.startswith("polyagent: ") or json.loads(line)["level"], line
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u202e]", line), line


def cut_texts():
    """Each once for every place that a cut can have in its characters."""
    for ahead in range(90, 106):
        long = "k" * ahead + "é日🎉" * 400
        wasm = base64.b64encode(importing(long).encode()).decode()
        yield {"tool": long, "parameters": {}}
        yield {"tool": "python_wasi_runner", "parameters": {"code": "1", long: 1}}
        yield {"tool": "python_wasi_runner", "parameters": {"code": "1"}, long: 1}
        yield {"tool": "python_wasi_runner", "parameters": {"code": "1", "env": {long: 1}}}
        yield {"tool": "python_wasi_runner", "parameters": {"code": "1", "session_id": long[60:]}}
        yield {"tool": "python_wasi_runner", "parameters": {"code": "1", "files": {"../" + long: "x"}}}
        yield {"tool": "python_wasi_runner", "parameters": {"code": "1", "interpreter": long}}
        yield {"tool": "python_wasi_runner", "parameters": {"code": "1", "packages": [long]}}
        yield {"tool": "code_executor", "parameters": {"module": long}}
        yield {"tool": "code_executor", "parameters": {"wasm_path": "/" + long}}
        yield {"tool": "code_executor", "parameters": {"wasm_base64": wasm}}


def test_a_cut_costs_no_answer_over_http(server):
    for body in cut_texts():
        status, answer = server.ask("POST", "/tools/execute", body)
        assert status in (400, 403, 404) and answer["error"]["message"] and answer["request_id"], (body, answer)
    for ahead in range(30, 66):
        task = {"query": "Use python_wasi_runner to execute: print(1)", "task_id": "k" * ahead + "é" * 40}
        status, answer = server.ask("POST", "/api/v1/tasks", task)
        assert (status, answer["result"]) == (200, "1\n") and task["task_id"].startswith(answer["task_id"]), answer


def test_a_cut_costs_no_answer_over_mcp(server):
    for number, body in enumerate(cut_texts()):
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": body["tool"], "arguments": body["parameters"]}}
        status, answer = server.ask("POST", "/mcp", message)
        assert status == 200 and answer["id"] == number and ("error" in answer) != ("result" in answer), (body, answer)


def test_a_cut_costs_no_answer_on_stdio(server):
    bodies = list(cut_texts())
    lines = "".join(json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {
        "name": body["tool"], "arguments": body["parameters"]}}) + "\n" for number, body in enumerate(bodies))
    done = server.run("mcp", stdin=lines)
    assert {json.loads(line)["id"] for line in done.stdout.decode().splitlines()} == set(range(len(bodies)))


@pytest.mark.parametrize("interface", ("command", "server"))
def test_control_characters_of_a_module_are_made_visible(tmp_path, server, interface):
    (tmp_path / "import.wat").write_text(importing(WICKED))
    wicked = WICKED.encode().replace(b"\\e2\\80\\ae", "\u202e".encode()).replace(b"\\c2\\9b", "\x9b".encode())
    wicked = re.sub(rb"\\(..)", lambda m: bytes.fromhex(m[1].decode()), wicked)
    (tmp_path / "name.wasm").write_bytes(trapping_in(wicked))
    if interface == "command":
        said = [run("run", "--local", tmp_path / name).err for name in ("import.wat", "name.wasm")]
        assert said[1].splitlines() == ["polyagent: Trap: unreachable", f"#0 {SHOWN} (function 0) at {said[1].rsplit(' ', 1)[1].strip()}"]
    else:
        answers = [server.ask("POST", "/tools/execute", {"tool": "code_executor", "parameters": {
            "wasm_base64": base64.b64encode((tmp_path / name).read_bytes()).decode()}})[1] for name in ("import.wat", "name.wasm")]
        said = [answer["error"]["message"] + answer["error"]["backtrace"] for answer in answers]
    for text in said:
        assert SHOWN in text and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text), text


def test_a_long_name_in_a_backtrace_is_cut_between_characters(tmp_path):
    for ahead in range(4):
        (tmp_path / "name.wasm").write_bytes(trapping_in(b"k" * ahead + "é".encode() * 500))
        text = run("run", "--local", tmp_path / "name.wasm").stdout + run("run", "--local", tmp_path / "name.wasm").stderr
        assert re.search(f"#0 {'k' * ahead}é{{90,}} \\(function 0\\)", text.decode()), text


def test_messages_name_the_option_on_the_command_line(tmp_path, server):
    (tmp_path / "loop.wat").write_text('(module (func (export "_start") (loop br 0)))')
    (tmp_path / "grow.wat").write_text('(module (memory (export "memory") 9) (func (export "_start")))')
    for args, option in [(("--timeout", "200ms"), "--timeout"), (("--cpu-time", "100ms"), "--cpu-time"), (("--fuel", "1000"), "--fuel"),
                         (("--max-module", "3"), "--max-module")]:
        assert run("run", "--local", *args, tmp_path / "loop.wat").err.strip().endswith(f"raise {option}")
        assert server.run("run", *args, tmp_path / "loop.wat").err.strip().endswith(f"raise {option}")
    assert run("run", "--local", "--memory", "64K", tmp_path / "grow.wat").err.strip().endswith("raise --memory")
    assert run("run", "--local", "--max-module", "3", "-", stdin=(tmp_path / "grow.wat").read_text()).err.strip().endswith("raise --max-module")
    assert server.run("python", "--output-limit", "3", "-c", "print('four')").err.strip().endswith("raise --output-limit")


def test_messages_name_the_parameter_over_http(server):
    for parameters, name in [({"code": "while True: pass", "execution_timeout_ms": 200}, "execution_timeout_ms"),
                             ({"code": "while True: pass", "cpu_time_ms": 100}, "cpu_time_ms"),
                             ({"code": "while True: pass", "max_fuel": 100000000}, "max_fuel"),
                             ({"code": "x = [0] * 100000000", "memory_limit_bytes": 30 << 20}, "memory_limit_bytes")]:
        message = server.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": parameters})[1]["error"]["message"]
        assert message.endswith(f"raise {name}") and "--" not in message, message


@pytest.mark.parametrize("args, said", [
    (("pyton", "-c", "1"), "pyton: no such command; did you mean python?"), (("run", "--memry", "5"), "--memry: unknown option; did you mean --memory?"),
    (("run", "--memory"), "--memory: its value is missing"), (("run", "--local=1", "x"), "--local: takes no value"),
    (("run", "hello.py"), "run it by: polyagent python hello.py"), (("help", "rnu"), "did you mean run?")])
def test_a_mistake_is_told_with_its_cure(args, said):
    done = run(*args)
    assert done.returncode >= 125 and said in done.err and done.err.count("\n") == 1, done


def test_help_and_version_in_each_spelling():
    assert run("help").out == run("--help").out == run("-h").out
    assert run("help", "python").out == run("python", "--help").out
    assert run("version").out == run("-V").out == run("--version").out


@pytest.mark.parametrize("name, said", [
    ("POLYAGENT_WASI_MAX_FUL", "did you mean POLYAGENT_WASI_MAX_FUEL?"), ("POLYAGENT_SERVER_NONSENSE_OF_MINE", "no such setting"), ("POLYAGENT_SOKET", "did you mean POLYAGENT_SOCKET?"),
    ("POLYAGENT_WASI_MAX_FUEL", ""), ("POLYAGENT_SERVICE_PORT", ""), ("POLYAGENT_PORT_8000_TCP", ""), ("POLYAGENT_OF_SOMEBODY_ELSE", ""), ("POLYAGENT_TOKEN", "")])
def test_variables_that_are_no_settings_are_told(name, said):
    done = run("tool", "--help", env={**os.environ, name: "1"})
    assert done.returncode == 0 and (said in done.err and name in done.err if said else done.err == ""), done
