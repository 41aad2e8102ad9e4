"""Promise: every interface shows the ceilings that hold: what a schema allows is taken, what is beyond it is refused."""
import json
import sys

import grpc
import pytest
from google.protobuf import json_format
from program import ROOT, run
from server import Server

sys.path.insert(0, str(ROOT / "clients" / "python"))
from polyagent import agent_pb2 as pb  # noqa: E402

CEILINGS = {"memory_limit_bytes": 600 << 20, "max_fuel": 5_000_000_000, "execution_timeout_ms": 45_000, "cpu_time_ms": 44_000, "output_limit_bytes": 3 << 20}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    env = {f"POLYAGENT_WASI_CEILINGS_{name.upper()}": str(value) for name, value in CEILINGS.items()}
    server = Server(tmp_path_factory.mktemp("schemas"), http=True, grpc=True, env={**env, "POLYAGENT_WASI_EXECUTION_TIMEOUT_MS": "20000"})
    yield server
    server.stop()


def listed(server):
    yield from ((t["name"], t["input_schema"]) for t in server.ask("GET", "/tools/list")[1]["tools"])
    calls = server.ask("GET", "/openapi.json")[1]["components"]["schemas"]["ToolCall"]["oneOf"]
    yield from ((c["properties"]["tool"]["const"], c["properties"]["parameters"]) for c in calls)
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    yield from ((t["name"], t["inputSchema"]) for t in server.ask("POST", "/mcp", listing)[1]["result"]["tools"])
    with grpc.insecure_channel(server.grpc) as channel:
        get = channel.unary_unary("/polyagent.agent.AgentService/GetToolCapability", pb.GetToolCapabilityRequest.SerializeToString, pb.GetToolCapabilityResponse.FromString)
        yield "python_wasi_runner", json_format.MessageToDict(get(pb.GetToolCapabilityRequest(tool_id="python_wasi_runner"), timeout=30).tool.input_schema)


def test_each_list_shows_what_holds(server):
    seen = []
    for name, schema in listed(server):
        properties = schema.get("properties", {})
        for limit, ceiling in CEILINGS.items():
            if limit in properties:
                assert properties[limit]["maximum"] == ceiling, (name, limit)
                seen.append((name, limit))
        if "execution_timeout_ms" in properties:
            assert properties["execution_timeout_ms"]["default"] == 20_000, name
    assert seen.count(("python_wasi_runner", "memory_limit_bytes")) == 4 and ("code_executor", "max_fuel") in seen


@pytest.mark.parametrize("limit", CEILINGS)
def test_what_is_shown_is_taken_and_no_more(server, limit):
    call = lambda value: server.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": "1", limit: value}})[1]  # noqa: E731
    assert call(CEILINGS[limit])["status"] == "OK"
    refused = call(CEILINGS[limit] + 1)
    assert refused["status"] == "INVALID_ARGUMENT" and limit in refused["error"]["message"]


def test_the_users_own_machine_has_no_ceilings():
    tools = {t["name"]: t["input_schema"]["properties"] for t in json.loads(run("tool", "--list").out)["tools"]}
    assert tools["python_wasi_runner"]["execution_timeout_ms"]["maximum"] == 86_400_000
