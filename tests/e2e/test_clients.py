"""Promise: the Python and Go clients do what their READMEs say, against the real server, and their generated code is that of
proto/agent.proto."""
import asyncio
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from program import ROOT, own_state
from server import Server, becomes, children, falls_to, settled

sys.path.insert(0, str(ROOT / "clients" / "python"))
import polyagent  # noqa: E402
from polyagent import AsyncClient, Chunk, Client, Result  # noqa: E402

HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    server = Server(folder, grpc=True, env={"POLYAGENT_STATE_DIR": str(own_state(folder))})
    assert server.run("module", "push", "hello@1.0", HELLO).returncode == 0
    yield server
    server.stop()


@pytest.fixture
def client(server):
    with Client(server.grpc) as client:
        yield client


def test_results(client):
    result = client.run_python("import sys\nprint(input(), sys.argv[1:])", stdin="hé", argv=["a"], timeout=5)
    assert result.ok and result.stdout == "hé ['a']\n" and result.usage.peak_memory_bytes > 0 and "seccomp" in result.isolation
    result = client.run_python("import sys; sys.stdout.buffer.write(b'\\xff'); sys.exit(3)")
    assert (result.status, result.exit_code, result.ok, result.stdout_bytes) == ("OK", 3, False, b"\xff")
    result = client.run_python("print(open('a.txt').read(), open('d/b', 'rb').read())", files={"a.txt": "text", "d/b": b"\xff"})
    assert result.stdout == "text b'\\xff'\n"
    result = client.run_python("open('/output/plot.png', 'wb').write(b'png')")
    assert result.artifacts == [polyagent.Artifact("plot.png", "image/png", b"png")]
    result = client.run_python("while True: pass", timeout=0.2)
    assert result.status == "TIMEOUT" and result.error.message.startswith("Execution timeout")


def test_sessions(client):
    with client.session(files={"a.txt": "text"}) as session:
        assert session.run("x = 41; data = open('a.txt').read()").session_state == "kept"
        result = session.run("x += 1\nx, data", timeout=5)
        assert (result.value, result.session_id) == ("(42, 'text')", session.id)
        point = session.checkpoint()
        session.run("x = 0")
        left, right = session.fork(2)
        session.rollback(point)
        assert (session.run("x").value, left.run("x += 1\nx").value, right.run("x").value) == ("42", "1", "0")
        assert session.run("x = 9\nwhile True: pass", timeout=0.3).session_state == "unchanged" and session.run("x").value == "42"
        session.write_files({"b.bin": b"\0\xff"})
        assert session.read_file("b.bin") == b"\0\xff" and session.list_files() == {"a.txt": 4, "b.bin": 2}
        info = session.info()
        assert info.checkpoints == [point] and info.turns == 2 + 2 and info.state == "live" and info.parent is None
        assert {i.session_id: i.parent for i in client.sessions()}[left.id] == session.id
        events = list(session.stream("print(1)\n5"))
        assert (events[0].data, events[-1].value) == (b"1\n", "5")
        left.close(), right.close()
    with pytest.raises(polyagent.NotFound, match="it was closed"):
        session.run("1")
    with client.session("javascript") as session:
        session.run("let n = 20")
        assert session.run("n + 1").value == "21"
    assert client.run_python("import numpy; numpy.arange(4).sum().item()", packages=["numpy"]).value == "6"


