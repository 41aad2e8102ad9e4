#!/usr/bin/env python3
"""bench.py [--quick]: polyagent beside its peers, on this machine, in one run: fresh runs, first use, throughput by concurrency,
compute, memory by live sessions, branches by live data. Prints a table; build/bench gets results-TIME.json, report.md and pictures
(SVG). `bench.py --compare OLD.json NEW.json` shows what changed, and exits with 1 if a figure of ours got worse by half.

Peers are installed by name (bench/requirements.txt), each into its own environment; one that cannot be is named as missing."""
import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from server import Server as PlainServer, children  # noqa: E402

OUT = ROOT / "build" / "bench"
POLYAGENT = (ROOT / "build" / "polyagent").resolve()
HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"
PROGRAMS = ROOT / "bench" / "programs"


def spread(times):
    times = sorted(times)
    return {"p50": times[len(times) // 2], "p99": times[min(len(times) - 1, len(times) * 99 // 100)], "n": len(times)}


def timed(action, runs):
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def process(*args, env=None):
    def action():
        done = subprocess.run([str(a) for a in args], env=env, capture_output=True)
        assert done.returncode == 0, done.stderr[-500:]
        return done.stdout

    return action


class Server(PlainServer):
    """With a kept connection for each thread."""

    def __init__(self, folder):
        super().__init__(folder, "--spare", "8", http=True, grpc=True)
        self.local = threading.local()

    def call(self, tool, **parameters):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        body = json.dumps({"tool": tool, "parameters": parameters})
        try:
            self.local.connection.request("POST", "/tools/execute", body)
        except OSError:  # idle for so long that it was closed
            self.local.connection.close()
            self.local.connection.request("POST", "/tools/execute", body)
        answer = json.loads(self.local.connection.getresponse().read())
        assert answer["status"] == "OK", answer
        return answer

    def python(self, code="print(1)", **more):
        return self.call("python_wasi_runner", code=code, **more)


def environment(package):
    """The Python of a peer's environment, made when it is missing; None if it cannot be installed."""
    folder = OUT / ("venv-" + package.split("==")[0])
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    if (folder / "failed").exists():
        return None
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    done = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package], capture_output=True, timeout=300)
    (folder / ("ready" if done.returncode == 0 else "failed")).touch()
    return python if done.returncode == 0 else None


def fresh(server, runs, results):
    """print(1) in an interpreter that has never run anything; and a hello module."""
    real = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    rows = {
        "polyagent, HTTP": timed(server.python, runs * 5),
        "polyagent, whole process by a server": timed(process(POLYAGENT, "python", "-c", "print(1)", env=server.env), runs),
        "polyagent, whole process alone": timed(process(POLYAGENT, "python", "--local", "-c", "print(1)"), runs),
        "native python3 -I -S (no sandbox)": timed(process(real, "-I", "-S", "-c", "print(1)"), runs),
        "native python3 (no sandbox)": timed(process(real, "-c", "print(1)"), runs),
    }
    if shutil.which("bwrap"):
        rows["bubblewrap and native python3"] = timed(process("bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", real, "-I", "-S", "-c", "print(1)"), runs)
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        rows["docker run python:3-slim"] = timed(process("docker", "run", "--rm", "--network=none", "python:3-slim", "python3", "-c", "print(1)"), 5)
    results["fresh"] = {name: spread(times) for name, times in rows.items()}
    results["first use"] = {}
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "POLYAGENT_CACHE_DIR": f"{folder}/c", "POLYAGENT_STATE_DIR": f"{folder}/s"}
        results["first use"]["polyagent, Python"] = timed(process(POLYAGENT, "python", "--local", "-c", "print(1)", env=env), 1)[0]
        results["first use"]["polyagent, a hello module"] = timed(process(POLYAGENT, "run", "--local", HELLO, env=env), 1)[0]
    results["missing"] = []
    for package in [line.strip() for line in (ROOT / "bench/requirements.txt").read_text().splitlines() if line.strip() and not line.startswith("#")]:
        name, python = package.split("==")[0], environment(package)
        try:
            with tempfile.TemporaryDirectory() as folder:  # some leave files where they are started
                done = python and subprocess.run([python, ROOT / "bench/peer.py", name, "3" if name == "llm-wasm-sandbox" else "20"],
                                                 cwd=folder, capture_output=True, text=True, timeout=400)
            said = json.loads(done.stdout.splitlines()[-1])
        except (TypeError, AttributeError, IndexError, ValueError, subprocess.TimeoutExpired):
            results["missing"].append(name)
            continue
        results["fresh"][f"{name}, in its process"] = spread(said["then"])
        results["first use"][name] = said["first"]


