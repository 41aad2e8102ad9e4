"""Promise: what comes in at the ports is bounded, and shown to belong to somebody, before anything is done for it: bodies, messages,
names of the server, handshakes, certificates, tokens."""
import base64
import contextlib
import datetime
import hashlib
import json
import os
import resource
import socket
import ssl
import sys
import threading
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from program import BUILD, ROOT
from server import Server, descriptors, falls_to, peak_kib, settled

sys.path.insert(0, str(ROOT / "clients" / "python"))
import polyagent  # noqa: E402

MIB = 1 << 20


def serve(folder, settings="", **more):
    (folder / "c.yaml").write_text(settings or "{}\n")
    return Server(folder, "--config", folder / "c.yaml", http=True, grpc=True, **more)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Two callers, alice and bob, whose tokens are their names; a body has 3 s, and one for each 32 KiB."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tokens").write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("alice", "bob")))
    server = serve(folder, f"server: {{body_seconds: 3, auth: {{tokens_file: '{folder}/tokens'}}}}\n")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    server = serve(tmp_path_factory.mktemp("open"), "server: {hosts: [box.example]}\n")
    yield server
    server.stop()


def begin(server, head, body=b""):
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n" + body)
    return client


def answer(client):
    """Status, head and whether the connection ended after it; 0: it just ended."""
    data = b""
    with contextlib.suppress(OSError):
        while chunk := client.recv(65536):
            data += chunk
            head, found, body = data.partition(b"\r\n\r\n")
            length = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            if found and length and len(body) >= length[0]:
                break
    return int(data.split()[1]) if data.startswith(b"HTTP/") else 0, data


def ends(client):
    with contextlib.suppress(OSError):
        while client.recv(65536):
            pass
        return True
    return False


def bearer(name):
    return b"Authorization: Bearer " + name.encode()


def execute(server, code="print(1)", token=None, more=""):
    body = {"tool": "python_wasi_runner", "parameters": {"code": code + more}}
    return server.ask("POST", "/tools/execute", body, token=token)


def test_no_body_is_kept_for_nobody(guarded):
    """Without a token, gigabytes of bodies take no memory, and nobody's larger request is refused for them."""
    before, clients = peak_kib(guarded.front), []
    for _ in range(20):
        client = begin(guarded, b"Content-Length: %d" % (70 * MIB))
        with contextlib.suppress(OSError):
            client.sendall(b"x" * (60 * MIB))
        clients.append(client)
    assert peak_kib(guarded.front) < before + (20 << 10)
    status, result = execute(guarded, token="alice", more="#" * 600_000)
    assert (status, result["stdout"]) == (200, "1\n")
    for client in clients:
        client.close()
    refused = begin(guarded, b"Content-Length: 1000", b"x" * 1000)
    assert answer(refused)[0] == 401  # after the body, so that it gets there
    waits = begin(guarded, b"Content-Length: %d\r\nExpect: 100-continue" % (70 * MIB))
    status, text = answer(waits)
    assert status == 401 and b"no credential" in text and ends(waits)  # in the place of the word to go on


def test_a_share_of_what_is_being_sent(guarded):
    """One large body of each caller at a time; others, and small ones, are taken all the same."""
    large = b"Content-Length: %d\r\nExpect: 100-continue" % (70 * MIB)
    first = begin(guarded, bearer("alice") + b"\r\n" + large)
    assert first.recv(100).startswith(b"HTTP/1.1 100 ")
    second = begin(guarded, bearer("alice") + b"\r\n" + large)
    status, text = answer(second)
    assert status == 429 and b"\r\nRetry-After: " in text and b"one large body at a time" in text
    other = begin(guarded, bearer("bob") + b"\r\n" + large)
    assert other.recv(100).startswith(b"HTTP/1.1 100 ")
    for token in ("alice", "bob"):
        assert execute(guarded, token=token)[1]["stdout"] == "1\n"
    for client in (first, second, other):
        client.close()
    settled(lambda: descriptors(guarded.front))
    assert execute(guarded, token="alice", more="#" * 250_000)[1]["stdout"] == "1\n"


def test_values_of_files_count(guarded):
    """What a small body becomes is part of the share as well: refused in words where that is taken, while another is served."""
    files = {str(i): "" for i in range(900)}
    body = {"tool": "python_wasi_runner", "parameters": {"code": "print(1)", "files": files}}
    first = begin(guarded, bearer("alice") + b"\r\nContent-Length: 74090000\r\nExpect: 100-continue")
    assert first.recv(100).startswith(b"HTTP/1.1 100 ")
    status, result = guarded.ask("POST", "/tools/execute", body, token="alice")
    assert status == 429 and "take all the memory that there is for them; retry in" in result["error"]["message"]
    other = guarded.ask("POST", "/tools/execute", body, token="bob")[1]
    assert other.get("stdout") == "1\n", other
    first.close()
    settled(lambda: descriptors(guarded.front))
    assert guarded.ask("POST", "/tools/execute", body, token="alice")[1]["stdout"] == "1\n"


