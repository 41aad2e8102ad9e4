"""Promise: `polyagent run` and `wasi_hello` run modules as the setup guide says, end them at their
limits with the right status and exit code, and answer bad input with one line that names the cure."""
import json
import os
import pty
import re
import subprocess

import pytest
from program import POLYAGENT, PYTHON_WASM, ROOT
from server import becomes, children, resident_kib

ASSETS = ROOT / "docs" / "assets"


def wat(tmp_path, body, name="m.wat"):
    path = tmp_path / name
    path.write_text(f"(module {body})")
    return path


def one_line_error(done, code, *parts):
    assert done.returncode == code, done.err
    assert done.err.startswith("polyagent: ") and done.err.count("\n") == 1, done.err
    for part in parts:
        assert part in done.err


def test_hello(run):
    done = run("run", ASSETS / "hello-wasi.wat")
    assert (done.out, done.err, done.returncode) == ("Hello from WASI!\n", "", 0)


def test_custom_module_and_binary_form(run, tmp_path):
    assert run(ASSETS / "custom.wat", hello=True).out == "Custom WASI Module\n"
    binary = tmp_path / "custom.wasm"
    binary.write_bytes(HELLO_WASM)
    assert run(binary, hello=True).returncode == 0


# (module (memory (export "memory") 1) (func (export "_start")))
HELLO_WASM = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001"
    "0713020" "66d656d6f727902000" "65f7374617274" "0000" "0a040102000b"
)


def test_stdin_reaches_the_module_in_each_way(run, tmp_path):
    reader = ASSETS / "input-reader.wat"
    big = os.urandom(300_000)
    assert run("run", reader, stdin=big).stdout == big
    assert run(reader, "from the argument", hello=True).out == "from the argument"
    assert run(reader, stdin="from stdin", hello=True).out == "from stdin"
    (tmp_path / "in").write_text("from a file")
    assert run("run", "--stdin", tmp_path / "in", reader).out == "from a file"
    assert run("run", "-", stdin=(ASSETS / "hello-wasi.wat").read_bytes()).out == "Hello from WASI!\n"


def test_the_guides_python_line(run):
    done = run(PYTHON_WASM, "--", "-c", "import sys; exec(sys.stdin.read())",
               stdin='print("Test")\n', hello=True)
    assert (done.out, done.returncode) == ("Test\n", 0)


def test_stats_as_json(run):
    stats = json.loads(run("run", "--stats=json", ASSETS / "hello-wasi.wat").err)
    assert stats["status"] == "OK" and stats["exit_code"] == 0
    assert stats["usage"]["stdout_bytes"] == 17
    assert stats["usage"]["peak_memory_bytes"] == 65536
    assert {"wasm", "process", "seccomp", "no_new_privs", "rlimits"} <= set(stats["isolation"])
    assert len(stats["module_sha256"]) == 64


def test_trace_shows_each_call(run):
    assert "wasi: fd_write(1, 0, 1, 28) = 0" in run("run", "--trace", ASSETS / "hello-wasi.wat").err


def test_exit_codes_are_the_guests(run, tmp_path):
    for code in (0, 1, 42, 125):
        module = wat(tmp_path, f"""(import "wasi_snapshot_preview1" "proc_exit" (func $x (param i32)))
            (memory (export "memory") 1) (func (export "_start") (call $x (i32.const {code})))""")
        assert run("run", module).returncode == code


LOOP = '(memory (export "memory") 1) (func (export "_start") (loop $l (br $l)))'


@pytest.mark.parametrize("options, code, text", [
    (["--timeout", "200ms"], 124, "Execution timeout"),
    (["--cpu-time", "200ms"], 124, "Execution timeout"),
    (["--fuel", "1000000"], 152, "Fuel exhausted"),
])
def test_a_loop_ends_at_its_limit(run, tmp_path, options, code, text):
    done = run("run", *options, wat(tmp_path, LOOP))
    one_line_error(done, code, text)


def test_a_loop_in_the_start_function_ends(run, tmp_path):
    module = wat(tmp_path, '(start $s) (func $s (loop $l (br $l))) (func (export "_start"))')
    one_line_error(run("run", "--timeout", "200ms", module), 124, "Execution timeout")


def test_memory_limit_and_trap_differ(run, tmp_path):
    grows = wat(tmp_path, """(memory (export "memory") 1) (func (export "_start")
        (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable)""")
    done = run("run", "--memory", "8M", "--stats=json", grows)
    assert done.returncode == 137 and "Memory limit exceeded" in done.err
    stats = json.loads(done.err.splitlines()[-1])
    assert stats["status"] == "MEMORY_LIMIT" and stats["usage"]["peak_memory_bytes"] <= 8 << 20
    done = run("run", wat(tmp_path, '(func $boom unreachable) (func (export "_start") (call $boom))'))
    assert done.returncode == 134
    assert "Trap: unreachable" in done.err and "#0 boom (function 0)" in done.err