def throughput(server, seconds, results):
    results["throughput"] = {}
    for concurrency in (1, 2, 4, 8, 16, 32, 64):
        until, counts = time.monotonic() + seconds, []

        def go(_):
            times = []
            while time.monotonic() < until:
                times += timed(server.python, 1)
            return times

        with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
            for times in pool.map(go, range(concurrency)):
                counts += times
        results["throughput"][concurrency] = {"a second": len(counts) / seconds, **spread(counts)}


def compute(runs, results):
    """Known programs as WebAssembly, against the same C on this machine; and as Python, against the native interpreter."""
    results["compute"] = {}
    with tempfile.TemporaryDirectory() as folder:
        wasm, native = pathlib.Path(folder) / "c.wasm", pathlib.Path(folder) / "c"
        subprocess.run(["clang", "--target=wasm32-wasi", "-O2", "-o", wasm, PROGRAMS / "compute.c", "-lm"], check=True)
        subprocess.run(["cc", "-O2", "-o", native, PROGRAMS / "compute.c", "-lm"], check=True)
        process(POLYAGENT, "run", "--local", wasm)()
        for kind in ("fib", "sieve", "nbody", "mandelbrot"):
            row = {"polyagent": min(timed(process(POLYAGENT, "run", "--local", wasm, "--", kind), runs)), "native": min(timed(process(native, kind), runs))}
            if shutil.which("wasmtime"):
                row["wasmtime"] = min(timed(process("wasmtime", "run", wasm, kind), runs))
            results["compute"][f"{kind} (C)"] = row
    for program in sorted(PROGRAMS.glob("*.py")):
        results["compute"][f"{program.stem} (Python)"] = {
            "polyagent": min(timed(process(POLYAGENT, "python", "--local", program), runs)), "native": min(timed(process(sys.executable, "-I", program), runs))}


def private_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"^Private_(?:Dirty|Clean): +(\d+)", text, re.M))


def sessions(server, most, results):
    results["memory"], results["branch"] = {}, {}

    for size in (0, 1, 10, 50, 100):
        one = server.call("session_open")["session_id"]
        server.python(f"d = bytearray({size} << 20)\nfor i in range(0, len(d), 4096): d[i] = 1", session_id=one)

        def branch():
            copy = server.call("session_fork", session_id=one)["sessions"][0]["session_id"]
            server.python("len(d)", session_id=copy)
            server.call("session_close", session_id=copy)

        results["branch"][size] = spread(timed(branch, 30))
        server.call("session_close", session_id=one)
    before, opened = set(children(server.pid)), []
    for count in (10, 100, most):
        while len(opened) < count:
            opened.append(server.call("session_open")["session_id"])
            server.python("import json\nx = list(range(1000))", session_id=opened[-1])
        time.sleep(2)
        own = [private_kib(p) for p in set(children(server.pid)) - before]
        results["memory"][count] = {"MiB": sum(own) / 1024, "KiB each": sum(own) / count}
    for one in opened:
        server.call("session_close", session_id=one)


def report(results):
    lines = [f"Measured {results['when']} on {results['machine']}.", "", "## A fresh run of `print(1)`, milliseconds", "", "| | p50 | p99 | times of ours |", "|---|---|---|---|"]
    ours = results["fresh"]["polyagent, HTTP"]["p50"]
    for name, row in sorted(results["fresh"].items(), key=lambda item: item[1]["p50"]):
        lines.append(f"| {name} | {row['p50']:.2f} | {row['p99']:.2f} | {row['p50'] / ours:.1f} |")
    lines += ["", f"Not to be had here: {', '.join(results['missing']) or 'none'}.", "", "## First use (nothing cached), milliseconds", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {ms:.0f} |" for name, ms in results["first use"].items()]
    lines += ["", "## Fresh Python runs by concurrency, over HTTP", "", "| clients | a second | p50 | p99 |", "|---|---|---|---|"]
    lines += [f"| {n} | {row['a second']:.0f} | {row['p50']:.2f} | {row['p99']:.2f} |" for n, row in results["throughput"].items()]
    lines += ["", "## Compute, milliseconds of the whole process", "", "| | polyagent | native | ratio |", "|---|---|---|---|"]
    lines += [f"| {name} | {row['polyagent']:.0f} | {row['native']:.0f} | {row['polyagent'] / row['native']:.2f} |" for name, row in results["compute"].items()]
    lines += ["", "## Live sessions", "", "| sessions | MiB of their own | KiB each |", "|---|---|---|"]
    lines += [f"| {n} | {row['MiB']:.0f} | {row['KiB each']:.0f} |" for n, row in results["memory"].items()]
    lines += ["", "## A branch, its first turn and its end, milliseconds", "", "| MiB of live data | p50 | p99 |", "|---|---|---|"]
    lines += [f"| {n} | {row['p50']:.2f} | {row['p99']:.2f} |" for n, row in results["branch"].items()]
    return "\n".join(lines) + "\n"


def picture(title, rows, unit):
    """Bars, with a logarithmic scale: an SVG."""
    import math

    top = max(rows.values())
    low = min(v for v in rows.values() if v > 0) / 2
    height, out = 28, []
    for i, (name, value) in enumerate(rows.items()):
        width = max(2, 420 * math.log(value / low) / math.log(top / low)) if value > 0 else 2
        color = "#2d6cdf" if name.startswith("polyagent") or unit != "ms" else "#9aa5b1"
        y = 44 + i * height
        out.append(f'<text x="290" y="{y + 14}" text-anchor="end">{name}</text><rect x="300" y="{y}" width="{width:.0f}" height="18" fill="{color}"/>'
                   f'<text x="{306 + width:.0f}" y="{y + 14}">{value:.3g} {unit}</text>')
    total = 56 + len(rows) * height
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {total}" font-family="sans-serif" font-size="13"><rect width="820" height="{total}" fill="white"/>'
            f'<text x="16" y="26" font-size="16" font-weight="bold">{title} (logarithmic)</text>{"".join(out)}</svg>\n')


