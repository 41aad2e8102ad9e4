#!/usr/bin/env python3
"""bench/sessions.py [N]: sessions on a server of its own: turns, branches, and the memory of N idle ones (default 500).

Latencies are those of whole calls over HTTP on a kept connection, and within them `wall`, from the job's arrival at the
supervisor to the guest's end.
"""
import http.client
import json
import pathlib
import re
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from server import Server, children  # noqa: E402


def private_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"^Private_(?:Dirty|Clean): +(\d+)", text, re.M))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as temp:
        server = Server(pathlib.Path(temp), http=True)
        try:
            measure(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300), server.pid, count)
        finally:
            server.stop()


def measure(connection, pid, count):
    def call(tool, **parameters):
        connection.request("POST", "/tools/execute", json.dumps({"tool": tool, "parameters": parameters}))
        answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "OK", answer
        return answer

    def show(what, action, runs=300, pause=0.0):
        times, walls = [], []
        for _ in range(runs):
            time.sleep(pause)
            start = time.perf_counter()
            answer = action()
            times.append((time.perf_counter() - start) * 1e3)
            walls.append(answer.get("usage", {}).get("wall_ms", 0))
        times.sort(), walls.sort()
        print(f"{what:44} p50 {times[runs // 2]:7.2f}  p99 {times[runs * 99 // 100]:7.2f} ms   wall p50 {walls[runs // 2]:6.2f} ms")

    for language in ("python", "javascript", "ruby"):
        runner = f"{language}_wasi_runner"
        first, step = {"python": ("n = 0", "n += 1"), "javascript": ("let n = 0", "n += 1"), "ruby": ("n = 0", "n += 1")}[language]
        show(f"{language}: fresh run", lambda: call(runner, code=first))
        session = call("session_open", language=language)["session_id"]
        call(runner, code=first, session_id=session)
        show(f"{language}: turn", lambda: call(runner, code=step, session_id=session))
    for packages, code in ([["numpy"], "import numpy"], [["pandas"], "import numpy, pandas"],
                           [["pandas"], "import pandas as pd; int(pd.DataFrame({'a': [1, 2]}).a.sum())"]):
        show(f"fresh run, packages {packages[0]}: {code[-24:]}", lambda: call("python_wasi_runner", code=code, packages=packages), 100)
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nNone"
    show("a line plot as PNG", lambda: call("python_wasi_runner", code=plot, packages=["matplotlib"]), 30)

    session = call("session_open")["session_id"]
    for size in (0, 10, 50):
        call("python_wasi_runner", session_id=session, code=f"d = bytearray({size} << 20)\nfor i in range(0, len(d), 4096): d[i] = 1")

        def branch():
            copy = call("session_fork", session_id=session)["sessions"][0]["session_id"]
            answer = call("python_wasi_runner", session_id=copy, code="len(d)")
            call("session_close", session_id=copy)
            return answer

        show(f"branch with {size} MiB, its first turn, close", branch, 100)
        show(f"branch with {size} MiB", lambda: call("session_fork", session_id=session), 50)

    before = set(children(pid))
    for _ in range(count):
        one = call("session_open")["session_id"]
        call("python_wasi_runner", session_id=one, code="import json\nx = list(range(1000))")
    time.sleep(7)  # until spare copies are given back
    own = [private_kib(p) for p in set(children(pid)) - before]
    print(f"{count} idle sessions: {len(own)} processes, {sum(own) / 1024:.0f} MiB of their own, {sum(own) / len(own):.0f} KiB each")


main()