def test_a_coredump_is_a_valid_module_with_memory_and_stack(run, tmp_path):
    core = tmp_path / "core"
    traps = wat(tmp_path, """(memory (export "memory") 2) (data (i32.const 70000) "needle in memory")
        (func $inner unreachable) (func (export "_start") (call $inner))""")
    assert run("run", "--coredump", core, traps).returncode == 134
    data = core.read_bytes()
    assert b"needle in memory" in data and b"corestack" in data and len(data) > 131072
    assert "_start" in run("run", core).err  # valid as far as that it has nothing to start
    assert run("run", "--coredump", core, ASSETS / "hello-wasi.wat").returncode == 0
    assert not core.exists()


def test_a_profile_names_the_functions_that_took_the_time(run, tmp_path):
    profile = tmp_path / "profile.json"
    assert run("run", "--profile", profile, ROOT / "bench" / "fib.wat").returncode == 0
    data = json.loads(profile.read_text())
    assert "fib" in "".join(data["threads"][0]["stringArray"])
    assert data["threads"][0]["samples"]["length"] > 20
    python = run("run", "--profile", profile, PYTHON_WASM, "--", "-c", "print(1)")
    assert (python.out, python.returncode) == ("1\n", 0)


def test_output_limit_keeps_what_fits(run, tmp_path):
    done = run("python", "--output-limit", "1000", "-c", "while True: print('x' * 99)")
    assert done.returncode == 153 and len(done.stdout) == 1000
    assert "Output limit exceeded" in done.err


def test_bad_input_is_one_line_with_a_cure(run, tmp_path):
    text = tmp_path / "not.wasm"
    text.write_bytes(b"\x7fELF....")
    one_line_error(run("run", text), 126, "Invalid WASM module", "neither WebAssembly binary")
    cut = tmp_path / "cut.wasm"
    cut.write_bytes(HELLO_WASM[:-5])
    one_line_error(run("run", cut), 126, "Invalid WASM module")
    component = tmp_path / "component.wasm"
    component.write_bytes(b"\0asm\x0d\0\x01\0")
    one_line_error(run("run", component), 126, "component", "wasip1")
    one_line_error(run("run", wat(tmp_path, "")), 126, "_start", "--invoke")
    one_line_error(run("run", wat(tmp_path, '(import "env" "f" (func))')), 126, "env.f")
    one_line_error(run("run", tmp_path / "missing.wasm"), 125, "missing.wasm", "No such file")
    one_line_error(run("run", tmp_path), 125, "not a regular file")
    one_line_error(run("run", "--frobnicate", text), 125, "--frobnicate", "--help")
    one_line_error(run("run", "--memory", "lots", text), 125, "--memory", "256M")
    one_line_error(run("run", "--timeout", "-5", text), 125, "--timeout", "30s")
    one_line_error(run("run"), 125, "no module given")
    one_line_error(run("frob"), 125, "frob", "--help")
    one_line_error(run("run", "--dir", "/no/such/dir", ASSETS / "hello-wasi.wat"), 125, "/no/such/dir")
    (tmp_path / "empty.wasm").touch()
    one_line_error(run("run", tmp_path / "empty.wasm"), 126, "empty")


def test_a_module_of_51_mb_is_refused_unless_allowed(run, tmp_path):
    big = tmp_path / "big.wasm"
    with open(big, "wb") as out:
        out.write(HELLO_WASM)
        size = 51 << 20
        payload = bytes([(size & 127) | 128, (size >> 7 & 127) | 128, (size >> 14 & 127) | 128,
                         size >> 21])
        out.write(b"\0" + payload + b"\1x")
        out.truncate(out.tell() + size - 2)
    one_line_error(run("run", big), 126, "WASM module too large", "--max-module")
    assert run("run", "--max-module", "64M", big).returncode == 0


