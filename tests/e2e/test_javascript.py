"""Promise: JavaScript runs as its author expects, each time in a fresh interpreter, warm or not."""
import re
import json

import pytest
from program import run
from server import Server


@pytest.fixture(scope="module", params=["alone", "served"])
def js(request, tmp_path_factory):
    if request.param == "alone":
        yield lambda code, *options, **more: run("js", "--local", *options, "-c", code, **more)
        return
    server = Server(tmp_path_factory.mktemp("js"))
    yield lambda code, *options, **more: server.run("js", *options, "-c", code, **more)
    server.stop()


@pytest.mark.parametrize("code, out", [
    ("console.log(1 + 1)", "2"), ("print('é', '🐍'.length)", "é 2"),
    ("console.log([1, 'a', { b: { c: [2] } }], new Map([[1, 'x']]), new Set([1]), null, undefined, 5n, Symbol('s'), [])",
     '[ 1, "a", { b: { c: [ 2 ] } } ] Map(1) { 1 => "x" } Set(1) { 1 } null undefined 5n Symbol(s) []'),
    ("class P { constructor() { this.x = 1 } }; console.log(new P(), P, x => x, new Date(0))",
     "P { x: 1 } [Function: P] [Function: (anonymous)] 1970-01-01T00:00:00.000Z"),
    ("const a = {}; a.self = a; console.log(a)", "{ self: [Circular] }"),
    ("await new Promise(r => setTimeout(r, 20)); console.log('awaited')", "awaited"),
    ("setTimeout(() => console.log('timer'), 1); Promise.resolve().then(() => console.log('micro')); console.log('main')", "main\nmicro\ntimer"),
    ("const f = async () => 7; f().then(console.log)", "7"),
    ("console.log([3, 1, 2].toSorted(), Object.groupBy ? 1 : 1, 'abc'.at(-1), structuredClone ? 1 : 1)", None),
    ("let s = 0; for (let i = 0; i < 1e5; i++) s += i; console.log(s)", "4999950000"),
    ("console.log(JSON.stringify({ a: [1, 2] }), /(\\d+)/.exec('x42')[1], 2 ** 64, 2n ** 64n)", '{"a":[1,2]} 42 18446744073709552000 18446744073709551616n'),
])
def test_programs(js, code, out):
    done = js(code)
    if out is not None:
        assert (done.returncode, done.out, done.err) == (0, out + "\n", ""), done.err


def test_input_arguments_environment(js):
    done = js("console.log(std.in.getline(), std.in.readAsString(), scriptArgs, std.getenv('K'))", "--env", "K=v ü", stdin="first é\nrest")
    assert done.out == 'first é rest [ "-c" ] v ü\n'


@pytest.mark.parametrize("code, status, err", [
    ("function f() { throw new TypeError('bad') }\nf()", 1, "TypeError: bad\n    at f (<code>:1:"),
    ("let x = ;", 1, "SyntaxError"), ("throw { a: 1 }", 1, "Uncaught { a: 1 }"), ("std.exit(7)", 7, ""),
    ("console.error('told'); std.exit(0)", 0, "told\n"), ("setTimeout(() => { throw new Error('late') }, 1)", 1, "Error: late"),
    ("Promise.reject(new Error('nobody'))", 1, "nobody"), ("await Promise.reject(new Error('awaited'))", 1, "Error: awaited\n    at <eval> (<code>:1:")])
def test_ends(js, code, status, err):
    done = js(code)
    assert done.returncode == status and err in done.err and "cmdline" not in re.sub(r"    at \S+ \(<cmdline>.*", "", done.err), done.err


def test_what_was_printed_before_a_failure_is_there(js):
    done = js("console.log('before'); throw new Error('x')")
    assert done.out == "before\n" and done.returncode == 1
    done = js("console.log('before'); while (true) {}", "--timeout", "300ms")
    assert done.out == "before\n" and done.returncode == 124


def test_limits(js):
    assert js("const a = []; while (true) a.push(new Array(1e5).fill(1))", "--memory", "64M").returncode == 137
    assert js("while (true) {}", "--fuel", "10000000").returncode == 152
    assert js("while (true) console.log('x'.repeat(1000))", "--output-limit", "10000").returncode == 153


def test_runs_are_fresh_and_random(js):
    numbers = {js("globalThis.kept = (globalThis.kept ?? 0) + 1; Array.prototype.mine = 1; console.log(kept, Math.random())").out for _ in range(8)}
    assert len(numbers) == 8 and all(n.startswith("1 0.") for n in numbers)
    values = json.loads(js("console.log(JSON.stringify(Array.from({ length: 20000 }, Math.random)))").out)
    assert min(values) >= 0 and max(values) < 1 and 0.49 < sum(values) / len(values) < 0.51 and len(set(values)) == 20000
    same = {js("console.log(Math.random(), Date.now())", "--deterministic=5").out for _ in range(3)}
    assert len(same) == 1


def test_a_large_program(tmp_path):
    program = tmp_path / "p.js"
    program.write_text("const t = `" + "é" * 1000000 + "`;\n" + "".join(f"function f{i}() {{ return {i} }}\n" for i in range(5000)) + "console.log(t.length, f4999())")
    done = run("js", program)
    assert done.out == "1000000 4999\n", done.err


def test_files_and_host(js, tmp_path):
    (tmp_path / "f").write_text("of the host")
    assert js("console.log(std.loadFile('/d/f'))", "--dir", f"{tmp_path}::/d").out == "of the host\n"
    assert js("console.log(std.loadFile('/etc/passwd'), std.open('/d/new', 'w'))", "--dir", f"{tmp_path}::/d").out == "null null\n"


def test_as_a_tool():
    done = run("tool", "javascript_wasi_runner", json.dumps({"code": (
        "console.log(std.loadFile('/workspace/a'), scriptArgs); const f = std.open('/output/o.json', 'w'); f.puts('{}'); f.close()"),
        "files": {"a": "text"}, "argv": ["x"]}))
    result = json.loads(done.out)
    assert result["stdout"] == 'text [ "-c", "x" ]\n' and result["artifacts"] == [{"name": "o.json", "mime": "application/json", "bytes_base64": "e30="}]
    assert json.loads(run("tool", "javascript_wasi_runner", '{"code": "", "interpreter": "nope"}').out)["status"] == "NOT_FOUND"
    assert json.loads(run("tool", "javascript_wasi_runner", '{"code": "print(1)", "interpreter": "js"}').out)["stdout"] == "1\n"
