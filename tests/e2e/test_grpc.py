"""Promise: gRPC does what the contract says, under both package names; whatever a client sends or does, it gets its status,
its run ends with it, and nothing stays behind."""
import base64
import concurrent.futures
import json
import os
import socket
import struct
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf import json_format, message_factory
from program import PYTHON_WASM, ROOT
from server import Server, children, descriptors, falls_to, peak_kib, settled

sys.path.insert(0, str(ROOT / "clients" / "python"))
from polyagent import agent_pb2 as pb  # noqa: E402

HELLO = base64.b64encode((ROOT / "docs" / "assets" / "hello-wasi.wat").read_bytes()).decode()
GRPCURL = ROOT / "build" / "go" / "grpcurl"
CODES = grpc.StatusCode


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("grpc"), grpc=True)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc, [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


def stub(channel, method, package="polyagent.agent", streams=False, raw=False):
    request, response = {"ExecuteTool": (pb.ToolCallRequest, pb.ToolCallResponse),
                         "StreamExecuteTool": (pb.ToolCallRequest, pb.ToolCallUpdate),
                         "ExecuteTask": (pb.ExecuteTaskRequest, pb.ExecuteTaskResponse),
                         "StreamExecuteTask": (pb.ExecuteTaskRequest, pb.TaskUpdate),
                         "GetCapabilities": (pb.GetCapabilitiesRequest, pb.GetCapabilitiesResponse),
                         "HealthCheck": (pb.HealthCheckRequest, pb.HealthCheckResponse),
                         "DiscoverTools": (pb.DiscoverToolsRequest, pb.DiscoverToolsResponse),
                         "GetToolCapability": (pb.GetToolCapabilityRequest, pb.GetToolCapabilityResponse)}[method]
    kind = channel.unary_stream if streams else channel.unary_unary
    return kind(f"/{package}.AgentService/{method}", request_serializer=None if raw else request.SerializeToString,
                response_deserializer=response.FromString)


def call(tool, parameters, **more):
    request = pb.ToolCallRequest(tool_name=tool, **more)
    request.parameters.update(parameters)
    return request


def output(response):
    return json_format.MessageToDict(response.output)


def test_large_messages(server, channel):
    """They are taken apart and put together in threads, and are what they were; who leaves meanwhile costs nothing."""
    text = "ä\n\"" * 200000
    answer = python(channel, "import sys\ntext = sys.stdin.read()\nprint(text, end='')", stdin=text, output_limit_bytes=4 << 20)
    assert (answer.status, output(answer)["stdout"]) == (pb.STATUS_CODE_OK, text)
    request = call("python_wasi_runner", {"code": "open('/output/t.txt', 'w').write(input())", "stdin": "x" * 2000000})
    last = list(stub(channel, "StreamExecuteTool", streams=True)(request, timeout=60))[-1]
    assert base64.b64decode(json_format.MessageToDict(last.result.output)["artifacts"][0]["bytes_base64"]) == b"x" * 2000000
    with pytest.raises(grpc.RpcError) as error:
        python(channel, "1", nonsense=["x" * 1000] * 1000)
    assert error.value.code() == CODES.INVALID_ARGUMENT and "nonsense" in error.value.details()
    task = pb.ExecuteTaskRequest(query="run it", metadata=pb.TaskMetadata(task_id="large"), context={"tool_parameters": {
        "tool": "python_wasi_runner", "code": "text = open(0).read()\nprint(text, end='')", "stdin": text, "output_limit_bytes": 4 << 20}})
    done = stub(channel, "ExecuteTask")(task, timeout=60)
    assert (done.task_id, done.status) == ("large", pb.STATUS_CODE_OK), done.error_message
    assert json_format.MessageToDict(done.tool_results[0].output)["stdout"] == text
    broken = task.SerializeToString() + b"\xff"
    code, _ = refused(lambda: channel.unary_unary("/polyagent.agent.AgentService/ExecuteTask")(broken, timeout=60))
    assert code == CODES.INVALID_ARGUMENT
    for _ in range(20):
        stub(channel, "ExecuteTool").future(request).cancel()
        stub(channel, "ExecuteTask").future(task).cancel()
    assert python(channel, "print(1)").status == pb.STATUS_CODE_OK


def python(channel, code, timeout=60, **parameters):
    return stub(channel, "ExecuteTool")(call("python_wasi_runner", {"code": code, **parameters}), timeout=timeout)


def refused(do):
    with pytest.raises(grpc.RpcError) as caught:
        do()
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("package", ["polyagent.agent", "shannon.agent"])
def test_the_seeds_request(channel, package):
    response = stub(channel, "ExecuteTool", package)(call("code_executor", {"wasm_base64": HELLO, "stdin": ""}, request_id="abc-1"))
    assert (response.tool_name, response.status, response.error_message) == ("code_executor", pb.STATUS_CODE_OK, "")
    assert response.request_id == "abc-1" == output(response)["request_id"]
    assert output(response)["stdout"] == "Hello from WASI!\n" and "seccomp" in output(response)["isolation"]


def test_reflection_tells_enough_to_call(server, channel):
    """What grpcurl does: it has no proto file."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        "polyagent.agent.AgentService", "shannon.agent.AgentService", "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
    pool = DescriptorPool(database)
    for package in ("polyagent.agent", "shannon.agent"):
        method = pool.FindServiceByName(f"{package}.AgentService").FindMethodByName("ExecuteTool")
        request = message_factory.GetMessageClass(method.input_type)()
        json_format.ParseDict({"toolName": "python_wasi_runner", "parameters": {"code": "print(7)"}}, request, descriptor_pool=pool)
        answer = channel.unary_unary(f"/{package}.AgentService/ExecuteTool", request_serializer=lambda m: m.SerializeToString(),
                                     response_deserializer=pb.ToolCallResponse.FromString)(request)
        assert output(answer)["stdout"] == "7\n"
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("no.such.Thing")
    assert database.FindFileContainingSymbol("polyagent.agent.ToolCallUpdate").name == "agent.proto"


@pytest.mark.skipif(not GRPCURL.exists(), reason="make build/go/grpcurl")
def test_the_seeds_command_word_for_word(server):
    command = """grpcurl -plaintext -d '{
  "tool_name": "code_executor",
  "parameters": {
    "wasm_base64": "'$(base64 -w 0 docs/assets/hello-wasi.wat)'",
    "stdin": ""
  }
}' localhost:PORT polyagent.agent.AgentService/ExecuteTool""".replace("localhost:PORT", server.grpc)
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PATH": f"{GRPCURL.parent}:{os.environ['PATH']}"})
    assert done.returncode == 0 and json.loads(done.stdout)["output"]["stdout"] == "Hello from WASI!\n", done.stderr
    done = subprocess.run([GRPCURL, "-plaintext", server.grpc, "describe", "polyagent.agent.ToolCallRequest"], capture_output=True, text=True)
    assert "string tool_name = 1;" in done.stdout


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    assert health.Check(health_pb2.HealthCheckRequest(service="shannon.agent.AgentService")).status == 1
    assert refused(lambda: health.Check(health_pb2.HealthCheckRequest(service="nope")))[0] == CODES.NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    assert stub(channel, "HealthCheck")(pb.HealthCheckRequest()).healthy


