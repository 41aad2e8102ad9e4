"""Promise: with tokens or TLS configured, nobody without a good credential gets further than health, over HTTP, MCP and gRPC."""
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import sys

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from program import ROOT, run
from server import Server, becomes

sys.path.insert(0, str(ROOT / "clients" / "python"))
import polyagent  # noqa: E402

TOKEN = "s3cret-token"


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auth")
    lines = f"# who may\nci:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n\nother:{'0' * 64}\n"
    config = write(folder, "c.yaml", f"server: {{auth: {{tokens_file: '{write(folder, 'tokens', lines)}'}}}}\n")
    server = Server(folder, "--config", config, http=True, grpc=True)
    yield server
    server.stop()
    assert TOKEN not in server.log.read_text() and any(e.get("caller") == "ci" for e in server.events())


def request(server, method, path, body=None, context=None, **headers):
    kind = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
    connection = kind("127.0.0.1", server.port, timeout=30, **({} if context is None else {"context": context}))
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


CALL = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "print(1)"}})


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer ", "Bearer wrong", "Basic " + TOKEN, TOKEN, "Bearer " + TOKEN + "x", "Bearer " + "0" * 5000])
def test_http_without_a_good_token(guarded, header):
    headers = {"Authorization": header} if header else {}
    for method, path, body in (("POST", "/tools/execute", CALL), ("GET", "/tools/list", None), ("GET", "/metrics", None),
                               ("POST", "/api/v1/tasks", "{}"), ("POST", "/mcp", "{}"), ("DELETE", "/tools/list", None)):
        refused = request(guarded, method, path, body, **headers)
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer"), path
        assert json.loads(refused.text)["status"] == "DENIED"
    for path in ("/health", "/ready", "/openapi.json"):
        assert request(guarded, "GET", path, **headers).status == 200


def test_http_with_one(guarded):
    assert json.loads(request(guarded, "POST", "/tools/execute", CALL, Authorization="bearer  " + TOKEN).text)["stdout"] == "1\n"
    assert request(guarded, "GET", "/metrics", Authorization="Bearer " + TOKEN).status == 200
    assert request(guarded, "POST", "/mcp", '{"jsonrpc":"2.0","id":1,"method":"ping"}', Origin="http://elsewhere",
                   Authorization="Bearer " + TOKEN).status == 200  # credentials are no ambient thing
    env = {**os.environ, "POLYAGENT_TOKEN": TOKEN, "POLYAGENT_SERVER": f"127.0.0.1:{guarded.port}"}
    assert run("submit", "Use python_wasi_runner to execute: print(3)", env=env).out == "3\n"


def test_commands_say_where_their_token_is(guarded):
    env = {name: value for name, value in os.environ.items() if name != "POLYAGENT_TOKEN"}
    server = f"127.0.0.1:{guarded.port}"
    for token, words in ((None, "no credential: send Authorization: Bearer TOKEN; put yours into $POLYAGENT_TOKEN"),
                         ("wrong", "the token is not known: it is none of server.auth.tokens_file; it is in $POLYAGENT_TOKEN")):
        given = {**env, **({"POLYAGENT_TOKEN": token} if token else {})}
        for args in (["submit", "--server", server, "x"], ["tool", "--server", server, "python_wasi_runner", '{"code": "1"}']):
            done = run(*args, env=given)
            assert done.returncode == 125 and done.err == f"polyagent: {args[0]}: {words}\n" and done.out == "", (args, done.err)
        done = run("bench", "--server", guarded.grpc, "--runs", "1", "--warmup", "0", env=given)
        assert done.returncode == 125 and words.split(";")[0] in done.err
    good = {**env, "POLYAGENT_TOKEN": TOKEN}
    assert json.loads(run("bench", "--server", guarded.grpc, "--runs", "3", "--json", env=good).out)["failed"] == 0
    for args in (["submit", "--server", "http://192.0.2.1:8000", "x"], ["bench", "--server", "192.0.2.1:50051", "--runs", "1"],
                 ["submit", "--server", "localhost.example.org", "x"], ["submit", "--server", "http://localhost@192.0.2.1", "x"]):
        done = run(*args, env=good)
        assert done.returncode == 125 and "would go in clear" in done.err and TOKEN not in done.err


def test_grpc(guarded):
    for token in (None, "wrong"):
        with polyagent.Client(guarded.grpc, token=token) as client:
            for call in (lambda: client.run_python("1"), lambda: client.tools(), lambda: client.task("x"), lambda: client.health(),
                         lambda: list(client.stream_python("1"))):
                with pytest.raises(polyagent.Unauthenticated):
                    call()
    with polyagent.Client(guarded.grpc, token=TOKEN) as client:
        assert client.run_python("print(2)").stdout == "2\n" and client.health()
    with grpc.insecure_channel(guarded.grpc) as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == 1


