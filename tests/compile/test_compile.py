"""Promise: a compiled program prints what CPython prints, byte for byte, and ends as it does; what cannot be compiled rightly is
refused with its place; the module needs nothing else and runs in any engine. CPython is the one in the sandbox, of the same server."""
import base64
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess

import generate
import pytest
from program import BUILD, run
from server import Server

HERE = pathlib.Path(__file__).parent
SLOW = "asan" in str(BUILD)
GENERATED = int(os.environ.get("POLYAGENT_PROGRAMS", "4" if SLOW else "40"))


def corpus():
    """(name, program): each begins with a line `#: name`."""
    for path in sorted((HERE / "corpus").glob("*.txt")):
        for part in re.split(r"^#: ", path.read_text(), flags=re.M)[1:]:
            name, _, code = part.partition("\n")
            yield f"{path.stem}: {name}", code


CORPUS = list(corpus())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("server"), http=True)
    yield started
    started.stop()


def call(server, code, mode, **more):
    return server.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": code, "mode": mode, "execution_timeout_ms": 120000,
                                                                                            "memory_limit_bytes": 1 << 30, "stdin": "Ada\n36\nmore\n", "argv": ["one", "zwei ü"], **more}})[1]


def ending(answer):
    """All that is the same: output, exit code, and how an error is named, with its line."""
    errors = answer.get("stderr", "").splitlines()
    lines = re.findall(r'File "<code>", line (\d+)', answer.get("stderr", ""))
    failed = answer["exit_code"] != 0  # else there are warnings at most
    return answer["status"], answer["exit_code"], answer.get("stdout"), errors[-1:] if failed else [], lines[-1:] if failed else []


def differences(server, programs):
    """Names of programs that are compiled to something else than CPython makes of them, and those that are refused."""
    wrong, refused = [], []

    def one(program):
        return program, call(server, program[1], "interpreted"), call(server, program[1], "compiled")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (name, code), wanted, got in pool.map(one, programs):
            if got["status"] == "INVALID_ARGUMENT" or got.get("exit_code") == 70:
                refused.append((name, (got["error"] or {}).get("message") or got["stderr"]))
            elif ending(wanted) != ending(got):
                wrong.append((name, ending(wanted), ending(got)))
    return wrong, refused


def test_the_corpus(server):
    assert len(CORPUS) >= 300 and len({name for name, _ in CORPUS}) == len(CORPUS)
    wrong, refused = differences(server, CORPUS[::6] if SLOW else CORPUS)
    assert (wrong, refused) == ([], []), "\n".join(map(str, wrong + refused))


def test_random_programs(server):
    """Each seed is a program; some use what is refused, most must not be."""
    wrong, refused = differences(server, [(f"seed {seed}", generate.program(seed)) for seed in range(GENERATED)])
    assert wrong == [] and len(refused) <= GENERATED / 5, "\n".join(map(str, wrong + refused))


REFUSED = {  # program -> line, column and a word of the reason
    "class A:\n    pass": (1, 1, "class"), "x = 1\nimport os": (2, 8, "os"), "def f():\n    yield 1": (2, 5, "generators"), "with open('x') as f:\n    pass": (1, 1, "with"),
    "print({1, 2})": (1, 9, "sets"), "x = 1j": (1, 6, "complex"), "@d\ndef f(): pass": (1, 1, "decorators"), "def f(*a): pass": (1, 7, "parameters"),
    "f(*[1])": (1, 3, "calls"), "if (n := 5): pass": (1, 7, "assignment expressions"), "print(undefined)": (1, 7, "undefined"), "open('x')": (1, 1, "open"),
    "def f():\n    x = 1\n    def g():\n        return x\n    return g": (5, 12, "closures"), "def f(x):\n    return lambda: x": (2, 20, "closures"),
    "def f():\n    def g():\n        return x\n    g()\n    x = 1": (4, 5, "no value yet"), "def f(x):\n    def g(y=x): pass": (2, 5, "default"), "def f(x):\n    def g():\n        nonlocal x": (3, 9, "nonlocal"),
    "def f(x):\n    def g(y): return x\n    g(1, 2)": (3, 5, "fewer arguments"), "x.y = 1": (1, 1, "attribute"), "lambda: (yield)": (1, 10, "yield"),
    "async def f(): pass": (1, 1, "async"), "print('a'.encode())": (1, 7, "encode"), "del x": (1, 6, "del"), "f()\ndef f(): pass": (1, 1, "before it is defined"),
    "g = (i for i in range(3))": (1, 6, "generator"), "import math\nmath.lgamma(1)": (2, 1, "lgamma"), "b'bytes'": (1, 1, "bytes"), "match x:\n    case 1: pass": (1, 7, "invalid syntax"),
    "def f(x: Thing): pass": (1, 10, "annotation"), "x: print('now') = 1": (1, 4, "annotation"), "x: None | None = 1": (1, 4, "annotation"), "x: int | 'A' = 1": (1, 4, "annotation"),
    "list = [1]\ndef f(x: list[0]): pass": (2, 10, "annotation"), "str = 'a'\nx: list[str] = []": (2, 9, "annotation"),
}
NO_PROGRAMS = ["x = ", "print(", "if True:\nprint(1)", "  x = 1", "x = 1\n  y = 2", "def f(a, a): pass", "return 1", "break", "1 = x", "f(a=1, 2)", "x = 'abc", "a b", "x = 08", "for i in range(3) print(i)",
               "print 'x'", "if x = 1: pass", "def f(a=1, b): pass", "try:\n    pass", "else: pass", "\tx = 1\n        y = 2\n", "x = {1: 2, 3}", "continue", "a, b += 1", "f() = 1", "not", "x = [1, 2", "'''open"]


