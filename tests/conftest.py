"""What the end-to-end tests share: the real program, run as a user would."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))


@pytest.fixture
def run():
    from program import run as run_program

    return run_program


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("POLYAGENT_WASI_") or name == "PYTHON_WASI_WASM_PATH":
            monkeypatch.delenv(name)