def test_discovery(channel):
    capabilities = stub(channel, "GetCapabilities")(pb.GetCapabilitiesRequest())
    runners = ["code_executor", "python_wasi_runner", "javascript_wasi_runner"]
    assert list(capabilities.supported_tools)[:3] == runners and capabilities.max_memory_mb == 1024
    discover = stub(channel, "DiscoverTools")
    names = lambda **q: [t.name for t in discover(pb.DiscoverToolsRequest(**q)).tools]  # noqa: E731
    assert names()[:3] == runners and "session_fork" in names()
    assert names(query="PYTHON")[0] == "python_wasi_runner" and names(max_results=1) == ["code_executor"]
    assert names(categories=["other"]) == [] and names(tags=["wasm"]) == names() and names(tags=["none"]) == []
    tool = stub(channel, "GetToolCapability")(pb.GetToolCapabilityRequest(tool_id="python_wasi_runner")).tool
    assert json_format.MessageToDict(tool.input_schema)["required"] == ["code"] and not tool.is_dangerous
    assert refused(lambda: stub(channel, "GetToolCapability")(pb.GetToolCapabilityRequest(tool_id="x")))[0] == CODES.NOT_FOUND


@pytest.mark.parametrize("parameters, name, status", [
    ({"code": "print('before', flush=True)\nwhile True: pass", "execution_timeout_ms": 300}, "TIMEOUT", pb.STATUS_CODE_TIMEOUT),
    ({"code": "x = 'a' * 10**9"}, "MEMORY_LIMIT", pb.STATUS_CODE_ERROR),
    ({"code": "while True: print('x' * 1000)"}, "OUTPUT_LIMIT", pb.STATUS_CODE_ERROR),
    ({"code": "while True: pass", "max_fuel": 100000}, "FUEL_EXHAUSTED", pb.STATUS_CODE_ERROR),
    ({"code": "import sys; sys.exit(9)"}, "OK", pb.STATUS_CODE_OK),
])
def test_however_a_program_ends_the_call_is_ok(channel, parameters, name, status):
    response = stub(channel, "ExecuteTool")(call("python_wasi_runner", parameters))
    assert (output(response)["status"], response.status) == (name, status)
    assert name != "TIMEOUT" or output(response)["stdout"] == "before\n"
    assert (name == "OK") == (response.error_message == "")