@pytest.mark.parametrize("line", ["ci", "ci:", ":" + "0" * 64, "ci:" + "0" * 63, "ci:" + "g" * 64, "ci:" + "0" * 66, "a b:" + "0" * 64, "x" * 60 + ":" + "0" * 64])
def test_bad_lines_of_tokens_are_named(tmp_path, line):
    tokens = write(tmp_path, "tokens", f"# first\n{line}\n")
    done = run("serve", "--http", "127.0.0.1:0", "--grpc", "off",
               env={**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "s"), "POLYAGENT_SERVER_AUTH_TOKENS_FILE": str(tokens)})
    assert done.returncode == 125 and f"{tokens}:2" in done.err and done.err.count("\n") == 1, done.err


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def secure(folder, authority, mutual):
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(folder / "key")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert")
    authority.cert_pem.write_to_path(folder / "ca")
    ca = f", client_ca: '{folder}/ca'" if mutual else ""
    config = write(folder, "c.yaml", f"server: {{tls: {{certificate: '{folder}/cert', key: '{folder}/key'{ca}}}}}\n")
    return Server(folder, "--config", config, http=True, grpc=True)


def context(authority, own=None):
    made = ssl.create_default_context()
    authority.configure_trust(made)
    if own is not None:
        own.configure_cert(made)
    return made


def test_tls(tmp_path, authority):
    server = secure(tmp_path, authority, False)
    assert server.base.startswith("https://")
    assert json.loads(request(server, "POST", "/tools/execute", CALL, context(authority)).text)["stdout"] == "1\n"
    with pytest.raises(ssl.SSLError):
        request(server, "GET", "/health", None, context(trustme.CA()))
    with pytest.raises((OSError, http.client.HTTPException)):
        request(server, "GET", "/health")
    root = authority.cert_pem.bytes()
    with polyagent.Client(polyagent.Connection(server.grpc, root_certificates=root)) as client:
        assert client.run_python("print(2)").stdout == "2\n"
    with polyagent.Client(server.grpc) as client, pytest.raises(polyagent.Unavailable):
        client.run_python("print(2)", deadline=3)
    env = {**os.environ, "POLYAGENT_CA": str(tmp_path / "ca"), "POLYAGENT_SERVER": server.base}
    assert run("submit", "Use python_wasi_runner to execute: print(3)", env=env).out == "3\n"
    for data in (b"", b"\x16\x03\x01\x00\x05hello", os.urandom(300)):  # no handshakes
        for port in (server.port, int(server.grpc.rsplit(":", 1)[1])):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(data)
    assert request(server, "GET", "/health", None, context(authority)).status == 200
    server.stop()


def test_mutual_tls(tmp_path, authority):
    server = secure(tmp_path, authority, True)
    good, stranger = authority.issue_cert("agent@example.org"), trustme.CA().issue_cert("agent@example.org")
    assert json.loads(request(server, "POST", "/tools/execute", CALL, context(authority, good)).text)["stdout"] == "1\n"
    for own in (None, stranger):
        try:
            assert request(server, "POST", "/tools/execute", CALL, context(authority, own)).status == 401
        except (OSError, http.client.HTTPException):
            pass  # refused in the handshake
    root = authority.cert_pem.bytes()
    pair = lambda c: {"private_key": c.private_key_pem.bytes(), "certificate_chain": c.cert_chain_pems[0].bytes()}  # noqa: E731
    with polyagent.Client(polyagent.Connection(server.grpc, root_certificates=root, **pair(good))) as client:
        assert client.run_python("print(2)").stdout == "2\n"
    for own in ({}, pair(stranger)):
        with polyagent.Client(polyagent.Connection(server.grpc, root_certificates=root, **own)) as client, pytest.raises(polyagent.Unavailable):
            client.run_python("print(2)", deadline=3)
    server.stop()


def test_a_key_that_is_not_the_certificates(tmp_path, authority):
    authority.issue_cert("a").private_key_pem.write_to_path(tmp_path / "key")
    authority.issue_cert("b").cert_chain_pems[0].write_to_path(tmp_path / "cert")
    env = {**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "s"), "POLYAGENT_SERVER_TLS_CERTIFICATE": str(tmp_path / "cert"),
           "POLYAGENT_SERVER_TLS_KEY": str(tmp_path / "key")}
    for options in (("--http", "127.0.0.1:0", "--grpc", "off"), ("--http", "off", "--grpc", "127.0.0.1:0")):
        done = run("serve", *options, env=env)
        assert done.returncode == 125 and "a pair?" in done.err and done.err.count("\n") == 1, done.err


@pytest.mark.parametrize("text", ["", "server: {}\n", "server: {auth: {tokens_file: ''}}\n"])
def test_no_configuration_that_is_read_again_opens_the_server(tmp_path, text):
    """Nor does a front that is started again with it: who was asked for a token is asked, or not served."""
    (tmp_path / "tokens").write_text(f"first:{hashlib.sha256(b'secret').hexdigest()}\n")
    path = tmp_path / "c.yaml"
    path.write_text(f"server: {{auth: {{tokens_file: '{tmp_path}/tokens'}}}}\n")
    good = path.read_text()
    server = Server(tmp_path, "--config", path, http=True)
    path.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    assert becomes(lambda: any("not taken" in e["message"] and "tokens_file" in e["error"] for e in server.events()), True)
    assert server.ask("GET", "/sessions")[0] == 401 and server.ask("GET", "/sessions", token="secret")[0] == 200
    os.kill(server.front, signal.SIGKILL)
    assert becomes(lambda: "that the server began with" in server.log.read_text(), True)
    path.write_text(good)

    def answers():
        try:
            return server.ask("GET", "/sessions")[0], server.ask("GET", "/sessions", token="secret")[0]
        except OSError:
            return None

    assert becomes(answers, (401, 200), 40) == (401, 200)
    server.stop()
