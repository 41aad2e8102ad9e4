"""Promise: a compiled program prints what CPython prints, byte for byte, and ends as it does; what cannot be compiled rightly is
refused with its place; the module needs nothing else and runs in any engine. CPython is the one in the sandbox, of the same server."""
import base64
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess

import generate
import pytest
from program import BUILD, POLYAGENT, ROOT, run
from server import Server

HERE = pathlib.Path(__file__).parent
SLOW = "asan" in str(BUILD)
GENERATED = int(os.environ.get("POLYAGENT_PROGRAMS", "4" if SLOW else "40"))


def corpus():
    """(name, program): each begins with a line `#: name`."""
    for path in sorted((HERE / "corpus").glob("*.txt")):
        for part in re.split(r"^#: ", path.read_text(), flags=re.M)[1:]:
            name, _, code = part.partition("\n")
            yield f"{path.stem}: {name}", code


CORPUS = list(corpus())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("server"), http=True)
    yield started
    started.stop()


def call(server, code, mode, **more):
    return server.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": code, "mode": mode, "execution_timeout_ms": 120000,
                                                                                            "memory_limit_bytes": 1 << 30, "stdin": "Ada\n36\nmore\n", "argv": ["one", "zwei ü"], **more}})[1]


def ending(answer):
    """All that is the same: output, exit code, and how an error is named, with its line."""
    errors = answer.get("stderr", "").splitlines()
    lines = re.findall(r'File "<code>", line (\d+)', answer.get("stderr", ""))
    failed = answer["exit_code"] != 0  # else there are warnings at most
    return answer["status"], answer["exit_code"], answer.get("stdout"), errors[-1:] if failed else [], lines[-1:] if failed else []


def differences(server, programs):
    """Names of programs that are compiled to something else than CPython makes of them, and those that are refused."""
    wrong, refused = [], []

    def one(program):
        return program, call(server, program[1], "interpreted"), call(server, program[1], "compiled")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (name, code), wanted, got in pool.map(one, programs):
            if got["status"] == "INVALID_ARGUMENT" or got.get("exit_code") == 70:
                refused.append((name, (got["error"] or {}).get("message") or got["stderr"]))
            elif ending(wanted) != ending(got):
                wrong.append((name, ending(wanted), ending(got)))
    return wrong, refused


def test_the_corpus(server):
    assert len(CORPUS) >= 300 and len({name for name, _ in CORPUS}) == len(CORPUS)
    wrong, refused = differences(server, CORPUS[::6] if SLOW else CORPUS)
    assert (wrong, refused) == ([], []), "\n".join(map(str, wrong + refused))


def test_random_programs(server):
    """Each seed is a program; some use what is refused, most must not be."""
    wrong, refused = differences(server, [(f"seed {seed}", generate.program(seed)) for seed in range(GENERATED)])
    assert wrong == [] and len(refused) <= GENERATED / 5, "\n".join(map(str, wrong + refused))