@pytest.mark.parametrize("tool, parameters, code, text", [
    ("nope", {}, CODES.NOT_FOUND, "nope"), ("code_executor", {}, CODES.INVALID_ARGUMENT, "wasm_base64: missing"),
    ("code_executor", {"wasm_bas64": ""}, CODES.INVALID_ARGUMENT, "did you mean wasm_base64?"),
    ("code_executor", {"wasm_base64": "%%"}, CODES.INVALID_ARGUMENT, "not base64"),
    ("code_executor", {"wasm_base64": 5}, CODES.INVALID_ARGUMENT, "wasm_base64: must be a string"),
    ("code_executor", {"wasm_base64": "QQ=="}, CODES.INVALID_ARGUMENT, "Invalid WASM module"),
    ("code_executor", {"wasm_base64": "A" * 70500000}, CODES.INVALID_ARGUMENT, "WASM module too large"),
    ("code_executor", {"wasm_path": "/etc/passwd"}, CODES.PERMISSION_DENIED, "wasm_path"),
    ("code_executor", {"module": "nope"}, CODES.NOT_FOUND, "registry"),
    ("code_executor", {"module": "../../etc"}, CODES.INVALID_ARGUMENT, "NAME"),
    ("python_wasi_runner", {"code": "", "interpreter": "nope"}, CODES.NOT_FOUND, "interpreter"),
    ("python_wasi_runner", {"code": "a\0b"}, CODES.INVALID_ARGUMENT, "NUL"),
    ("python_wasi_runner", {"code": "", "memory_limit_bytes": 4 << 30}, CODES.INVALID_ARGUMENT, "wasi.ceilings.memory_limit_bytes"),
    ("python_wasi_runner", {"code": "", "execution_timeout_ms": 1.5}, CODES.INVALID_ARGUMENT, "must be an integer"),
])
def test_refusals(channel, tool, parameters, code, text):
    got, details = refused(lambda: stub(channel, "ExecuteTool")(call(tool, parameters)))
    assert got == code and text in details, details


def field(number, data):
    head = bytes([number << 3 | 2])
    size = len(data)
    while True:
        head += bytes([size & 0x7f | (0x80 if size > 0x7f else 0)])
        size >>= 7
        if size == 0:
            return head + data


def deep(depth):
    """A ToolCallRequest whose parameter is nested, made by hand: libraries refuse to."""
    value = field(3, b"x")
    for _ in range(depth):
        value = field(6, field(1, value))
    return field(1, b"code_executor") + field(2, field(1, field(1, b"a") + field(2, value)))