def test_the_example_of_branches(server):
    done = subprocess.run([sys.executable, ROOT / "examples" / "branches.py", server.grpc], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")})
    assert done.stdout.endswith("best: median guess = 4\n") and "'endless': inf" in done.stdout, done.stderr


def test_input_and_interrupts_from_another_thread(client):
    with client.session() as session:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            turn = pool.submit(session.run, "print(input(), input())", stdin_stream=True)
            assert becomes(lambda: session.info().state, "busy") == "busy"
            session.write_input("a\n")
            session.write_input("b\n", eof=True)
            assert turn.result().stdout == "a b\n"
            turn = pool.submit(session.run, "while True: pass")
            assert becomes(lambda: session.info().state, "busy") == "busy"
            assert session.interrupt() and turn.result().exit_code == 130


def test_modules(client):
    for module in (HELLO, HELLO.read_bytes(), "hello", "hello@1.0"):
        assert client.run_wasm(module).stdout == "Hello from WASI!\n"
    with pytest.raises(polyagent.NotFound):
        client.run_wasm("nope")


def test_streams(client, server):
    events = list(client.stream_python("for i in range(3): print(i, flush=True)"))
    assert isinstance(events[-1], Result) and b"".join(e.data for e in events[:-1]) == b"0\n1\n2\n"
    stream = client.stream_python("print(1, flush=True)\nwhile True: pass")
    assert next(stream) == Chunk("stdout", b"1\n")
    before = settled(lambda: len(children(server.pid)))
    stream.close()
    falls_to(before + 3, lambda: len(children(server.pid)))


def test_errors(client):
    with pytest.raises(polyagent.InvalidArgument, match="did you mean code"):
        client.execute("python_wasi_runner", {"cod": ""})
    with pytest.raises(polyagent.NotFound) as caught:
        client.execute("nope", {}, request_id="mine-1")
    assert caught.value.code == "NOT_FOUND" and caught.value.request_id == "mine-1"
    with pytest.raises(polyagent.Unavailable):
        client.run_python("while True: pass", deadline=0.3)
    with Client("127.0.0.1:1") as nobody, pytest.raises(polyagent.Unavailable):
        nobody.run_python("1")


def test_tasks_tools_health(client):
    assert client.health() and [t.name for t in client.tools()][:3] == ["code_executor", "python_wasi_runner", "javascript_wasi_runner"]
    assert client.tools()[1].input_schema["required"] == ["code"]
    assert client.task("Use python_wasi_runner to execute: print(6 * 7)").result == "42\n"
    assert client.task("", tool_parameters={"tool": "code_executor", "module": "hello"}).result == "Hello from WASI!\n"


def test_secrets_do_not_show_and_do_not_go_in_clear():
    shown = repr(polyagent.Connection("localhost:1", token="SECRET", private_key=b"SECRET", certificate_chain=b"SECRET"))
    assert "SECRET" not in shown and "localhost:1" in shown
    for target, good in (("localhost:1", True), ("127.0.0.1:1", True), ("[::1]:1", True), ("dns:///localhost:1", True), ("unix:/run/x", True),
                         ("example.org:1", False), ("10.0.0.1:1", False), ("dns:///example.org:1", False), ("localhost.example.org:1", False), ("[2001:db8::1]:1", False)):
        for client in (Client, AsyncClient):
            if good:
                polyagent.Connection(target, token="SECRET")
                continue
            with pytest.raises(polyagent.InvalidArgument, match="in clear") as caught:
                client(target, token="SECRET")
            assert "SECRET" not in str(caught.value)
        polyagent.Connection(target, token="SECRET", tls=True)
        polyagent.Connection(target, token="SECRET", allow_token_in_clear=True)
        polyagent.Connection(target)


ARTIFACT = {"name": "a", "mime": "x/y", "bytes_base64": "AA=="}
HOSTILE = [[1, 2], None, "x", 5.0, {"artifacts": "x"}, {"artifacts": [1]}, {"artifacts": [{}]}, {"error": "x"}, {"error": {"code": 5}}, {"stdout": [1]},
           {"stdout_base64": "!!!"}, {"stdout_base64": 7}, {"usage": "x"}, {"usage": {"fuel": "x"}}, {"usage": {"fuel": [1]}}, {"exit_code": "x"},
           {"exit_code": {}}, {"isolation": 5}, {"status": {}}, {"session_id": []}, {"artifacts": [{**ARTIFACT, "bytes_base64": "!"}]},
           *({"artifacts": [{**ARTIFACT, "name": name}]} for name in ("../x", "/etc/x", "a/../../x", "", "a//b", ".", "a\\b", "a\nb", "\x1b[2J", "a\0"))]


@pytest.fixture(scope="module")
def liar():
    """A server that answers with what it is asked to run."""
    import json

    import grpc
    from polyagent import agent_pb2 as pb

    def execute(request, context):
        response = pb.ToolCallResponse()
        wanted = dict(request.parameters)["code"]
        json_format.Parse(wanted, response.output)
        return response

    def stream(request, context):
        yield pb.ToolCallUpdate()
        yield pb.ToolCallUpdate(result=execute(request, context))

    from google.protobuf import json_format
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(execute, pb.ToolCallRequest.FromString, pb.ToolCallResponse.SerializeToString)
    streaming = grpc.unary_stream_rpc_method_handler(stream, pb.ToolCallRequest.FromString, pb.ToolCallUpdate.SerializeToString)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("polyagent.agent.AgentService", {"ExecuteTool": method, "StreamExecuteTool": streaming})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", json.dumps
    server.stop(None)


@pytest.mark.parametrize("answer", HOSTILE, ids=str)
def test_answers_that_are_none_are_the_clients_errors(liar, answer):
    target, dumps = liar
    with Client(target) as client:
        for call in (lambda: client.run_python(dumps(answer)), lambda: list(client.stream_python(dumps(answer))),
                     lambda: client.execute("x", {"code": dumps(answer)})):
            with pytest.raises(polyagent.BadAnswer, match="cannot be read"):
                call()

    async def same():
        async with AsyncClient(target) as client:
            with pytest.raises(polyagent.BadAnswer):
                await client.run_python(dumps(answer))

    asyncio.run(same())


def test_an_answer_with_little_in_it_is_one(liar):
    target, dumps = liar
    with Client(target) as client:
        assert client.run_python(dumps({"status": "OK", "artifacts": [{**ARTIFACT, "name": "d/a b.png"}], "unknown": 1})).artifacts[0].data == b"\0"


def test_async(server):
    async def all_of_it():
        async with AsyncClient(server.grpc) as client:
            results = await asyncio.gather(*(client.run_python(f"print({i})") for i in range(20)))
            assert [r.stdout for r in results] == [f"{i}\n" for i in range(20)]
            events = [e async for e in client.stream_python("print(1, flush=True)\nprint(2)")]
            assert b"".join(e.data for e in events[:-1]) == b"1\n2\n" and events[-1].ok
            with pytest.raises(polyagent.NotFound):
                await client.execute("nope", {})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.run_python("while True: pass"), 0.3)
            assert await client.health() and len(await client.tools()) > 3
            assert (await client.run_wasm(HELLO)).ok and (await client.task("Use python_wasi_runner to run: print(1)")).result == "1\n"

    asyncio.run(all_of_it())


