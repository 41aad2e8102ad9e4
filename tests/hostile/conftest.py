"""What the hostile tests share. POLYAGENT_WITHOUT=LAYER[,LAYER] runs them with these layers switched off: what a guest does
must fail all the same (make hostile)."""
import concurrent.futures
import pathlib
import re
import subprocess

import host
import pytest
from program import BUILD, run
from server import Server, becomes

GUESTS = pathlib.Path(__file__).parent / "guest"


def layers():
    """Names of all layers, from the program itself."""
    return re.findall(r"^(\w+) +(?:yes|no|-)", run("doctor").out, re.M)


def switched_off():
    """The environment that leaves the layers of POLYAGENT_WITHOUT out."""
    if not host.without():
        return {}
    kept = [name for name in layers() if name not in host.without()]
    return {"POLYAGENT_WASI_ISOLATION_LAYERS": ",".join(kept), "POLYAGENT_WASI_ISOLATION_REQUIRED": "none"}


@pytest.fixture(scope="session")
def guest(tmp_path_factory):
    """Compiles guest/NAME.c."""
    folder, made = tmp_path_factory.mktemp("guests"), {}

    def build(name):
        if name not in made:
            made[name] = folder / f"{name}.wasm"
            subprocess.run(["clang", "--target=wasm32-wasi", "-O2", "-Wall", "-Wextra", "-Werror", "-o", made[name],
                            GUESTS / f"{name}.c"], check=True)
        return made[name]

    return build


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One for the whole file: what one test leaves behind, the next would trip over."""
    started = Server(tmp_path_factory.mktemp("server"), "--spare", "2", http=True, grpc=True, env=switched_off())
    started.python("print(1)")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: host.python(started, "import time; time.sleep(0.3)"), range(8)))
    session = host.execute(started, "session_open")["session_id"]  # now it has all that it ever has
    assert host.python(started, "1", session_id=session)["status"] == "OK"
    assert started.ask("DELETE", f"/sessions/{session}")[0] == 200
    yield started
    started.stop()


@pytest.fixture
def standing(server):
    """The server is after the test as it was before it."""
    before = host.at_rest(server)
    yield
    assert becomes(lambda: host.changes(before, host.standing(server)), {}) == {}


@pytest.fixture
def world(tmp_path):
    return host.World(tmp_path)


@pytest.fixture
def slow():
    """How much longer things take in this build."""
    return 5 if "asan" in str(BUILD) else 1