@pytest.mark.parametrize("data, text", [
    (deep(100), "nested too deep"), (deep(50000), "nested too deep"), (b"\xff" * 100, "no ToolCallRequest"),
    (field(2, b"\x0a\x02" * 200000), "values"), (field(1, b"x") + b"\x12\xff\xff\xff\xff\x0f", "no ToolCallRequest"),
    (field(2, field(1, field(1, b"a") + field(2, field(3, b"\xff\xfe")))), "UTF-8"), (b"", "no such tool"),
    (field(2, field(1, field(1, b"a") + field(2, b"\x11" + struct.pack("<d", float("nan"))))), "not finite"),
])
def test_malformed_messages_get_their_status(channel, data, text):
    code, details = refused(lambda: stub(channel, "ExecuteTool", raw=True)(data))
    assert code in (CODES.INVALID_ARGUMENT, CODES.NOT_FOUND) and text in details, details
    assert output(python(channel, "print(1)"))["stdout"] == "1\n"


def test_a_message_that_is_too_large(channel):
    code, _ = refused(lambda: stub(channel, "ExecuteTool", raw=True)(field(1, b"x" * (90 << 20))))
    assert code == CODES.RESOURCE_EXHAUSTED
    assert refused(lambda: channel.unary_unary("/polyagent.agent.AgentService/Nope")(b""))[0] == CODES.UNIMPLEMENTED


def test_an_interpreter_in_the_request(channel):
    encoded = base64.b64encode(PYTHON_WASM.read_bytes()).decode()
    response = python(channel, "print('x' * 900000)", interpreter_wasm_base64=encoded)
    assert len(output(response)["stdout"]) == 900001


def test_output_streams_while_the_program_runs(channel):
    updates = stub(channel, "StreamExecuteTool", streams=True)(call("python_wasi_runner", {
        "code": "import sys, time\nprint('a', flush=True)\nprint('b', file=sys.stderr, flush=True)\ntime.sleep(3)\nprint('c')"}))
    first = next(updates)
    came = time.monotonic()
    rest = list(updates)
    assert first.stdout == b"a\n" and time.monotonic() - came > 1  # it did not wait for the end
    assert b"".join(u.stderr for u in rest) == b"b\n" and b"".join(u.stdout for u in rest) == b"c\n"
    assert rest[-1].WhichOneof("update") == "result" and output(rest[-1].result)["status"] == "OK"
    assert "stdout" not in output(rest[-1].result)


def test_a_stream_of_much_to_a_slow_reader(channel):
    """The guest waits for its reader; nothing is lost, and the server does not hold it all."""
    updates = stub(channel, "StreamExecuteTool", streams=True)(call("python_wasi_runner", {
        "code": "for i in range(200): print('x' * 49999)", "output_limit_bytes": 16 << 20}))
    next(updates)
    time.sleep(1)
    total = 50000 * 200 - sum(len(u.stdout) for u in updates)
    assert 0 < total <= 65536  # the first chunk


def busy(server, channel, count):
    until = time.monotonic() + 30
    while stub(channel, "HealthCheck")(pb.HealthCheckRequest()).active_tasks != count and time.monotonic() < until:
        time.sleep(0.02)
    assert stub(channel, "HealthCheck")(pb.HealthCheckRequest()).active_tasks == count


@pytest.mark.parametrize("streams", [False, True])
def test_deadlines_and_cancellation_end_the_run(server, channel, streams):
    python(channel, "")
    before = settled(lambda: len(children(server.pid)))
    endless = call("python_wasi_runner", {"code": "print(1, flush=True)\nwhile True: pass"})
    method = stub(channel, "StreamExecuteTool" if streams else "ExecuteTool", streams=streams)
    if streams:
        assert refused(lambda: list(method(endless, timeout=0.5)))[0] == CODES.DEADLINE_EXCEEDED
    else:
        assert refused(lambda: method(endless, timeout=0.5))[0] == CODES.DEADLINE_EXCEEDED
    busy(server, channel, 0)
    running = method(endless) if streams else method.future(endless)
    busy(server, channel, 1)
    running.cancel()
    busy(server, channel, 0)
    with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as other:
        gone = stub(other, "ExecuteTool").future(endless)
        busy(server, channel, 1)
    assert gone.cancelled() or gone.exception() is not None
    busy(server, channel, 0)
    falls_to(before + 3, lambda: len(children(server.pid)))


