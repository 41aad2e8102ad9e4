"""Promise: `packages` gives a Python that has them, imported already; real programs of real libraries run; what a sandbox lacks is
refused in words; and an interpreter of one's own is one command away."""
import base64
import json
import struct
import time
import zipfile

import pytest
from program import PYTHON_WASM, run
from server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("packages"), http=True)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def call(server):
    def call(code, *packages, status="OK", **more):
        parameters = {"code": code, "packages": list(packages), "execution_timeout_ms": 120000, **more}
        done = server.run("tool", "--server", server.base, "python_wasi_runner", json.dumps(parameters), timeout=400)
        answer = json.loads(done.out)
        assert answer["status"] == status, answer
        return answer

    return call


def artifact(answer, mime):
    (found,) = [a for a in answer["artifacts"] if a["mime"] == mime]
    return found["name"], base64.b64decode(found["bytes_base64"])


def test_numpy(call):
    assert call("import numpy as np\nnp.linalg.det(np.array([[2., 1], [1, 3]])).round(6).item()", "numpy")["result"] == "5.0"
    first, second = (call("import numpy\nnumpy.random.rand()", "numpy")["result"] for _ in range(2))
    assert first != second  # copies of one interpreter do not draw the same numbers


def test_a_csv_of_100000_rows_grouped_by_pandas(call):
    answer = call("""
import io, pandas as pd
text = "k,v\\n" + "".join(f"{'abcd'[i % 4]},{i}\\n" for i in range(100_000))
pd.read_csv(io.StringIO(text)).groupby("k").v.agg(["count", "sum"])""", "pandas")
    assert "a  25000  1249950000" in answer["result"] and answer["exit_code"] == 0
    name, html = artifact(answer, "text/html")
    assert name == "result.html" and b"<td>1249950000</td>" in html


def test_a_figure_is_saved_by_itself(call):
    answer = call("import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.title('squares')\nplt.figure()\nplt.bar([1], [2])\nplt.show()", "matplotlib")
    images = {a["name"]: base64.b64decode(a["bytes_base64"]) for a in answer["artifacts"]}
    assert sorted(images) == ["figure-1.png", "figure-2.png"] and answer["stderr"] == "", answer["stderr"]
    for data in images.values():
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (640, 480)


def test_scikit_learn_fits(call):
    answer = call("""
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
X, y = load_iris(return_X_y=True)
round(RandomForestClassifier(10, random_state=0).fit(X[::2], y[::2]).score(X[1::2], y[1::2]), 1)""", "scikit-learn")
    assert float(answer["result"]) >= 0.9


@pytest.mark.parametrize("package, code, result", [
    ("sympy", "import sympy as s\nx = s.symbols('x')\ns.integrate(s.sin(x) * s.exp(x), x)", "exp(x)*sin(x)/2 - exp(x)*cos(x)/2"),
    ("scipy", "from scipy.optimize import brentq\nround(brentq(lambda x: x * x - 2, 0, 2), 6)", "1.414214"),
    ("lxml", "from lxml import etree\netree.fromstring('<a><b>1</b></a>').xpath('string(b)')", "'1'"),
    ("PIL", "from PIL import Image\nImage.new('RGB', (3, 2), 'red').getpixel((0, 0))", "(255, 0, 0)"),
    ("openpyxl", "import openpyxl\nb = openpyxl.Workbook()\nb.active['A1'] = 42\nb.save('/workspace/x.xlsx')\n"
                 "openpyxl.load_workbook('/workspace/x.xlsx').active['A1'].value", "42"),
    ("pyyaml", "import yaml\nyaml.safe_load('a: [1, 2]')", "{'a': [1, 2]}")])
def test_others(call, package, code, result):
    assert call(code, package, files={})["result"] == result


def test_the_smallest_profile_is_chosen(call):
    assert call("import sys\n'pandas' in sys.modules, 'numpy' in sys.modules, sys.version_info[:2]", "numpy")["result"] == "(False, True, (3, 15))"
    assert call("import sys\n'pandas' in sys.modules, 'matplotlib' in sys.modules", "pandas", "scipy")["result"] == "(True, False)"
    assert call("import sys\nsys.version_info[:2]")["result"] == "(3, 12)"
    missing = call("1", "numpy", "tensorflow", status="NOT_FOUND")["error"]["message"]
    assert "no interpreter has tensorflow" in missing


