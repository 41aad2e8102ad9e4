"""Promise: `polyagent bench` runs what it is told, as often and as many at once, and says what came of it."""
import json

from program import ROOT, run
from server import Server

HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"


def test_figures_as_json():
    done = run("bench", "--runs", "30", "--warmup", "3", "--concurrency", "3", "--json", HELLO)
    figures = json.loads(done.out)
    assert (figures["runs"], figures["concurrency"], figures["failed"]) == (30, 3, 0)
    assert 0 < figures["p50_ms"] <= figures["p90_ms"] <= figures["p99_ms"] <= figures["p999_ms"] <= figures["max_ms"]
    assert figures["runs_per_second"] > 0
    parts = sum(figures[part] for part in ("queue_ms", "start_ms", "guest_ms", "end_ms"))
    assert abs(parts - figures["mean_ms"]) < 0.1 * figures["mean_ms"] + 0.01


def test_a_histogram_of_all_runs():
    done = run("bench", "--runs", "50", "-c", "print(2)")
    rows = [line for line in done.out.splitlines() if " ms |" in line]
    beyond = [int(line.split()[0]) for line in done.out.splitlines() if "took longer" in line]
    assert len(rows) == 20 and sum(int(row.split()[-1]) for row in rows) + sum(beyond) == 50


def test_failures_are_counted_and_told():
    done = run("bench", "--runs", "5", "--warmup", "0", "-c", "1 / 0", "--no-histogram")
    assert done.returncode == 125 and "5 failed" in done.out and "5 runs failed; the first: OK, exit code 1" in done.err


def test_over_grpc(tmp_path):
    server = Server(tmp_path, grpc=True)
    figures = json.loads(run("bench", "--server", server.grpc, "--runs", "30", "--concurrency", "3", "--json").out)
    assert (figures["runs"], figures["failed"]) == (30, 0) and 0 < figures["p50_ms"] <= figures["max_ms"] and figures["runs_per_second"] > 0
    assert "20 runs, 1 at once" in run("bench", "--server", server.grpc, "--runs", "20", HELLO).out
    done = run("bench", "--server", server.grpc, "--runs", "5", "--warmup", "0", "-c", "1 / 0", "--no-histogram")
    assert done.returncode == 125 and "5 failed" in done.out and "exit code 1" in done.err
    server.stop()


def test_bad_usage_is_one_line():
    for args, text in ((["--runs", "0"], "--runs"), (["--what"], "--help"), (["a.wasm", "b.wasm"], "one program"),
                       (["/nonexistent.wasm"], "/nonexistent.wasm")):
        done = run("bench", *args)
        assert done.returncode == 125 and text in done.err and done.err.count("\n") == 1, done.err