def test_many_at_once(server, channel):
    def some(i):
        for j in range(10):
            assert output(python(channel, f"print({i}, {j})"))["stdout"] == f"{i} {j}\n"

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(some, range(16)))


def test_overload_is_told_with_a_hint(tmp_path):
    server = Server(tmp_path, "--max-running", "1", "--max-queued", "1", grpc=True)
    with grpc.insecure_channel(server.grpc) as channel:
        endless = call("python_wasi_runner", {"code": "while True: pass", "execution_timeout_ms": 3000})
        calls = [stub(channel, "ExecuteTool").future(endless) for _ in range(6)]
        errors = [e for e in (c.exception(60) for c in calls) if e is not None]
        assert errors and all(e.code() == CODES.RESOURCE_EXHAUSTED for e in errors)
        assert all(int(dict(e.trailing_metadata())["grpc-retry-pushback-ms"]) > 0 for e in errors)
    server.stop()


def test_connections_that_behave_badly_harm_nobody(server, channel):
    python(channel, "")
    before = settled(lambda: descriptors(server.front))
    host, port = server.grpc.rsplit(":", 1)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frame = lambda kind, flags, stream, data=b"": struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data  # noqa: E731
    settings = preface + frame(4, 0, 0)
    headers = frame(1, 4, 1, b"\x83\x86" + b"\x44\x2b/polyagent.agent.AgentService/ExecuteTool" + b"\x0f\x10\x10application/grpc")
    bad = [b"", b"GET / HTTP/1.1\r\n\r\n", preface, os.urandom(1000), settings + frame(9, 0, 1, b"\xff" * 50),
           settings + frame(0, 0, 1, b"x" * 100), settings + headers + frame(3, 0, 1, b"\0\0\0\x08"),
           settings + b"".join(frame(1, 5, 2 * i + 1, headers[9:]) + frame(3, 0, 2 * i + 1, b"\0\0\0\x08") for i in range(500)),
           settings + headers + frame(0, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 10000), settings + frame(6, 0, 0, b"12345678") * 1000]
    connections = []
    for data in bad + [b""] * 300:
        client = socket.create_connection((host, int(port)))
        try:
            client.sendall(data)
        except OSError:
            pass  # it has hung up already
        connections.append(client)
    assert output(python(channel, "print('well')"))["stdout"] == "well\n"
    for client in connections:
        client.close()
    falls_to(before + 3, lambda: descriptors(server.front))
    assert server.process.poll() is None


def test_connections_without_end_leave_room_for_runs(tmp_path):
    """Descriptors run out: who is connected is served, and new ones come again when others leave."""
    server = Server(tmp_path, grpc=True, http=True, env={"POLYAGENT_LOG": "info"}, limit_files=400)
    host, port = server.grpc.rsplit(":", 1)
    with grpc.insecure_channel(server.grpc) as channel:
        python(channel, "")
        idle = []
        for _ in range(600):
            idle.append(socket.create_connection((host, int(port)), timeout=10))
        assert output(python(channel, "print(1)"))["stdout"] == "1\n"
        for client in idle:
            client.close()
        settled(lambda: descriptors(server.front))
    with grpc.insecure_channel(server.grpc) as channel:
        assert output(python(channel, "print(2)"))["stdout"] == "2\n"
    server.stop()


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_nothing_is_unpacked(server, channel, compression):
    """What a message would be unpacked is told by its sender, and 300 MiB are 300 KiB: the specification's answer, and no memory."""
    before = peak_kib(server.front)
    for message in (field(1, b"\0" * (300 << 20)), call("python_wasi_runner", {"code": "print(1)" + "#" * 10000}).SerializeToString()):
        code, details = refused(lambda: stub(channel, "ExecuteTool", raw=True)(message, compression=compression))
        assert code == CODES.UNIMPLEMENTED and "is disabled" in details
    assert peak_kib(server.front) < before + (50 << 10)