@pytest.mark.parametrize("code", REFUSED)
def test_refused_with_its_place(code, tmp_path):
    (tmp_path / "p.py").write_text(code + "\n")
    done = run("build", tmp_path / "p.py", "-o", tmp_path / "p.wasm")
    line, column, word = REFUSED[code]
    assert done.returncode == 125 and not (tmp_path / "p.wasm").exists()
    assert done.err.startswith(f"{tmp_path / 'p.py'}:{line}:{column}: ") and word in done.err, done.err


@pytest.mark.parametrize("code", NO_PROGRAMS)
def test_what_is_no_python_is_no_module(code, tmp_path):
    (tmp_path / "p.py").write_text(code + "\n")
    assert run("build", tmp_path / "p.py", "-o", tmp_path / "p.wasm").returncode == 125


def test_auto_runs_everything(server):
    """What cannot be compiled is interpreted; what tells a result, too."""
    for code, out, result in (("class A:\n    x = 5\nprint(A.x)", "5\n", None), ("print(sum(range(10)))", "45\n", None), ("import json\nprint(json.dumps([1]))", "[1]\n", None), ("x = 20\nx * 2 + 2", "", "42")):
        answer = call(server, code, "auto")
        assert (answer["status"], answer["stdout"], answer.get("result")) == ("OK", out, result), answer
    with_files = call(server, "print(open('/workspace/a').read())", "auto", files={"a": "text"})
    assert with_files["stdout"] == "text\n"
    assert call(server, "print(1)", "compiled", packages=["numpy"])["status"] == "INVALID_ARGUMENT"
    assert call(server, "print(1)", "fast")["status"] == "INVALID_ARGUMENT"


def test_limits_hold_for_compiled_programs(server):
    assert call(server, "while True: pass", "compiled", execution_timeout_ms=300)["status"] == "TIMEOUT"
    answer = call(server, "l = []\nwhile True:\n    l.append('x' * 1000 + str(len(l)))", "compiled", memory_limit_bytes=64 << 20)
    assert answer["status"] == "MEMORY_LIMIT" or "MemoryError" in answer["stderr"], answer
    assert call(server, "while True: print('x' * 1000)", "compiled", output_limit_bytes=100000)["status"] == "OUTPUT_LIMIT"


def test_garbage_is_collected(server):
    """A gigabyte passes through, sixty-four megabytes are there."""
    code = "keep = {}\nfor i in range(400000):\n    keep[i % 100] = [str(i) * 100, {i: [i, i ** 9]}, 'é' + 'x' * 1000]\nprint(len(keep), keep[99][0][:5])"
    answer = call(server, code, "compiled", memory_limit_bytes=64 << 20)
    assert (answer["status"], answer["stdout"]) == ("OK", "100 39999\n"), answer


def test_tracebacks_name_the_way(server):
    code = "def inner(x):\n    y = x - 1\n    return 10 // y\n\ndef outer():\n    return inner(1)\n\nouter()\n"
    answer = call(server, code, "compiled")
    assert answer["stderr"] == ('Traceback (most recent call last):\n  File "<code>", line 8, in <module>\n  File "<code>", line 6, in outer\n'
                                '  File "<code>", line 3, in inner\nZeroDivisionError: integer division or modulo by zero\n')


