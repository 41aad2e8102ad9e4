"""Promise: a session is its owner's alone, and what a guest makes of its files leads nobody elsewhere. Cases 34 and 35 of the
hostile list."""
import hashlib
import json
import os
import threading

import host
import pytest
from conftest import switched_off
from server import Server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with two callers: alice and bob."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = "".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("alice", "bob"))
    (folder / "tokens").write_text(tokens)
    (folder / "tokens").chmod(0o600)
    started = Server(folder, http=True, grpc=True, env={**switched_off(), "POLYAGENT_SERVER_AUTH_TOKENS_FILE": str(folder / "tokens")})
    yield started
    started.stop()


def ids_of_a_thief(real):
    flipped = "".join(format(15 - int(c, 16), "x") for c in real)
    return ["0" * 24, flipped, real[:-1], real + "0", real.upper() if real.upper() != real else flipped, "", ".", "..", "../" + real,
            "..%2f" + real, "%2e%2e/" + real, "%00", real + "%00", "%ff%fe", "é".encode().hex(), "a" * 5000, "/", "//", "*", real[:12],
            "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "' OR 1=1", "${HOME}", "\\..\\"]


def test_34_session_steal(guarded):
    status, opened = guarded.ask("POST", "/sessions", {}, token="alice")
    assert status == 200
    session = opened["session_id"]
    assert guarded.ask("POST", f"/sessions/{session}/run", {"code": "secret = 1"}, token="alice")[1]["status"] == "OK"
    absent = {}
    for method, path, body in (("GET", "", None), ("POST", "/run", {"code": "secret"}), ("GET", "/files", None), ("POST", "/fork", {}),
                               ("POST", "/checkpoint", {}), ("POST", "/interrupt", {}), ("DELETE", "", None), ("GET", "/files/x", None)):
        foreign = guarded.ask(method, f"/sessions/{session}{path}", body, token="bob")
        nothing = guarded.ask(method, f"/sessions/{'0' * 24}{path}", body, token="bob")

        def said(answer):
            """Without what names the request and the session that was asked for."""
            text = json.dumps(answer[1]) if isinstance(answer[1], (dict, list)) else answer[1].decode()
            for name in (session, "0" * 24):
                text = text.replace(name, "ID")
            parsed = json.loads(text)
            parsed.pop("request_id", None)
            return answer[0], parsed

        assert foreign[0] in (404,), (method, path, foreign)
        assert said(foreign) == said(nothing), (method, path)
        absent[method + path] = foreign
    for guess in ids_of_a_thief(session):
        for who in ("alice", "bob"):
            if guess.strip("/") == "":
                continue  # the list of one's own
            try:
                status, answer = guarded.ask("POST", f"/sessions/{guess}/run", {"code": "secret"}, token=who)
            except Exception as e:  # no path at all: the client library itself refuses
                assert type(e).__name__ == "InvalidURL", e
                continue
            assert status in (400, 404, 414, 431), (guess, status, answer)
    for guess in ids_of_a_thief(session):
        answer = guarded.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": "secret", "session_id": guess}},
                          token="bob")
        assert answer[0] in (400, 404) and answer[1]["status"] in ("NOT_FOUND", "INVALID_ARGUMENT"), (guess, answer)
    assert session not in json.dumps(guarded.ask("GET", "/sessions", token="bob")[1])
    assert guarded.ask("POST", f"/sessions/{session}/run", {"code": "secret"}, token="alice")[1]["result"] == "1"
    assert guarded.ask("DELETE", f"/sessions/{session}", token="alice")[0] == 200
    assert guarded.ask("POST", f"/sessions/{session}/run", {"code": "secret"}, token="alice")[0] == 404


def test_34_without_a_token(guarded):
    for token in (None, "", "mallory", "alice ", "Alice", "a" * 100_000):
        try:
            status, _ = guarded.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": "1"}}, token=token)
        except ConnectionError:
            continue  # too long to be read
        assert status in (401, 413, 431), (token, status)