def test_a_message_is_counted_while_it_comes(server, channel):
    """The library would read 4 GiB before it compared them with the limit of one message."""
    before = peak_kib(server.front)
    code, details = refused(lambda: stub(channel, "ExecuteTool", raw=True)(field(1, b"x" * (600 << 20))))
    assert code == CODES.RESOURCE_EXHAUSTED and details == "the message is too large"
    assert peak_kib(server.front) < before + (250 << 10)
    assert output(python(channel, "print(1)"))["stdout"] == "1\n"


def test_it_drains_at_its_end(tmp_path):
    """Runs are waited for, those who only watch are not."""
    server = Server(tmp_path, "--drain", "600", grpc=True)
    with grpc.insecure_channel(server.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        slow = stub(channel, "ExecuteTool").future(call("python_wasi_runner", {"code": "import time; time.sleep(1.5); print('done')"}))
        busy(server, channel, 1)
        server.stop()
        assert output(slow.result(10))["stdout"] == "done\n"


def test_tasks_that_need_no_model(channel):
    for package in ("polyagent.agent", "shannon.agent"):
        request = pb.ExecuteTaskRequest(query="run it", metadata=pb.TaskMetadata(task_id="t-1"))
        request.context.update({"tool_parameters": {"tool": "python_wasi_runner", "code": "print(input())", "stdin": "in"}})
        done = stub(channel, "ExecuteTask", package)(request)
        assert (done.task_id, done.status, done.result, done.final_state) == ("t-1", pb.STATUS_CODE_OK, "in\n", pb.AGENT_STATE_COMPLETED)
        assert done.tool_calls[0].name == "python_wasi_runner" and json_format.MessageToDict(done.tool_results[0].output)["stdout"] == "in\n"
    done = stub(channel, "ExecuteTask")(pb.ExecuteTaskRequest(query="Use python_wasi_runner to execute: while True: pass", context={
        "tool_parameters": {"tool": "python_wasi_runner", "code": "while True: pass", "execution_timeout_ms": 200}}))
    assert done.status == pb.STATUS_CODE_TIMEOUT and done.error_message.startswith("Execution timeout")
    updates = list(stub(channel, "StreamExecuteTask", streams=True)(pb.ExecuteTaskRequest(
        query="use python_wasi_runner to run:\n```python\nprint(1)\n```")))
    assert [bool(u.tool_call.name) for u in updates] == [True, False, False]
    assert updates[1].tool_result.status == pb.STATUS_CODE_OK and updates[2].message == "1\n"
    assert refused(lambda: stub(channel, "ExecuteTask")(pb.ExecuteTaskRequest(query="What is 2 + 2?")))[0] == CODES.INVALID_ARGUMENT
    code, details = refused(lambda: stub(channel, "ExecuteTask")(pb.ExecuteTaskRequest(query="Use nope to execute: x")))
    assert code == CODES.NOT_FOUND and "nope" in details


def test_a_session_by_the_field_of_the_message(channel):
    execute = stub(channel, "ExecuteTool")
    session = json_format.MessageToDict(execute(call("session_open", {})).output)["session_id"]
    turn = lambda code: json_format.MessageToDict(execute(call("python_wasi_runner", {"code": code}, session_id=session)).output)  # noqa: E731
    assert turn("x = 6")["session_state"] == "kept" and turn("x * 7")["result"] == "42"
    updates = list(stub(channel, "StreamExecuteTool", streams=True)(call("python_wasi_runner", {"code": "print(x)\nx"}, session_id=session)))
    assert updates[0].stdout == b"6\n" and json_format.MessageToDict(updates[-1].result.output)["result"] == "6"
    execute(call("session_close", {"session_id": session}))
    assert refused(lambda: execute(call("python_wasi_runner", {"code": "x"}, session_id=session)))[0] == CODES.NOT_FOUND