def test_eight_large_bodies_at_once(guarded):
    """What is refused is told to come again; the memory stays below 512 MiB."""
    module = base64.b64encode(b"\0asm\1\0\0\0" + b"\0" * 10).decode()
    body = json.dumps({"tool": "code_executor", "parameters": {"wasm_base64": module, "stdin": "x" * (68 * MIB)}}).encode()
    statuses = []

    def send(name):
        client = begin(guarded, bearer(name) + b"\r\nContent-Length: %d" % len(body))
        with contextlib.suppress(OSError):
            client.sendall(body)
        statuses.append(answer(client)[0])
        client.close()

    threads = [threading.Thread(target=send, args=(name,)) for name in ("alice", "bob") for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 8 and set(statuses) <= {400, 429} and {400, 429} <= set(statuses), statuses
    assert "asan" in str(BUILD) or peak_kib(guarded.front) < 512 << 10  # a sanitizer's memory tells nothing


def test_a_body_that_does_not_come(guarded):
    """It has a time; one that comes slowly, but steadily, has more of it."""
    client = begin(guarded, bearer("alice") + b"\r\nContent-Length: 100000", b"{")
    until = time.monotonic() + 30
    with contextlib.suppress(OSError):
        while time.monotonic() < until:
            client.sendall(b" ")  # it never rests
            time.sleep(0.2)
    assert time.monotonic() < until
    assert answer(client)[0] in (408, 0)
    body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "print(2)" + "#" * 500_000}}).encode()
    client = begin(guarded, bearer("alice") + b"\r\nContent-Length: %d" % len(body))
    for i in range(0, len(body), 100_000):
        client.sendall(body[i:i + 100_000])
        time.sleep(0.4)
    assert answer(client)[0] == 200


@pytest.mark.parametrize("host, good", [("localhost", True), ("LOCALHOST:1234", True), ("127.0.0.1", True), ("[::1]:8000", True), ("10.1.2.3:80", True),
                                        ("box.example", True), ("Box.Example:8000", True), ("evil.example", False), ("evil.example:8000", False),
                                        ("localhost.evil.example", False), ("127.0.0.1.evil.example", False), ("[::1].evil", False), ("a@localhost", False),
                                        ("", False), ("0x7f.1", False)])