def flat(results):
    """Figures of ours that are better when smaller."""
    out = {f"fresh, {name}, p50": row["p50"] for name, row in results["fresh"].items() if name.startswith("polyagent")}
    out.update({f"throughput at {n}, ms a run": 1000 / row["a second"] for n, row in results["throughput"].items()})
    out.update({f"compute {name}, times native": row["polyagent"] / row["native"] for name, row in results["compute"].items()})
    out.update({f"memory of {n} sessions, KiB each": row["KiB each"] for n, row in results["memory"].items()})
    out.update({f"branch with {n} MiB": row["p50"] for n, row in results["branch"].items()})
    return out


def compare(old, new):
    """Ratios, after taking out how much slower the machine was (by native Python's start)."""
    old, new = (json.loads(pathlib.Path(p).read_text()) for p in (old, new))
    pace = statistics.median(new["fresh"][n]["p50"] / old["fresh"][n]["p50"] for n in old["fresh"] if n.startswith("native") and n in new["fresh"])
    print(f"native Python starts in {pace:.2f} times the old time: figures in milliseconds are divided by that")
    worse, after = 0, flat(new)
    for name, value in flat(old).items():
        if name not in after:
            continue
        ratio = after[name] / value / (1 if "KiB" in name or "native" in name else pace)
        worse += ratio > 1.5
        print(f"{name:48} {value:9.2f} -> {after[name]:9.2f}   {ratio:5.2f}{'   WORSE' if ratio > 1.5 else ''}")
    return 1 if worse else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"))
    options = parser.parse_args()
    if options.compare:
        sys.exit(compare(*options.compare))
    OUT.mkdir(parents=True, exist_ok=True)
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    results = {"when": time.strftime("%Y-%m-%d %H:%M"), "machine": f"{os.cpu_count()} processors ({model[1] if model else 'unknown'}), Linux {os.uname().release}"}
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder))
        try:
            server.python()
            fresh(server, 20 if options.quick else 100, results)
            del server.local.connection
            throughput(server, 1 if options.quick else 5, results)
            compute(2 if options.quick else 5, results)
            sessions(server, 150 if options.quick else 500, results)
        finally:
            server.stop()
    stamp = time.strftime("%Y%m%d-%H%M%S")
    (OUT / f"results-{stamp}.json").write_text(json.dumps(results, indent=1))
    text = report(results)
    (OUT / "report.md").write_text(text)
    (OUT / "fresh.svg").write_text(picture("A fresh run of print(1), p50", {n: r["p50"] for n, r in sorted(results["fresh"].items(), key=lambda i: i[1]["p50"])}, "ms"))
    (OUT / "throughput.svg").write_text(picture("Fresh Python runs a second by clients", {f"{n} clients": r["a second"] for n, r in results["throughput"].items()}, "/s"))
    (OUT / "branch.svg").write_text(picture("A branch by its live data, p50", {f"polyagent, {n} MiB": r["p50"] for n, r in results["branch"].items()}, "ms"))
    print(text)
    print(f"kept as {OUT.relative_to(ROOT)}/results-{stamp}.json, report.md, fresh.svg, throughput.svg, branch.svg")


main()
