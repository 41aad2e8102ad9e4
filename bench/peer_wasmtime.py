"""Compiles and runs a module's _start in the engine's own Python package; prints the run's time."""
import sys
import time
from importlib.metadata import version

import wasmtime

store = wasmtime.Store()
module = wasmtime.Module.from_file(store.engine, sys.argv[1])
start = wasmtime.Instance(store, module, []).exports(store)["_start"]
for _ in range(5):
    began = time.perf_counter()
    start(store)
    print(f"wasmtime {version('wasmtime')}: {1000 * (time.perf_counter() - began):.1f} ms")