def test_names_that_the_server_has(open_server, host, good):
    """A page's name can be bound to our address; then its requests are of its own origin, and bear no Origin."""
    for head in ("GET /sessions", "GET /", "GET /health", "POST /mcp", "POST /tools/execute"):
        with socket.create_connection(("127.0.0.1", open_server.port), timeout=30) as client:
            client.sendall(f"{head} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
            status, text = answer(client)
            assert (status == 403 and b"server.hosts" in text) == (not good), (head, host, status)


def test_pages_of_our_own(open_server):
    def status(origin, host="10.1.2.3:8000"):
        with socket.create_connection(("127.0.0.1", open_server.port), timeout=30) as client:
            client.sendall(f"GET /sessions HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n".encode())
            return answer(client)[0]

    assert status("http://10.1.2.3:8000") == 200 and status("http://localhost:3000") == 200
    for origin in ("http://10.1.2.3:9000", "http://10.1.2.4:8000", "null", "http://evil.example", "http://localhost.evil.example", "10.1.2.3:8000"):
        assert status(origin) == 403, origin


@pytest.mark.parametrize("method", ["T", "ST", "ET", "ELETE", "G", "POS", "POST,", "GET, POST", ",", "get", "GETT"])
def test_a_part_of_a_method_is_none(open_server, method):
    """fuzz_http found that "T" was taken for the end of "GET", and no route was."""
    front = open_server.front
    for path in ("/sessions", "/sessions/" + "0" * 24, "/tools/list", "/nope"):
        with socket.create_connection(("127.0.0.1", open_server.port), timeout=30) as client:
            client.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert answer(client)[0] in (400, 404, 405, 501), (method, path)
    assert open_server.front == front and open_server.ask("GET", "/sessions")[0] == 200


@pytest.mark.parametrize("lengths", [b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 5",
                                     b"Content-Length: 5\r\nContent-Length: 5", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                                     b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity"])
def test_two_lengths_are_none(open_server, lengths):
    """What follows is no request of its own: the connection is over."""
    client = begin(open_server, lengths, b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    data = b""
    with contextlib.suppress(OSError):
        while chunk := client.recv(65536):
            data += chunk
    assert data.startswith(b"HTTP/1.1 400 ") and data.count(b"HTTP/1.1 ") == 1, data[:300]


def grpc_refusal(server, token):
    with polyagent.Client(server.grpc, token=token) as client, pytest.raises(polyagent.PolyagentError) as caught:
        client.run_python("1")
    return type(caught.value).__name__, str(caught.value)


def test_a_wrong_token_is_told_from_none(guarded):
    for token, words in ((None, "no credential: send"), ("wrong", "the token is not known")):
        status, result = execute(guarded, token=token)
        assert status == 401 and words in result["error"]["message"]
        kind, text = grpc_refusal(guarded, token)
        assert kind == "Unauthenticated" and words in text


def test_guesses_are_bounded(tmp_path):
    """After ten wrong tokens, an address gets its tokens looked at no more, until seconds have passed; but for callers that it was before."""
    (tmp_path / "tokens").write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("alice", "bob")))
    server = serve(tmp_path, f"server: {{auth: {{tokens_file: '{tmp_path}/tokens'}}}}\n")
    assert execute(server, token="alice")[0] == 200
    for _ in range(30):
        assert execute(server, token="again and again")[0] == 401  # the same one is no guess
    statuses = [execute(server, token=f"guess {i}")[0] for i in range(40)]
    assert statuses[:9] == [401] * 9 and set(statuses[20:]) == {429}, statuses
    assert execute(server, token="bob")[0] == 429  # it would be told from a wrong one
    assert "too many unknown tokens" in grpc_refusal(server, "bob")[1]
    assert execute(server, token="alice")[0] == 200
    until = time.monotonic() + 60
    while execute(server, token="bob")[0] == 429 and time.monotonic() < until:
        time.sleep(1)
    assert execute(server, token="bob")[0] == 200
    server.stop()


def test_messages_have_a_time_and_an_owner(guarded):
    """Nothing is read of a message without a token; with one, it is counted, and has its time."""
    def message(token, pieces):
        with grpc.insecure_channel(guarded.grpc, [("grpc.max_send_message_length", -1)]) as channel:
            call = channel.unary_unary("/polyagent.agent.AgentService/ExecuteTool", request_serializer=lambda m: m)
            before = peak_kib(guarded.front)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\x0a" + b"\xff\xff\xff\x7f" + bytes(pieces * MIB), metadata=[("authorization", f"Bearer {token}")], timeout=60)
            return caught.value.code(), peak_kib(guarded.front) - before

    code, grown = message("nobody", 400)
    assert code == grpc.StatusCode.UNAUTHENTICATED and grown < 20 << 10
    code, grown = message("alice", 400)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and grown < 250 << 10


# Certificates


class Authority:
    def __init__(self, folder):
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.certificate = self.sign(name, name, self.key.public_key(), [(x509.BasicConstraints(True, None), True)])
        self.folder = folder
        (folder / "ca").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, subject, issuer, key, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, file, common=None, names=(), purpose=None):
        """A certificate and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
        extensions = [(x509.SubjectAlternativeName(names), False)] if names else []
        extensions += [(x509.ExtendedKeyUsage([purpose]), False)] if purpose else []
        certificate = self.sign(subject, self.certificate.subject, key.public_key(), extensions)
        (self.folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.folder / f"{file}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                                    serialization.NoEncryption()))
        return self.folder / file

    def context(self, own=None):
        made = ssl.create_default_context(cafile=str(self.folder / "ca"))
        if own is not None:
            made.load_cert_chain(own, f"{own}.key")
        return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.issue("server", "localhost", [x509.DNSName("localhost")], ExtendedKeyUsageOID.SERVER_AUTH)
    return made


def secured(folder, authority, more=""):
    return serve(folder, f"server: {{tls: {{certificate: '{authority.folder}/server', key: '{authority.folder}/server.key'{more}}}}}\n")


@pytest.fixture(scope="module")
def mutual(tmp_path_factory, authority):
    server = secured(tmp_path_factory.mktemp("mutual"), authority, f", client_ca: '{authority.folder}/ca'")
    yield server
    server.stop()


def ask(server, authority, own, method, path, body=None):
    import http.client

    connection = http.client.HTTPSConnection("localhost", server.port, timeout=30, context=authority.context(own))
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def over_grpc(server, authority, own):
    pair = {"private_key": (authority.folder / f"{own.name}.key").read_bytes(), "certificate_chain": own.read_bytes()} if own else {}
    port = server.grpc.rsplit(":", 1)[1]
    return polyagent.Client(polyagent.Connection(f"localhost:{port}", root_certificates=(authority.folder / "ca").read_bytes(), **pair))


def test_a_certificates_name_is_the_caller(mutual, authority):
    """Sessions of one are not there for another, over HTTP and gRPC."""
    first = authority.issue("first", "first")
    second = authority.issue("second", "first", [x509.DNSName("second.example"), x509.UniformResourceIdentifier("spiffe://example.org/second")],
                             ExtendedKeyUsageOID.CLIENT_AUTH)  # the same CN: a better name comes first
    status, opened = ask(mutual, authority, first, "POST", "/sessions", {})
    assert status == 200
    path = f"/sessions/{opened['session_id']}"
    assert ask(mutual, authority, first, "POST", path + "/run", {"code": "secret = 1"})[1]["status"] == "OK"
    assert ask(mutual, authority, second, "GET", path)[0] == 404 and ask(mutual, authority, second, "GET", "/sessions")[1]["sessions"] == []
    turn = {"code": "print(secret)", "session_id": opened["session_id"]}
    with over_grpc(mutual, authority, first) as client:
        assert client.execute("python_wasi_runner", turn).stdout == "1\n"
    with over_grpc(mutual, authority, second) as client, pytest.raises(polyagent.NotFound):
        client.execute("python_wasi_runner", turn)
    assert ask(mutual, authority, first, "DELETE", path)[0] == 200
    names = {event.get("caller") for event in mutual.events()}
    assert {"first", "spiffe://example.org/second"} <= names and "anonymous" not in names


def test_long_and_odd_names_stay_apart(mutual, authority):
    uri = "spiffe://example.org/team/with/a/name/that/is/much/too/long/"
    for file, names in (("long1", [x509.UniformResourceIdentifier(uri + "1")]), ("long2", [x509.UniformResourceIdentifier(uri + "2")])):
        own = authority.issue(file, None, names)
        assert ask(mutual, authority, own, "POST", "/sessions", {})[0] == 200
        assert len(ask(mutual, authority, own, "GET", "/sessions")[1]["sessions"]) == 1


def test_certificates_of_servers_are_no_clients(mutual, authority):
    """Nor are those without a name, of others, or none."""
    stranger = Authority(authority.folder / "..")
    other = stranger.issue("foreign", "foreign")
    (authority.folder / ".." / "ca").write_bytes((authority.folder / "ca").read_bytes())
    for own in (authority.folder / "server", authority.issue("mail", "mail", purpose=ExtendedKeyUsageOID.EMAIL_PROTECTION), authority.issue("nameless"), other, None):
        with pytest.raises((OSError, EOFError)):
            ask(mutual, authority, own, "GET", "/health")
        if own is not other:
            with over_grpc(mutual, authority, own) as client, pytest.raises(polyagent.Unavailable):
                client.run_python("1", deadline=3)


def handshake(port, version):
    """Whether one of that version goes through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        try:
            with context.wrap_socket(plain):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def secure(tmp_path_factory, authority):
    server = secured(tmp_path_factory.mktemp("secure"), authority)
    yield server
    server.stop()


def ports(server):
    return server.port, int(server.grpc.rsplit(":", 1)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_tls_before_1_2(secure):
    for port in ports(secure):
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            assert not handshake(port, version)
        assert handshake(port, ssl.TLSVersion.TLSv1_2) and handshake(port, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize("interface", [0, 1], ids=["http", "grpc"])
def test_handshakes_that_do_not_end(secure, authority, interface):
    """Few of one address are kept, for a short time; who means it gets through meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before, memory = settled(lambda: descriptors(secure.front)), peak_kib(secure.front)
    hello = bytes.fromhex("16030100c8010000c40303") + os.urandom(32)
    half = []
    for _ in range(1500):
        half.append(socket.create_connection(("127.0.0.1", ports(secure)[interface]), timeout=30))
        half[-1].sendall(hello)
    falls_to(before + 300, lambda: descriptors(secure.front), 8)  # before the time of any is over
    assert peak_kib(secure.front) < memory + (100 << 10)
    assert ask(secure, authority, None, "GET", "/health")[0] == 200
    with over_grpc(secure, authority, None) as client:
        assert client.run_python("print(1)").stdout == "1\n"
    falls_to(before + 10, lambda: descriptors(secure.front), 60)  # their time is over
    for client in half:
        client.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_much_and_both_ways_over_tls(secure, authority):
    text = "é" * 3_000_000
    code = "import sys\ntext = sys.stdin.read()\nprint(text[:400_000])\nprint(len(text))"
    body = {"tool": "python_wasi_runner", "parameters": {"code": code, "stdin": text, "output_limit_bytes": 1 << 20}}
    wanted = text[:400_000] + "\n3000000\n"
    assert ask(secure, authority, None, "POST", "/tools/execute", body)[1]["stdout"] == wanted
    with over_grpc(secure, authority, None) as client:
        assert client.run_python(code, stdin=text, output_limit_bytes=1 << 20).stdout == wanted