def test_35_download_symlink(server, standing):
    session = host.execute(server, "session_open")["session_id"]
    made = host.python(server, """
import os
done = []
for name, target in {'passwd': '/etc/passwd', 'up': '../' * 12 + 'etc/passwd', 'dir': '..', 'self': '/proc/self/environ', 'loop': 'loop'}.items():
    try: os.symlink(target, '/workspace/' + name); done.append(name)
    except OSError: pass
open('/workspace/real', 'w').write('real'); os.symlink('real', '/workspace/good')
print(done)
""", session_id=session)
    assert made["stdout"] == "['up', 'dir', 'loop']\n"
    for name in ("passwd", "up", "dir", "dir/" + session, "self", "loop", "good", "real/", "../passwd", "%2e%2e/x", "real%00", "%2fetc%2fpasswd"):
        status, answer = server.ask("GET", f"/sessions/{session}/files/{name}")
        assert status in (400, 403, 404), (name, status)
        assert b"root:" not in (answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    assert server.ask("GET", f"/sessions/{session}/files/real") == (200, b"real")
    before = hashlib.sha256(open("/etc/passwd", "rb").read()).digest()
    for name in ("up", "loop"):  # a file takes the link's place
        assert host.execute(server, "session_put_files", session_id=session, files={name: "x"})["status"] == "OK"
        assert server.ask("GET", f"/sessions/{session}/files/{name}") == (200, b"x")
    for name in ("dir/x", "../x", "/etc/x"):  # nothing goes through one
        answer = host.execute(server, "session_put_files", session_id=session, files={name: "x"})
        assert answer["status"] != "OK", (name, answer)
    assert hashlib.sha256(open("/etc/passwd", "rb").read()).digest() == before
    assert server.ask("DELETE", f"/sessions/{session}")[0] == 200


def test_35_swapped_and_growing_during_the_download(server, standing):
    session = host.execute(server, "session_open")["session_id"]
    swap = """
import os, time
until = time.time() + 3
open('/workspace/real', 'w').write('mine')
os.symlink('../' * 12 + 'etc/passwd', '/workspace/link')
while time.time() < until:
    for name in ('real', 'link'):
        os.link('/workspace/real', '/workspace/next') if name == 'real' else os.symlink('../' * 12 + 'etc/passwd', '/workspace/next')
        os.rename('/workspace/next', '/workspace/f')
    for name, most in (('grows', 3 * 10 ** 7), ('outgrows', 10 ** 8)):
        with open('/workspace/' + name, 'ab') as f:
            if f.tell() < most: f.write(b'x' * 100_000)
print('swapped')
"""
    result = {}
    turn = threading.Thread(target=lambda: result.update(host.python(server, swap, session_id=session)))
    turn.start()
    sizes, seen = [], set()
    while turn.is_alive():
        status, content = server.ask("GET", f"/sessions/{session}/files/f")
        seen.add((status, content if status == 200 else b""))
        status, content = server.ask("GET", f"/sessions/{session}/files/grows")
        sizes.append(len(content) if status == 200 else 0)
        status, content = server.ask("GET", f"/sessions/{session}/files/outgrows")
        too_long = status == 400 and "more than the 33554432 bytes" in str(content)
        assert status in (200, 404) or too_long, (status, content)
    turn.join()
    assert result["stdout"] == "swapped\n", result["stderr"]
    assert seen <= {(200, b"mine"), (404, b""), (403, b""), (400, b""), (409, b"")}, {s for s, _ in seen}
    assert sizes == sorted(sizes) and sizes[-1] <= 3 * 10 ** 7
    whole = server.ask("GET", f"/sessions/{session}/files/grows")  # below the limit again and again
    assert whole[0] == 200 and len(whole[1]) % 100_000 == 0 and sizes[-1] <= len(whole[1]), whole[0]
    assert server.ask("DELETE", f"/sessions/{session}")[0] == 200


def test_35_files_that_come_along(server, standing, tmp_path):
    """Names of files in a request lead nowhere else either (Langflow CVE-2026-5027)."""
    for name in ("../x", "/etc/x", "a/../../x", "", ".", "..", "a//b/../../../x", "a\0b", "x" * 5000, "a/" * 2000 + "b", "C:\\x", "\n"):
        answer = host.python(server, "import os\nfor d, _, f in os.walk('/workspace'): print(d, f)", files={name: "x"})
        assert answer["status"] in ("OK", "INVALID_ARGUMENT"), (name, answer)
        if answer["status"] == "OK":
            assert answer["stdout"].startswith("/workspace")
    assert not os.path.exists("/etc/x")
