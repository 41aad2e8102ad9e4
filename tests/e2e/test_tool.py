"""Promise: `polyagent tool` takes a call as an agent would make it, and answers with the contract's result,
whatever the call or the program does."""
import base64
import json

import pytest
from program import PYTHON_WASM, ROOT, run

HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"


def call(name, parameters, *options, **more):
    done = run("tool", *options, name, json.dumps(parameters), **more)
    assert done.err == "", done.err
    result = json.loads(done.out)
    result["exit"] = done.returncode
    return result


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


def test_code_executor_with_base64_payload():
    result = call("code_executor", {"wasm_base64": encoded(HELLO), "stdin": ""})
    assert (result["status"], result["exit_code"], result["exit"]) == ("OK", 0, 0)
    assert (result["stdout"], result["stderr"], result["error"]) == ("Hello from WASI!\n", "", None)
    assert len(result["module_sha256"]) == 64 and "seccomp" in result["isolation"]
    assert result["usage"]["stdout_bytes"] == 17 and not result["stdout_truncated"]


def test_wasi():
    """A file, stdin, and large output."""
    text = "line\n" * 50000
    result = call("code_executor", {"wasm_path": str(ROOT / "docs/assets/input-reader.wat"), "stdin": "x" * 100})
    assert result["stdout"] == "x" * 100
    result = call("python_wasi_runner", {"code": "print('line\\n' * 50000, end='')"})
    assert result["stdout"] == text


def test_python_reads_its_stdin_argv_and_environment():
    code = "import sys, os; print(input(), sys.argv[1:], os.environ['A']); sys.exit(3)"
    result = call("python_wasi_runner", {"code": code, "stdin": "tüt", "argv": ["a", "b c"], "env": {"A": "1"}})
    assert (result["status"], result["exit_code"], result["exit"]) == ("OK", 3, 3)
    assert result["stdout"] == "tüt ['a', 'b c'] 1\n"
    result = call("python_wasi_runner", {"code": "1 / 0"})
    assert result["exit_code"] == 1 and "ZeroDivisionError" in result["stderr"] and "1 / 0" in result["stderr"]
    assert call("python_wasi_runner", {"code": "print(1)", "interpreter_wasm_path": str(PYTHON_WASM)})["stdout"] == "1\n"


@pytest.mark.parametrize("parameters, status, code, text", [
    ({"code": "print('before', flush=True)\nwhile True: pass", "execution_timeout_ms": 2000}, "TIMEOUT", 124,
     "Execution timeout"),
    ({"code": "while True: pass", "cpu_time_ms": 300}, "TIMEOUT", 124, "Execution timeout"),
    ({"code": "x = 'a' * 10**9"}, "MEMORY_LIMIT", 137, "Memory limit exceeded"),
    ({"code": "while True: print('x' * 1000)", "output_limit_bytes": 100000}, "OUTPUT_LIMIT", 153,
     "Output limit exceeded"),
    ({"code": "while True: pass", "max_fuel": 1000000}, "FUEL_EXHAUSTED", 152, "Fuel exhausted"),
])
def test_limits_end_a_run_with_what_it_wrote(parameters, status, code, text):
    result = call("python_wasi_runner", parameters)
    assert (result["status"], result["exit"]) == (status, code)
    assert result["error"]["code"] == status and result["error"]["message"].startswith(text)
    if "before" in parameters["code"]:
        assert result["stdout"] == "before\n"
    if status == "OUTPUT_LIMIT":
        assert len(result["stdout"]) == 100000 and result["stdout_truncated"]