def test_programs_that_are_hard_on_the_compiler(server):
    """Types that take as many rounds as there are variables, calls that take as many as there are functions: it ends, and is right."""
    row = "".join(f"v{i} = 1\n" for i in range(400)) + "for n in range(400):\n" + "".join(f"    v{i} = v{i + 1}\n" for i in range(399)) + "    v399 = 'x' * n\nprint(v0, len(v1), v398[:3])"
    assert call(server, row, "compiled")["stdout"] == " 1 xxx\n"
    calls = "v = 7\n" + "".join(f"def g{i}():\n    return g{i + 1}()\n" for i in range(900)) + "def g900():\n    return v\nprint(g0())"
    assert call(server, calls, "compiled")["stdout"] == "7\n"
    inner = "def f(v):\n" + "".join(f"    def g{i}():\n        return g{i + 1}()\n" for i in range(900)) + "    def g900():\n        return v\n    return g0()\nprint(f(7))"
    assert call(server, inner, "compiled")["stdout"] == "7\n"
    many = "def f(v):\n" + "".join(f"    v{i} = v\n" for i in range(30)) + "    def g():\n        return " + " + ".join(f"v{i}" for i in range(30)) + "\n    return g()\nprint(f(1))"
    assert call(server, many, "compiled")["status"] == "INVALID_ARGUMENT" and call(server, many, "auto")["stdout"] == "30\n"


def test_what_only_the_run_shows_is_said(server):
    answer = call(server, "print('é'.upper(), end='')\nprint('ß'.upper())", "compiled")
    assert answer["exit_code"] == 70 and "cannot do this" in answer["stderr"] and answer["stdout"] == "É"
    nan = "n = float('nan')\nm = n * 1\nprint(n in [1.0, m], 5)"  # a double does not tell which nan it is
    assert call(server, nan, "compiled")["exit_code"] == 70 and call(server, nan, "auto")["stdout"] == "False 5\n"
    auto = call(server, "print('é'.upper(), end='')\nprint('ß'.upper(), input())", "auto")  # once more, interpreted
    assert (auto["exit_code"], auto["stdout"], auto["stderr"]) == (0, "ÉSS Ada\n", "")
    assert call(server, "import sys\nsys.exit(70)", "auto")["exit_code"] == 70


def test_the_tool(server, tmp_path):
    answer = server.ask("POST", "/tools/execute", {"tool": "python_compile", "parameters": {"code": "print(sorted([3, 1, 2]))", "wat": True}})[1]
    assert answer["status"] == "OK" and answer["wat"].startswith("(module")
    ran = server.ask("POST", "/tools/execute", {"tool": "code_executor", "parameters": {"wasm_base64": answer["wasm_base64"]}})[1]
    assert ran["stdout"] == "[1, 2, 3]\n"
    (tmp_path / "again.wat").write_text(answer["wat"])
    assert run("run", tmp_path / "again.wat").out == "[1, 2, 3]\n"
    refused = server.ask("POST", "/tools/execute", {"tool": "python_compile", "parameters": {"code": "x = 1\nclass A: pass"}})[1]
    assert refused["status"] == "INVALID_ARGUMENT" and "line 2, column 1: classes" in refused["error"]["message"]
    local = json.loads(run("tool", "python_compile", '{"code": "print(1)"}').out)
    assert base64.b64decode(local["wasm_base64"])[:4] == b"\0asm"


DEEP = {"sum": "x = 1" + "+1" * 120000, "items": "a = [1]\nx = a" + "[0]" * 80000, "methods": "a = 'x'\nx = a" + ".upper()" * 30000,
        "literals": "x = " + "'a' " * 60000, "parameters": "def f(" + ", ".join(f"a{i}" for i in range(300)) + "):\n    return 1\nx = 1"}


@pytest.mark.parametrize("name", DEEP)
def test_no_program_ends_the_front(server, name):
    """Programs that ended it, when it was the one that compiled: an answer in each mode, from the same process."""
    before = server.front
    compiled = server.ask("POST", "/tools/execute", {"tool": "python_compile", "parameters": {"code": DEEP[name]}})[1]
    assert compiled["status"] == ("OK" if name == "literals" else "INVALID_ARGUMENT"), compiled
    assert call(server, DEEP[name], "compiled")["status"] == compiled["status"]
    assert call(server, DEEP[name] + "\nprint('ran')", "auto")["status"] in ("OK", "TRAP", "MEMORY_LIMIT")  # the interpreter's own stack
    assert server.front == before and server.ask("GET", "/health")[0] == 200