def test_a_session_with_packages(server):
    def tool(name, **parameters):
        return json.loads(server.run("tool", "--server", server.base, name, json.dumps(parameters), timeout=400).out)

    session = tool("session_open", packages=["pandas"])["session_id"]
    turn = lambda code: tool("python_wasi_runner", session_id=session, code=code)  # noqa: E731
    turn("import pandas as pd\nframe = pd.DataFrame({'a': range(1000)})")
    branch = tool("session_fork", session_id=session)["sessions"][0]["session_id"]
    assert turn("frame['b'] = frame.a * 2\nint(frame.b.sum())")["result"] == "999000"
    assert tool("python_wasi_runner", session_id=branch, code="list(frame.columns)")["result"] == "['a']"
    figure = turn("import matplotlib.pyplot as plt\nframe.plot()\nNone")
    assert [a["name"] for a in figure["artifacts"]] == ["figure-1.png"], figure


PLAIN, RICH = (), ("numpy",)


@pytest.mark.parametrize("packages", [PLAIN, RICH], ids=["python", "scientific"])
@pytest.mark.parametrize("code, error", [
    ("import subprocess; subprocess.run(['ls'])", "wasi does not support processes"),
    ("import os; os.fork()", "has no attribute 'fork'"),
    ("import socket; socket.create_connection(('1.1.1.1', 80))", "PermissionError: [Errno 63] this sandbox has no network"),
    ("import socket; socket.socket()", "this sandbox has no network"),
    ("import urllib.request as u; u.urlopen('http://example.com')", "this sandbox has no network"),
    ("import threading; threading.Thread(target=print).start()", "can't start new thread: this sandbox has a single one"),
    ("open('/etc/passwd')", "Error")])
def test_what_there_is_not_is_refused_in_words(call, packages, code, error):
    answer = call(code, *packages)
    assert answer["exit_code"] == 1 and error in answer["stderr"], answer["stderr"]


@pytest.mark.parametrize("packages", [PLAIN, RICH], ids=["python", "scientific"])
@pytest.mark.parametrize("code, result", [
    ("import asyncio\nasync def f(n):\n    await asyncio.sleep(0.001)\n    return n\n"
     "async def main():\n    async with asyncio.timeout(5):\n        return await asyncio.gather(*map(f, range(3)))\nasyncio.run(main())", "[0, 1, 2]"),
    ("import sqlite3\nc = sqlite3.connect('/workspace/a.db')\nc.execute('create table t(a)')\n"
     "c.executemany('insert into t values(?)', [(i,) for i in range(1000)])\nc.commit()\nc.execute('select sum(a) from t').fetchone()", "(499500,)"),
    ("from dataclasses import dataclass, asdict\n@dataclass\nclass P:\n    x: int = 1\nasdict(P())", "{'x': 1}"),
    ("import json, re\njson.loads(json.dumps({'ü': re.findall('a+', 'aab')}))", "{'ü': ['aa']}"),
    ("import unicodedata\nunicodedata.name('é'), 'ß'.upper(), '👩‍🚀'", "('LATIN SMALL LETTER E WITH ACUTE', 'SS', '👩\\u200d🚀')"),
    ("from decimal import Decimal, getcontext\ngetcontext().prec = 30\nDecimal(1) / 7", "Decimal('0.142857142857142857142857142857')"),
    ("import zlib, hashlib\nzlib.decompress(zlib.compress(b'a')), hashlib.sha256(b'').hexdigest()[:8]", "(b'a', 'e3b0c442')")])
def test_the_standard_library(call, packages, code, result):
    assert call(code, *packages, files={})["result"] == result


def test_asyncio_that_waits_for_nothing_says_so(call):
    answer = call("import asyncio\nasync def main(): await asyncio.Event().wait()\nasyncio.run(main())")
    assert "all tasks wait, and nothing is left that could wake them" in answer["stderr"]


def test_from_the_command_line():
    done = run("python", "--local", "--packages", "numpy,pandas", "-c", "import pandas; print(pandas.Series([1, 2]).sum())", timeout=400)
    assert (done.out, done.err, done.returncode) == ("3\n", "", 0)
    done = run("python", "--local", "--packages", "nothing", "-c", "1")
    assert done.returncode == 125 and "no interpreter has nothing" in done.err


