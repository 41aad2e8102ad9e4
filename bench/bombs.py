#!/usr/bin/env python3
"""How much a well-behaved client of `polyagent serve` notices while others throw bombs: latency of its
runs alone, and beside each kind of bomb, four at once. What counts is the ratio of the 99th percentiles
in one run on one machine. Figures: build/bench/bombs.json"""
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from program import POLYAGENT  # noqa: E402
from server import Server  # noqa: E402

RUNS, THROWERS = 300, 4

BOMBS = {
    "time": "while True: pass",
    "memory": "x = []\nwhile True: x.append('a' * 10**6)",
    "output": "while True: print('x' * 10000)",
    "sleep": "import time; time.sleep(1000)",
    "files": "i = 0\nwhile True:\n    open(f'/w/{i}', 'w').write('x' * 1000); i += 1",
    "regex": "import re; re.match('(a*)*b', 'a' * 64)",
    "crash": "import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
}


def latencies(env):
    times = []
    for _ in range(RUNS):
        done = subprocess.run([POLYAGENT, "python", "--stats=json", "-c", "print(1)"], env=env, capture_output=True)
        assert done.stdout == b"1\n", done.stderr
        times.append(json.loads(done.stderr)["usage"]["wall_ms"])
    return sorted(times)


def throw(env, code, stop, ends):
    while not stop.is_set():
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([POLYAGENT, "python", "--timeout", "2s", "--dir", f"{folder}::/w:rw", "-c", code],
                                  env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends[done.returncode] = ends.get(done.returncode, 0) + 1


def measure(env, code):
    stop, ends = threading.Event(), {}
    throwers = [threading.Thread(target=throw, args=(env, code, stop, ends)) for _ in range(THROWERS)]
    for thrower in throwers:
        thrower.start()
    times = latencies(env)
    stop.set()
    for thrower in throwers:
        thrower.join()
    return times, ends


def main():
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder), "--spare", "4")
        env = server.env
        latencies(env)
        idle = latencies(env)
        p50, p99 = idle[RUNS // 2], idle[RUNS * 99 // 100]
        print(f"{'alone':8} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms")
        for name, code in BOMBS.items():
            times, ends = measure(env, code)
            results[name] = {"p50_ms": times[RUNS // 2], "p99_ms": times[RUNS * 99 // 100], "exits": ends}
            print(f"{name:8} p50 {times[RUNS // 2]:6.2f} ms  p99 {times[RUNS * 99 // 100]:6.2f} ms"
                  f"  p99 ratio {times[RUNS * 99 // 100] / p99:5.1f}  bombs ended with {ends}", flush=True)
        server.stop()
    out = ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "bombs.json").write_text(json.dumps({"alone": {"p50_ms": p50, "p99_ms": p99}, "beside": results}, indent=1))


main()