async def busy(session):
    while (await session.info()).state != "busy":
        await asyncio.sleep(0.05)


def test_async_sessions(server):
    async def turns():
        async with AsyncClient(server.grpc) as client, await client.session(files={"a.txt": "text"}) as session:
            await session.run("x = 41; data = open('a.txt').read()")
            assert (await session.run("x += 1\nx, data")).value == "(42, 'text')"
            point = await session.checkpoint()
            await session.run("x = 0")
            left, right = await session.fork(2)
            await session.rollback(point)
            values = await asyncio.gather(session.run("x"), left.run("x += 1\nx"), right.run("x"))
            assert [result.value for result in values] == ["42", "1", "0"]
            [again] = await session.fork(checkpoint=point)
            assert (await again.run("x")).value == "42"
            await session.write_files({"b.bin": b"\0\xff"})
            assert await session.read_file("b.bin") == b"\0\xff" and await session.list_files() == {"a.txt": 4, "b.bin": 2}
            assert (await session.info()).session_id == session.id
            assert {i.session_id: i.parent for i in await client.sessions()}[left.id] == session.id
            assert [e async for e in session.stream("print(1)\n5")][-1].value == "5"
            turn = asyncio.create_task(session.run("print(input())", stdin_stream=True))
            await busy(session)
            await session.write_input("a\n", eof=True)
            assert (await turn).stdout == "a\n"
            turn = asyncio.create_task(session.run("while True: pass"))
            await busy(session)
            assert await session.interrupt() and (await turn).exit_code == 130
            with pytest.raises(asyncio.TimeoutError):  # a cancelled run
                await asyncio.wait_for(session.run("x = 9\nwhile True: pass"), 0.3)
            assert (await session.run("x")).value == "42"
            for branch in (left, right, again):
                await branch.close()
        async with AsyncClient(server.grpc) as client:
            assert session.id not in {i.session_id for i in await client.sessions()}

    asyncio.run(turns())


def test_it_installs_as_a_package_and_its_example_runs(server, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "venv"], check=True)
    source = tmp_path / "source"  # so that nothing is built in the tree
    shutil.copytree(ROOT / "clients" / "python", source)
    site = pathlib.Path(polyagent.grpc.__file__).parents[1] if hasattr(polyagent, "grpc") else pathlib.Path(sys.modules["grpc"].__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", source], check=True, env=env)
    done = subprocess.run([python, ROOT / "examples" / "client.py", server.grpc], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0 and "42" in done.stdout and "ZeroDivisionError" in done.stdout, done.stderr


def test_go(server):
    done = subprocess.run(["go", "test", "-count=1", "./..."], cwd=ROOT / "clients" / "go", capture_output=True, text=True,
                          env={**os.environ, "POLYAGENT_TEST_GRPC": server.grpc})
    assert done.returncode == 0 and "ok" in done.stdout, done.stdout + done.stderr
    done = subprocess.run(["go", "run", "./example", server.grpc, HELLO], cwd=ROOT / "clients" / "go", capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "OK: Hello from WASI!\n", done.stdout + done.stderr


def test_generated_code_is_up_to_date(tmp_path):
    subprocess.run([ROOT / "scripts" / "generate-clients.sh", tmp_path], check=True)
    for name in ("agent_pb2.py", "agent_pb2.pyi"):
        assert (tmp_path / "python" / "polyagent" / name).read_text() == (ROOT / "clients/python/polyagent" / name).read_text()
    descriptor = polyagent._core.pb.DESCRIPTOR.serialized_pb
    generated = (ROOT / "clients" / "go" / "agentpb" / "agent.pb.go").read_text()
    for name in polyagent._core.pb.DESCRIPTOR.message_types_by_name:
        assert f"type {name} struct" in generated
    assert len(descriptor) > 1000
