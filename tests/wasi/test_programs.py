"""Promise: programs that ordinary toolchains compile to wasip1 run as they would natively."""
import os
import pathlib
import subprocess

import pytest
from program import ROOT

PROGRAMS = ROOT / "tests" / "wasi" / "programs"


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return tmp_path_factory.mktemp("wasm")


def test_c_with_wasi_libc(run, built, tmp_path):
    wasm = built / "files.wasm"
    subprocess.run(["clang", "--target=wasm32-wasi", "-O2", "-o", wasm, PROGRAMS / "files.c"], check=True)
    done = run("run", "--dir", f"{tmp_path}::/scratch:rw", "--env", "GREETING=hi", wasm, "--", "one",
               "two words")
    assert (done.out, done.err, done.returncode) == ("all well\n", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_go(run, built, tmp_path):
    wasm = built / "go.wasm"
    subprocess.run(["go", "build", "-o", wasm, PROGRAMS / "main.go"], check=True,
                   env={**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": ""})
    done = run("run", "--dir", f"{tmp_path}::/scratch:rw", wasm, "--", "x", stdin="shout\n")
    assert (done.out, done.err, done.returncode) == (
        "[0 1 4 9 16 25 36 49 64 81] 1 <nil> [x]\n", "", 3)
    assert (tmp_path / "out.txt").read_text() == "SHOUT\n"


def test_rust(run, built, tmp_path):
    # Debian's own rustc: rustup's may lack the wasm target, and rustc-web does.
    target = subprocess.run(["/usr/bin/rustc", "--print", "target-libdir", "--target", "wasm32-wasi"], capture_output=True, text=True)
    if not pathlib.Path(target.stdout.strip() or "/none").is_dir():
        pytest.skip("needs the packages rustc and libstd-rust-dev-wasm32, which cannot stand beside rustc-web")
    wasm = built / "rust.wasm"
    subprocess.run(["/usr/bin/rustc", "--target", "wasm32-wasi", "-O", "-o", wasm, PROGRAMS / "main.rs"],
                   check=True)
    done = run("run", "--dir", f"{tmp_path}::/scratch:rw", wasm, "--", "x", stdin="a b b c")
    assert (done.out, done.err, done.returncode) == ('{"a": 1, "b": 2, "c": 1} ["x"]\n', "", 9)
    assert list(tmp_path.iterdir()) == []
