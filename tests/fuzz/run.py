#!/usr/bin/env python3
"""run.py [SECONDS] [TARGET...]: fuzzes each target for so long, beginning with the inputs in corpus/TARGET (each finding is one of
them afterwards). What it learns stays in build/fuzz/corpus, and what breaks a promise lands in build/fuzz/findings. Exit code 1: there
is such a finding."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from program import seconds_of  # noqa: E402

BUILD = HERE.parents[1] / "build" / "fuzz"
# What they may be given at most, where it is more than the usual: texts as long as a request may be.
MAX_BYTES = {"compile": 256 << 10, "http": 1 << 20, "call": 1 << 20}
TARGETS = sorted(p.stem.removeprefix("fuzz_") for p in HERE.glob("fuzz_*.c"))


def fuzz(target, seconds):
    """True if nothing broke."""
    learnt, findings = BUILD / "corpus" / target, BUILD / "findings"
    for folder in (learnt, findings):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as state:
        env = {**os.environ, "POLYAGENT_STATE_DIR": state, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
               "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:handle_segv=1"}
        done = subprocess.run([BUILD / "tests" / "fuzz" / f"fuzz_{target}", learnt, HERE / "corpus" / target, f"-max_total_time={seconds}",
                               *([f"-dict={words}"] if (words := HERE / f"{target}.dict").exists() else []),
                               "-timeout=20", "-rss_limit_mb=3000", f"-max_len={MAX_BYTES.get(target, 8192)}", f"-artifact_prefix={findings}/{target}-", "-print_final_stats=1"],
                              env=env, capture_output=True, text=True, errors="replace")
    said = dict(re.findall(r"^stat::(\w+):\s+(\d+)", done.stderr, re.M))
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    print(f"{target:8} {'ok' if done.returncode == 0 else 'BROKEN'}  {said.get('number_of_executed_units', '?'):>9} inputs, "
          f"{said.get('average_exec_per_sec', '?'):>6} a second, coverage {coverage[-1] if coverage else '?'}", flush=True)
    if done.returncode != 0:
        print(done.stderr[-6000:])
    return done.returncode == 0


def main():
    seconds = max(1, int(seconds_of(sys.argv[1]))) if len(sys.argv) > 1 else 10
    chosen = sys.argv[2:] or TARGETS
    results = [fuzz(target, seconds) for target in chosen]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


main()
