#!/usr/bin/env python3
"""bench/compile.py: compiled Python beside the interpreter in the same sandbox and beside native CPython, on bench/compiled; how long
it takes to compile a program of a hundred lines, and the sizes of small modules. What counts are the ratios of one run. Figures:
build/bench/compile.json"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from program import POLYAGENT  # noqa: E402

RUNS = 7


def best(*argv, env=None):
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        done = subprocess.run([str(a) for a in argv], env=env, capture_output=True)
        times.append((time.perf_counter() - began) * 1e3)
        assert done.returncode == 0, done.stderr
    return min(times), done.stdout


def build(source, out):
    subprocess.run([POLYAGENT, "build", source, "-o", out], check=True)


def main():
    results = {"programs": {}}
    with tempfile.TemporaryDirectory() as temp:
        folder = pathlib.Path(temp)
        empty, start = folder / "empty.py", folder / "start.py"
        empty.write_text("pass\n")
        start.write_text("x = [1]\nprint(len(x))\n")  # with the runtime, as all that follow
        build(start, folder / "start.wasm")
        local = ("run", "--local")
        compiled_start, interpreted_start, native_start = best(POLYAGENT, *local, folder / "start.wasm")[0], best(POLYAGENT, "python", "--local", empty)[0], best(sys.executable, "-I", empty)[0]
        print(f"start, milliseconds: compiled {compiled_start:.1f}, interpreted {interpreted_start:.1f}, native {native_start:.1f}; taken off below\n")
        print(f"{'':12} compiled  interpreted       native")
        for program in sorted((ROOT / "bench" / "compiled").glob("*.py")):
            build(program, folder / "p.wasm")
            c, out = best(POLYAGENT, *local, folder / "p.wasm")
            i, same = best(POLYAGENT, "python", "--local", program)
            n, native = best(sys.executable, "-I", program)
            assert out == same == native, program
            c, i, n = max(c - compiled_start, 0.1), i - interpreted_start, n - native_start
            results["programs"][program.stem] = {"compiled_ms": c, "interpreted_ms": i, "native_ms": n}
            print(f"{program.stem:12} {c:8.1f} {i:8.0f} ({i / c:4.0f} x) {n:7.0f} ({n / c:4.1f} x)", flush=True)
        lines = [line for program in sorted((ROOT / "bench" / "compiled").glob("*.py")) for line in program.read_text().splitlines()][:100]
        while lines[-1].startswith(" "):
            lines.pop()
        (folder / "hundred.py").write_text("\n".join(lines) + "\n")
        none, _ = best(POLYAGENT, "--version")
        whole, _ = best(POLYAGENT, "build", folder / "hundred.py", "-o", folder / "p.wasm")
        results["build"] = {"lines": len(lines), "process_ms": whole, "empty_process_ms": none}
        print(f"\nbuild of {len(lines)} lines: {whole:.1f} ms for the whole process, {whole - none:.1f} ms more than one that does nothing")
        for name, code in (("the seed's two prints", 'print("Hello")\nprint(2 + 2)\n'), ("hello", 'print("Hello, World!")\n'), ("with the runtime", "x = [1]\nprint(len(x))\n")):
            (folder / "s.py").write_text(code)
            build(folder / "s.py", folder / "s.wasm")
            results.setdefault("bytes", {})[name] = (folder / "s.wasm").stat().st_size
            print(f"{name}: {results['bytes'][name]} bytes")
    out = ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "compile.json").write_text(json.dumps(results, indent=1))


os.environ["POLYAGENT_SOCKET"] = "/nonexistent"
main()