def test_directories_are_read_only_unless_told(run, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("hello")
    read = "print(open('/data/f').read())"
    write = "open('/data/new', 'w').write('x')"
    edit = "open('/data/f', 'r+').write('x')"
    mount = f"{tmp_path / 'd'}::/data"
    assert run("python", "--dir", mount, "-c", read).out == "hello\n"
    for code in (write, edit):
        done = run("python", "--dir", mount, "-c", code)
        assert done.returncode == 1 and "Read-only file system" in done.err
    assert run("python", "--dir", mount + ":rw", "-c", write).returncode == 0
    assert (tmp_path / "d" / "new").read_text() == "x"
    assert run("python", "-c", "open('/etc/passwd')").returncode == 1


def test_the_cache_cannot_be_mounted_writable(run, tmp_path, monkeypatch):
    cache = tmp_path / "parent" / "cache"
    monkeypatch.setenv("POLYAGENT_CACHE_DIR", str(cache))
    monkeypatch.setenv("POLYAGENT_STATE_DIR", str(tmp_path / "state"))
    hello = ASSETS / "hello-wasi.wat"
    assert run("run", hello).returncode == 0
    for path in (cache, cache.parent):
        one_line_error(run("run", "--dir", f"{path}::/d:rw", hello), 125, "cache")
        assert run("run", "--dir", f"{path}::/d", hello).returncode == 0


def test_cache_hits_damage_and_clear(run, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYAGENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("POLYAGENT_STATE_DIR", str(tmp_path / "state"))
    hello = ASSETS / "hello-wasi.wat"

    def cache_state():
        return json.loads(run("run", "--stats=json", hello).err)["usage"]["cache"]

    assert [cache_state(), cache_state()] == ["miss", "hit"]
    (entry,) = (tmp_path / "cache").glob("*.cwasm")
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)
    assert run("cache", "verify").returncode == 1
    assert [cache_state(), cache_state()] == ["miss", "hit"]
    assert run("cache", "verify").returncode == 0
    assert "1 modules" in run("cache", "list").out
    assert "removed 1" in run("cache", "clear").out
    assert not list((tmp_path / "cache").glob("*.cwasm"))


def test_two_processes_compile_the_same_module_at_once(run, tmp_path, monkeypatch):
    from program import POLYAGENT

    monkeypatch.setenv("POLYAGENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("POLYAGENT_STATE_DIR", str(tmp_path / "state"))
    both = [subprocess.Popen([POLYAGENT, "run", ASSETS / "hello-wasi.wat"], stdout=subprocess.PIPE)
            for _ in range(4)]
    assert [p.communicate(timeout=60)[0] for p in both] == [b"Hello from WASI!\n"] * 4
    assert [p.suffix for p in (tmp_path / "cache").iterdir() if p.name != "locks"] == [".cwasm"]  # one entry, nothing left over


def test_a_killed_run_leaves_no_process(run, tmp_path):
    from program import POLYAGENT

    victim = subprocess.Popen([POLYAGENT, "run", wat(tmp_path, LOOP)])
    assert becomes(lambda: bool(children(victim.pid)), True)
    running = children(victim.pid)
    victim.kill()
    victim.wait()
    assert becomes(lambda: any(resident_kib(child) for child in running), False) is False


def test_help_and_version(run):
    for args in (["--help"], ["run", "--help"], ["python", "--help"], ["js", "--help"], ["serve", "--help"], ["bench", "--help"], ["tool", "--help"], ["mcp", "--help"], ["submit", "--help"], ["module", "--help"]):
        done = run(*args)
        assert done.returncode == 0 and "Examples:" in done.out
    assert run("cache", "--help").returncode == 0
    assert run("--version").out.startswith("polyagent ")
    assert run("--help", hello=True).returncode == 0


def test_the_manual_and_completions_know_every_option(run):
    commands = ("run", "python", "js", "ruby", "tool", "serve", "mcp", "submit", "bench", "doctor", "repl", "interpreter", "build")
    options = set(re.findall(r"--[a-z-]+", "".join(run(command, "--help").out for command in commands)))
    assert len(options) > 15
    manual = (ROOT / "docs" / "man" / "polyagent.1").read_text().replace("\\-", "-")
    for option in options - {"--verbose"}:  # of an example's own program
        assert option in manual
        assert option in (ROOT / "completions" / "polyagent.bash").read_text()
        assert option in (ROOT / "completions" / "_polyagent").read_text()
        assert option[2:] in (ROOT / "completions" / "polyagent.fish").read_text()


def test_a_bar_shows_on_a_terminal_while_a_large_module_is_compiled(tmp_path):
    """And is gone before the program writes; the second run shows none."""
    own = tmp_path / "own.wasm"
    own.write_bytes(PYTHON_WASM.read_bytes() + b"\0\6\4bars!")  # one that is not compiled yet
    seen = []
    for _ in range(2):
        outside, inside = pty.openpty()
        done = subprocess.Popen([POLYAGENT, "python", "--local", "--python", own, "-c", "import sys; print('out'); print('err', file=sys.stderr)"],
                                stdout=subprocess.PIPE, stderr=inside, env={**os.environ, "POLYAGENT_CACHE_DIR": str(tmp_path / "cache")})
        os.close(inside)
        text = b""
        try:
            while chunk := os.read(outside, 65536):
                text += chunk
        except OSError:  # its last writer is gone
            os.close(outside)
        assert done.communicate()[0] == b"out\n" and done.returncode == 0
        seen.append(text.decode())
    assert "\rcompiling own.wasm [" in seen[0] and seen[0].endswith("\r\033[Kerr\r\n"), seen[0][-300:]
    assert seen[1] == "err\r\n"