def test_a_server_compiles_what_is_installed_before_it_is_asked(tmp_path):
    """In the background: it serves at once. A folder of its own has an interpreter that nobody has compiled."""
    own = tmp_path / "own"
    own.mkdir()
    module = tmp_path / "q.wasm"
    module.write_bytes((PYTHON_WASM.parent / "quickjs.wasm").read_bytes() + b"\0\x06\x05other")  # a custom section: another digest
    (own / "other.yaml").write_text(json.dumps({"other": {"language": "javascript", "module": str(module), "argv": ["qjs", "--std", "-e", "@bootstrap"]}}))
    server = Server(tmp_path, http=True, env={"POLYAGENT_INTERPRETERS_DIR": str(own), "POLYAGENT_INTERPRETERS_COMPILE_AHEAD": "true",
                                              "POLYAGENT_CACHE_DIR": str(tmp_path / "cache")})
    until = time.monotonic() + 120
    while len([f for f in (tmp_path / "cache").iterdir() if f.name.endswith(".cwasm") and f.stat().st_size > 2_000_000]) < 3:  # python, quickjs, other
        assert time.monotonic() < until, list((tmp_path / "cache").iterdir())
        time.sleep(0.2)
    done = server.run("tool", "--server", server.base, "javascript_wasi_runner", json.dumps({"code": "1 + 1", "interpreter": "other"}))
    answer = json.loads(done.out)
    assert answer["result"] == "2" and answer["usage"]["cache"] == "hit"
    server.stop()


def wheel(folder, name="greeting", tag="py3-none-any"):
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "def hello(): return 'from a wheel'\n")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n")
    return path


def test_interpreters_of_ones_own(tmp_path):
    env = {**__import__("os").environ, "POLYAGENT_INTERPRETERS_DIR": str(tmp_path / "own")}
    own = lambda *args: run("interpreter", *args, env=env, timeout=400)  # noqa: E731
    done = own("add", "mine", PYTHON_WASM, "--preload", "csv")
    assert done.returncode == 0 and "mine: " in done.out, done.err
    assert "there is one of that name" in own("add", "mine", PYTHON_WASM).err
    done = own("add", "greeter", "--from", "scientific", "--wheel", wheel(tmp_path))
    assert done.returncode == 0, done.err
    listed = own("list").out
    assert "mine " in listed and "your own" in listed and "greeting" in listed
    tool = lambda **p: json.loads(run("tool", "--local", "python_wasi_runner", json.dumps(p), env=env, timeout=400).out)  # noqa: E731
    assert tool(code="import greeting\ngreeting.hello()", packages=["greeting", "numpy"])["result"] == "'from a wheel'"
    assert tool(code="1 + 1", interpreter="mine")["result"] == "2"
    assert "only pure-Python wheels" in own("add", "x", "--from", "python", "--wheel", wheel(tmp_path, "n", "cp312-cp312-linux_x86_64")).err
    assert "give a FILE, or --from" in own("add", "x").err and "a name has letters" in own("add", "../x", PYTHON_WASM).err
    (tmp_path / "bad.wasm").write_text("no module")
    assert own("add", "bad", tmp_path / "bad.wasm").returncode == 125 and "bad " not in own("list").out
    assert own("remove", "mine").returncode == 0 and own("remove", "greeter").returncode == 0
    assert "not yours to remove" in own("remove", "python").err and "none of that name" in own("remove", "mine").err
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.parametrize("text, error", [
    ("x: {language: python, module: x.wasm}", "x.argv: missing"), ("x: {language: cobol, module: x, argv: [x]}", "must be python, javascript or ruby"),
    ("x: {language: python, module: x, argv: [x], featurs: []}", "did you mean"), ("a: [", "m.yaml:"), ("a: {b: 1}\na: 2", "twice"), ("a: b", "a: must be"),
    ("x: &a {language: python, module: x, argv: [x]}\ny: *b", ":2: ")])
def test_bad_manifests_are_told_by_file_and_key(tmp_path, text, error):
    (tmp_path / "m.yaml").write_text(text)
    done = run("interpreter", "list", "--manifest", tmp_path / "m.yaml")
    assert done.returncode == 125 and "m.yaml" in done.err and error in done.err, done.err