def test_the_front_has_no_compiler():
    """A stranger's program is looked at in the sealed process only."""
    names = subprocess.run(["nm", BUILD / "src/polyagent-net"], capture_output=True, text=True, check=True).stdout
    assert " service_start" in names and "compile_python" not in names and "source_translate" not in names
    assert "compile_python" in subprocess.run(["nm", BUILD / "src/polyagent-worker"], capture_output=True, text=True, check=True).stdout


def test_a_refusal_is_remembered_with_its_place(server):
    for _ in range(2):
        refused = call(server, "x = 1\nclass A: pass", "compiled")
        assert refused["status"] == "INVALID_ARGUMENT" and refused["error"]["message"] == "code, line 2, column 1: classes are not supported", refused


def test_a_program_of_another_compiler_is_refused(server):
    """What stands before a program names the compiler that is meant: nothing that another one made is taken for this one's."""
    for header in (b"\0python 0123456789abcdefc\n", b"\0python "):
        forged = base64.b64encode(header + b"print(1)").decode()
        said = server.ask("POST", "/tools/execute", {"tool": "code_executor", "parameters": {"wasm_base64": forged}})[1]
        assert said["status"] in ("INVALID_ARGUMENT", "INVALID_MODULE"), said


def test_streams_of_mode_auto(server):
    """What is refused has written nothing; what gives up in the middle has its output once, on either way of stderr."""
    for more in ({}, {"stderr_to_stdout": True}):
        for code, out in (("class A: pass\nprint('a')", "a\n"), ("print('é'.upper(), end='')\nprint('ß'.upper())", "ÉSS\n")):
            answer = call(server, code, "auto", **more)
            assert (answer["status"], answer["stdout"]) == ("OK", out), answer


def test_sizes(tmp_path):
    """The seed's program, and the smallest."""
    for code, most in (('print("Hello")\nprint(2 + 2)\n', 300), ('print("Hello, World!")\n', 1024), ("", 60000)):
        (tmp_path / "p.py").write_text(code)
        assert run("build", tmp_path / "p.py", "-o", tmp_path / "p.wasm").returncode == 0
        assert (tmp_path / "p.wasm").stat().st_size <= most


def test_the_seeds_example(tmp_path):
    """Constants are folded: no arithmetic is left."""
    (tmp_path / "p.py").write_text('print("Hello")\nprint(2 + 2)\n')
    assert run("build", tmp_path / "p.py", "-o", tmp_path / "p.wat").returncode == 0
    text = (tmp_path / "p.wat").read_text()
    assert "Hello\\0a4\\0a" in text and "i64" not in text and text.count("i32.add") == 1  # of the loop that writes
    assert run("run", tmp_path / "p.wat").out == "Hello\n4\n"


def test_building_replaces_or_leaves_the_file(tmp_path):
    (tmp_path / "p.py").write_text("print(1)\n")
    (tmp_path / "o.wasm").write_text("old")
    for args in (["build"], ["build", tmp_path / "p.py"], ["build", tmp_path / "p.py", "-o", tmp_path / "o.exe"], ["build", tmp_path / "none.py", "-o", tmp_path / "o.wasm"],
                 ["build", tmp_path / "p.py", "-o", tmp_path / "no" / "o.wasm"]):
        done = run(*args)
        assert done.returncode == 125 and done.err.strip()
    assert (tmp_path / "o.wasm").read_text() == "old"
    assert run("build", tmp_path / "p.py", "-o", tmp_path / "o.wasm").returncode == 0
    assert (tmp_path / "o.wasm").read_bytes()[:4] == b"\0asm" and sorted(os.listdir(tmp_path)) == ["o.wasm", "p.py"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, whose engine is another")
def test_other_engines_run_it(tmp_path):
    (tmp_path / "p.py").write_text("import sys\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nprint(f(20), 2 ** 100, sys.argv[1:], input(), f'{1 / 3:.5f}')\nfor g in [f]:\n    print(g(5))\nsys.exit(4)\n")
    (tmp_path / "host.mjs").write_text("import fs from 'fs'; import { WASI } from 'node:wasi';\nconst wasi = new WASI({ version: 'preview1', args: ['p', 'a'], returnOnExit: true });\n"
                                       "const module = await WebAssembly.compile(fs.readFileSync(process.argv[2]));\nconst instance = await WebAssembly.instantiate(module, wasi.getImportObject());\n"
                                       "process.exitCode = wasi.start(instance);\n")
    assert run("build", tmp_path / "p.py", "-o", tmp_path / "p.wasm").returncode == 0
    done = subprocess.run(["node", "--no-warnings", tmp_path / "host.mjs", tmp_path / "p.wasm"], input="line\n", capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("6765 1267650600228229401496703205376 ['a'] line 0.33333\n5\n", 4), done