def test_mode_auto_needs_no_server():
    """What only the run shows to be beyond the compiler is interpreted, whoever runs it."""
    code = "print('ß'.upper(), input())"
    assert call("python_wasi_runner", {"code": code, "mode": "compiled", "stdin": "Ada\n"})["exit_code"] == 70
    result = call("python_wasi_runner", {"code": code, "mode": "auto", "stdin": "Ada\n"})
    assert (result["status"], result["exit_code"], result["stdout"], result["stderr"], result["exit"]) == ("OK", 0, "SS Ada\n", "", 0)
    own = {"code": "print(1)\nraise SystemExit(70)", "mode": "auto", "interpreter_wasm_base64": encoded(PYTHON_WASM)}  # nothing was compiled
    assert json.loads(run("tool", "python_wasi_runner", stdin=json.dumps(own)).out)["stdout"] == "1\n"


def test_help_names_the_tools():
    text = run("tool", "--help").out
    assert all(f"  {name}\n" in text for name in ("code_executor", "python_wasi_runner", "javascript_wasi_runner"))


def test_files_of_the_request(tmp_path, monkeypatch):
    """They are the program's own folder, where it starts; nothing of it is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = ("import os\nprint(os.getcwd(), sorted(os.listdir('.')), open('data/x.csv').read(), open('/workspace/b', 'rb').read())\n"
            "open('new', 'w').write('1'); os.mkdir('deep'); os.symlink('../new', 'deep/link')")
    result = call("python_wasi_runner", {"code": code, "files": {"data/x.csv": "1,2", "/workspace/b": {"base64": "/w=="}}})
    assert result["stdout"].startswith("/workspace ['b', 'data'] 1,2 b'\\xff'\n") and result["exit_code"] == 0, result
    assert list(tmp_path.iterdir()) == []


def test_artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = ("import os\nos.makedirs('/output/b/c'); open('/output/a.txt', 'w').write('é'); open('/output/b/c/d', 'wb').write(b'\\xff')\n"
            "open('/output/b/x.PNG', 'w'); os.symlink('a.txt', '/output/link'); 1 / 0")
    result = call("python_wasi_runner", {"code": code})
    assert [(a["name"], a["mime"], base64.b64decode(a["bytes_base64"])) for a in result["artifacts"]] == [
        ("a.txt", "text/plain", "é".encode()), ("b/c/d", "application/octet-stream", b"\xff"), ("b/x.PNG", "image/png", b"")], result["stderr"]
    assert result["exit_code"] == 1 and "artifacts_truncated" not in result and list(tmp_path.iterdir()) == []
    result = call("python_wasi_runner", {"code": "for i in range(120): open(f'/output/{i}', 'w').write('x')"})
    assert len(result["artifacts"]) == 100 and result["artifacts_truncated"] is True
    result = call("python_wasi_runner", {"code": "open('/output/big', 'wb').truncate(33 << 20); open('/output/small', 'w').write('x')"})
    assert [a["name"] for a in result["artifacts"]] == ["small"] and result["artifacts_truncated"] is True
    result = call("python_wasi_runner", {"code": "print('/output')"})
    assert "artifacts" not in result


@pytest.mark.parametrize("files, text", [
    ({"../x": ""}, "files.../x"), ({"/etc/x": ""}, "files./etc/x"), ({"a/../../x": ""}, "beneath /workspace"), ({"": ""}, "beneath"), ({"a//b": ""}, "beneath"),
    ({"a/": ""}, "beneath"), ({"./a": ""}, "beneath"), ({"x" * 2000: ""}, "beneath"), ({"a": 5}, "files.a: must be a string"), ({"a": {"base64": "%"}}, "not base64"),
    ({"a": {"base64": "", "b": 1}}, "must be a string"), ({"a": "", "a/b": ""}, "in the way"), ({"a/b": "", "/workspace/a/b": ""}, "in the way"),
    ({"a/b": "", "a.c": "", "a": ""}, "files.a: stands in the way"),
    ({str(i): "" for i in range(1001)}, "at most 1000"), ([], "files: must be an object")])
def test_files_that_are_none_are_refused(tmp_path, monkeypatch, files, text):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    result = call("python_wasi_runner", {"code": "", "files": files})
    assert result["status"] == "INVALID_ARGUMENT" and text in result["error"]["message"], result["error"]
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_text():
    result = call("python_wasi_runner", {"code": "import sys; sys.stdout.buffer.write(b'a\\xff\\xc3\\x28\\xed\\xa0\\x80z')"})
    assert result["stdout"] == "a\ufffd\ufffd(\ufffd\ufffd\ufffdz"
    assert base64.b64decode(result["stdout_base64"]) == b"a\xff\xc3\x28\xed\xa0\x80z"
    result = call("python_wasi_runner", {"code": "print('\\0 \U0001f40d')"})
    assert result["stdout"] == "\ufffd \U0001f40d\n"  # not all interfaces can carry a NUL in a text
    assert base64.b64decode(result["stdout_base64"]) == "\0 \U0001f40d\n".encode()


@pytest.mark.parametrize("name, parameters, status, code, text", [
    ("nope", {}, "NOT_FOUND", 125, "nope"),
    ("code_executor", {}, "INVALID_ARGUMENT", 125, "wasm_base64: missing"),
    ("code_executor", {"wasm_bas64": ""}, "INVALID_ARGUMENT", 125, "did you mean wasm_base64"),
    ("code_executor", {"wasm_base64": "QQ==*"}, "INVALID_ARGUMENT", 125, "not base64"),
    ("code_executor", {"wasm_base64": "QQ=="}, "INVALID_MODULE", 126, "Invalid WASM module"),
    ("code_executor", {"wasm_base64": ""}, "INVALID_MODULE", 126, "empty"),
    ("code_executor", {"wasm_path": "/nonexistent"}, "NOT_FOUND", 125, "/nonexistent"),
    ("python_wasi_runner", {"code": 5}, "INVALID_ARGUMENT", 125, "code: must be a string"),
    ("python_wasi_runner", {"code": "", "memory_limit_bytes": 1}, "INVALID_ARGUMENT", 125, "at least 65536"),
])
def test_bad_calls_are_results_too(name, parameters, status, code, text):
    result = call(name, parameters)
    assert (result["status"], result["exit"]) == (status, code)
    assert text in result["error"]["message"], result["error"]


def test_bad_json_and_usage_are_one_line():
    for args, stdin in ((["python_wasi_runner", "{"], ""), (["python_wasi_runner"], "[1,"), ([], ""),
                        (["a", "{}", "b"], ""), (["--what"], ""),
                        (["python_wasi_runner", '{"code": "1", "code": "2"}'], "")):
        done = run("tool", *args, stdin=stdin)
        assert done.returncode == 125 and done.err.count("\n") == 1 and done.out == "", (args, done.err)


def test_parameters_by_stdin_and_the_list():
    assert json.loads(run("tool", "python_wasi_runner", stdin='{"code": "print(5)"}').out)["stdout"] == "5\n"
    tools = {t["name"]: t for t in json.loads(run("tool", "--list").out)["tools"]}
    assert set(tools) >= {"code_executor", "python_wasi_runner", "javascript_wasi_runner"}
    assert all(t["description"] and t["input_schema"]["type"] == "object" for t in tools.values())


def test_the_whole_form_of_the_guide(run):
    whole = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "print(input())", "stdin": "7", "argv": []}})
    for args, stdin in (([whole], ""), (["-"], whole), (["python_wasi_runner", whole], ""), (["python_wasi_runner"], whole)):
        done = run("tool", "--local", *args, stdin=stdin)
        assert (done.returncode, json.loads(done.out)["stdout"]) == (0, "7\n"), done
    for args, said in ((["code_executor", whole], "code_executor is named, but python_wasi_runner in the JSON"), (['{"code": "1"}'], "neither a tool's name nor"),
                       ([whole, "{}"], "a tool's name comes first")):
        done = run("tool", "--local", *args)
        assert done.returncode == 125 and said in done.err, done
