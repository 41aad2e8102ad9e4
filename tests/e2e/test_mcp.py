"""Promise: the official MCP client works with `polyagent mcp` and with /mcp, in the current revision and in those before."""
import asyncio
import base64
import http.client
import json
import os
import subprocess
import sys
import time

import pytest
from mcp import MCPError, StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from program import POLYAGENT
from server import Server, children, settled

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
MODES = ["auto", "legacy"]  # revision 2026-07-28, and the handshake of 2025-11-25


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("mcp"), http=True)
    yield server
    server.stop()


def stdio(*options):
    return stdio_client(StdioServerParameters(command=str(POLYAGENT), args=["mcp", *options], env=dict(os.environ)),
                        errlog=open(os.devnull, "w"))


async def use(client):
    """What every transport and revision has to give."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) >= {"code_executor", "python_wasi_runner", "javascript_wasi_runner"}
    assert tools["python_wasi_runner"].input_schema["required"] == ["code"] and tools["code_executor"].title
    assert tools["python_wasi_runner"].annotations.destructive_hint is False
    result = await client.call_tool("python_wasi_runner", {"code": "print(input())", "stdin": "hé"})
    assert not result.is_error and result.content[0].text == "hé\n"
    assert result.structured_content["status"] == "OK" and "seccomp" in result.structured_content["isolation"]
    result = await client.call_tool("python_wasi_runner", {"code": "1 / 0"})
    assert result.is_error and "ZeroDivisionError" in result.content[0].text and result.structured_content["exit_code"] == 1
    result = await client.call_tool("python_wasi_runner", {"code": "print('before', flush=True)\nwhile True: pass",
                                                           "execution_timeout_ms": 200})
    assert result.is_error and [c.text.split(":")[0] for c in result.content] == ["before\n", "Execution timeout"]
    result = await client.call_tool("python_wasi_runner", {"code": "", "stdn": ""})
    assert result.is_error and "did you mean stdin?" in result.content[0].text
    result = await client.call_tool("python_wasi_runner", {"code": f"open('/output/dot.png', 'wb').write({PNG!r})\nopen('/output/t.csv', 'w').write('1,2')"})
    (image,) = [c for c in result.content if c.type == "image"]
    assert image.mime_type == "image/png" and base64.b64decode(image.data) == PNG and len(result.structured_content["artifacts"]) == 2
    opened = await client.call_tool("session_open", {})
    turn = {"session_id": opened.structured_content["session_id"]}
    assert not opened.is_error and turn["session_id"] in opened.content[0].text
    await client.call_tool("python_wasi_runner", {"code": "x = 6", **turn})
    result = await client.call_tool("python_wasi_runner", {"code": "x * 7", **turn})
    assert [c.text for c in result.content] == ["42"] and result.structured_content["session_state"] == "kept"
    assert not (await client.call_tool("session_close", turn)).is_error
    assert "has ended" in (await client.call_tool("session_info", turn)).content[0].text
    with pytest.raises(MCPError, match="no such tool"):
        await client.call_tool("nope", {})
    seen = []

    async def progress(count, total, message):
        seen.append((count, message))

    result = await client.call_tool("python_wasi_runner", {
        "code": "import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(.1)"}, progress_callback=progress)
    assert result.content[0].text == "0\n1\n2\n" == "".join(m for _, m in seen) and [c for c, _ in seen] == [1, 2, 3]


def run(client, what=use):
    async def go():
        async with client as c:
            await what(c)

    asyncio.run(asyncio.wait_for(go(), 60))


@pytest.mark.parametrize("mode", MODES)
def test_on_stdio(mode, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYAGENT_SOCKET", str(tmp_path / "none"))  # without a server it has a supervisor of its own
    run(Client(stdio(), mode=mode))


def test_on_stdio_by_a_running_server(server, monkeypatch):
    monkeypatch.setenv("POLYAGENT_SOCKET", str(server.socket))
    run(Client(stdio()))


@pytest.mark.parametrize("mode", MODES)
def test_over_http(server, mode):
    run(Client(f"{server.base}/mcp", mode=mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_cancellation_ends_the_run(server, monkeypatch, mode, transport):
    monkeypatch.setenv("POLYAGENT_SOCKET", str(server.socket))
    before = settled(lambda: len(children(server.pid)))

    async def cancelled(client):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.call_tool("python_wasi_runner", {"code": "while True: pass"}), 1)
        result = await client.call_tool("python_wasi_runner", {"code": "print('goes on')"})
        assert result.content[0].text == "goes on\n"
        until = time.monotonic() + 20
        while len(children(server.pid)) > before + 3 and time.monotonic() < until:
            await asyncio.sleep(0.1)
        assert len(children(server.pid)) <= before + 3

    run(Client(stdio() if transport == "stdio" else f"{server.base}/mcp", mode=mode), cancelled)


def exchange(*messages, options=("--local",), env=None):
    lines = "".join(m if isinstance(m, str) else json.dumps(m) + "\n" for m in messages)
    done = subprocess.run([POLYAGENT, "mcp", *options], input=lines, capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def request(id, method, **params):
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}


def test_messages_that_are_none():
    answers = exchange("{\n", "[]\n", "5\n", "\n", '{"jsonrpc": "1.0", "id": 1, "method": "ping"}\n',
                       {"jsonrpc": "2.0", "id": {}, "method": "ping"}, {"jsonrpc": "2.0", "id": 2},
                       request(3, "nope"), request(4, "tools/call"), request(5, "tools/call", name=5),
                       request(6, "tools/call", name="python_wasi_runner", arguments=[]),
                       {"jsonrpc": "2.0", "id": 7, "result": {}}, {"jsonrpc": "2.0", "method": "notifications/whatever"},
                       {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
                       request(8, "ping"), request(9, "server/discover", _meta={**MODERN["_meta"], "io.modelcontextprotocol/protocolVersion": "2099-01-01"}),
                       request(10, "server/discover", _meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"}))
    assert [(a.get("id"), a.get("error", {}).get("code")) for a in answers] == [
        (None, -32700), (None, -32600), (None, -32600), (None, -32600), (None, -32600), (2, -32600), (3, -32601), (4, -32602),
        (5, -32602), (6, -32602), (8, None), (9, -32022), (10, -32602)]
    assert answers[11]["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


def test_calls_of_one_client_run_side_by_side_and_are_finished_at_its_end(tmp_path):
    source = tmp_path / "in"  # a file: it cannot be waited for
    calls = [request(i, "tools/call", name="python_wasi_runner", arguments={
        "code": f"import time; time.sleep({1 if i == 0 else 0}); print({i})"}) for i in range(5)]
    source.write_text("\n".join(json.dumps(c) for c in calls))
    with open(source) as lines:
        done = subprocess.run([POLYAGENT, "mcp", "--local"], stdin=lines, capture_output=True, text=True, timeout=60)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[-1]["id"] == 0 and sorted(a["id"] for a in answers) == [0, 1, 2, 3, 4]
    assert all(a["result"]["structuredContent"]["stdout"] == f"{a['id']}\n" for a in answers)


def test_a_line_that_is_too_long_is_refused_and_the_next_is_not():
    answers = exchange("x" * (80 << 20) + "\n", request(1, "ping"))
    assert [(a.get("id"), a.get("error", {}).get("code")) for a in answers] == [(None, -32600), (1, None)]


def post(server, body, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/mcp", body if isinstance(body, (str, bytes)) else json.dumps(body), {
        "Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


def test_http_says_what_the_transport_wants(server):
    answer = post(server, request(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "t", "version": "1"}))
    assert answer.status == 200 and json.loads(answer.text)["result"]["protocolVersion"] == "2025-06-18"
    assert len(answer.headers["Mcp-Session-Id"]) == 32
    assert post(server, {"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 202
    assert post(server, "{").status == 400 and post(server, []).status == 400
    for method, status in (("GET", 405), ("DELETE", 204), ("PUT", 405)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request(method, "/mcp")
        assert connection.getresponse().status == status
        connection.close()
    named = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
    assert post(server, request(1, "tools/list", **MODERN), **named).status == 200
    for headers in ({}, {**named, "Mcp-Method": "tools/call"}, {**named, "MCP-Protocol-Version": "2025-11-25"}):
        wrong = post(server, request(1, "tools/list", **MODERN), **headers)
        assert (wrong.status, json.loads(wrong.text)["error"]["code"]) == (400, -32020)
    unknown = post(server, request(1, "nope", **MODERN), **{**named, "Mcp-Method": "nope"})
    assert (unknown.status, json.loads(unknown.text)["error"]["code"]) == (404, -32601)


@pytest.mark.parametrize("headers, status", [
    ({"Accept": "text/plain"}, 406), ({"Accept": "text/event-stream"}, 406), ({"Accept": "*/*"}, 200), ({"Accept": "text/html, application/*;q=0.5"}, 200),
    ({"Accept": "APPLICATION/JSON"}, 200), ({"Accept": "application/jsonp"}, 406), ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415), ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ({"MCP-Protocol-Version": "1999-01-01"}, 400), ({"MCP-Protocol-Version": ""}, 400), ({"MCP-Protocol-Version": "2025-03-26"}, 200),
    ({"Mcp-Session-Id": "x"}, 404), ({"Mcp-Session-Id": "0" * 33}, 404), ({"Mcp-Session-Id": "x" * 8000}, 404), ({"Mcp-Session-Id": "0a" * 16}, 200)])
def test_headers_are_the_transports(server, headers, status):
    answer = post(server, request(1, "ping"), **headers)
    assert answer.status == status
    if status != 200:
        assert json.loads(answer.text)["error"]["message"].startswith(tuple(headers))


@pytest.mark.parametrize("token", [1.5, None, [1], {"a": 1}, True, "t" * 257])
def test_progress_tokens_are_short_and_plain(server, token):
    call = request(1, "tools/call", name="python_wasi_runner", arguments={"code": "print(1, flush=True)"}, _meta={"progressToken": token})
    answer = json.loads(post(server, call).text)
    assert answer["error"]["code"] == -32602 and "progressToken" in answer["error"]["message"]
    answers = exchange(call, {**call, "id": 2, "params": {**call["params"], "_meta": {"progressToken": "t" * 256}}})
    assert answers[0]["error"]["code"] == -32602 and answers[-1]["result"]["isError"] is False


def test_pages_from_elsewhere_are_refused(server):
    assert post(server, request(1, "ping"), Origin="http://evil.example").status == 403
    assert post(server, request(1, "ping"), Origin="http://127.0.0.1.evil.example").status == 403
    assert post(server, request(1, "ping"), Origin="http://localhost:3000").status == 200


def test_ids_of_one_session_do_not_cancel_those_of_another(server):
    call = request(7, "tools/call", name="python_wasi_runner", arguments={"code": "import time; time.sleep(1); print('kept')"})
    process = subprocess.Popen([sys.executable, "-c", f"""
import http.client, json
c = http.client.HTTPConnection('127.0.0.1', {server.port}, timeout=60)
c.request('POST', '/mcp', {json.dumps(call)!r}, {{'Mcp-Session-Id': '1' * 32}})
print(json.loads(c.getresponse().read())['result']['content'][0]['text'])"""], stdout=subprocess.PIPE, text=True)
    time.sleep(0.4)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    assert post(server, cancel, **{"Mcp-Session-Id": "2" * 32}).status == 202
    assert process.communicate(timeout=60)[0] == "kept\n\n"
