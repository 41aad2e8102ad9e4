"""Promise: the server does what its OpenAPI document says, for whatever schemathesis makes of it."""
import subprocess

from program import ROOT
from server import Server

SCHEMATHESIS = ROOT / "build" / "venv" / "bin" / "schemathesis"


def test_schemathesis_finds_nothing(tmp_path):
    server = Server(tmp_path, http=True, env={"POLYAGENT_WASI_EXECUTION_TIMEOUT_MS": "500", "POLYAGENT_WASI_CEILINGS_EXECUTION_TIMEOUT_MS": "1000"})
    for language in ("python", "javascript", "ruby"):  # it waits 10 seconds at most, and compiling takes longer
        server.ask("POST", "/tools/execute", {"tool": f"{language}_wasi_runner", "parameters": {"code": ""}})
    done = subprocess.run([SCHEMATHESIS, "run", f"{server.base}/openapi.json", "--phases", "examples,coverage,fuzzing", "--max-examples", "60",
                           "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
                           "response_headers_conformance,unsupported_method", "--seed", "7"],
                          capture_output=True, text=True, cwd=tmp_path, timeout=280)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-6000:] + done.stderr[-1000:]
    server.stop()
