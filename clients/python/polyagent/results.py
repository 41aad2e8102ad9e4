"""What comes back, as the server's contract names it."""
from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from google.protobuf.json_format import MessageToDict

from . import agent_pb2 as pb


@dataclass(frozen=True)
class Error:
    """Why a run was stopped; `code` as Result.status."""

    code: str
    message: str
    backtrace: str = ""


@dataclass(frozen=True)
class Usage:
    """Times in milliseconds, sizes in bytes; `cache` is hit or miss."""

    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    queue_ms: float = 0.0
    start_ms: float = 0.0
    fuel: int = 0
    peak_memory_bytes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    cache: str = "miss"


@dataclass(frozen=True)
class Artifact:
    """A file that the program left in /output, or a figure."""

    name: str
    mime: str
    data: bytes


@dataclass(frozen=True)
class Result:
    """A run that has ended. `status` is OK whatever the exit code; TIMEOUT, MEMORY_LIMIT, FUEL_EXHAUSTED, OUTPUT_LIMIT
    or TRAP where the run was stopped, and then `error` says why."""

    status: str
    exit_code: int
    stdout: str
    stderr: str
    error: Optional[Error]
    usage: Usage
    isolation: List[str]
    module_sha256: str
    request_id: str
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""
    artifacts: List[Artifact] = field(default_factory=list)
    value: Optional[str] = None  # the last expression's, as repr() shows it
    session_id: Optional[str] = None
    session_state: Optional[str] = None  # kept, unchanged or restarted
    raw: Dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """It ran to its end and exited with 0."""
        return self.status == "OK" and self.exit_code == 0


@dataclass(frozen=True)
class Chunk:
    """What a program wrote; `stream` is stdout or stderr."""

    stream: str
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")


@dataclass(frozen=True)
class SessionInfo:
    """A session as the server sees it; times in seconds. `checkpoints` are ids that rollback() takes."""

    session_id: str
    language: str
    parent: Optional[str]
    state: str
    turns: int
    memory_bytes: int
    workspace_bytes: int
    age_seconds: float
    idle_seconds: float
    checkpoints: List[str]


@dataclass(frozen=True)
class Tool:
    """A tool, and the JSON schema of its parameters."""

    name: str
    description: str
    input_schema: Dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A task that has ended: the answer in `result`, or why there is none in `error_message`."""

    task_id: str
    status: str
    result: str
    error_message: str
    tool_results: List[Dict[str, Any]]


def _bytes_of(output: Dict[str, Any], name: str) -> bytes:
    encoded = output.get(name + "_base64")
    return base64.b64decode(encoded) if encoded is not None else output.get(name, "").encode()


def _known(kind: type, values: Dict[str, Any]) -> Dict[str, Any]:
    return {name: values[name] for name in kind.__dataclass_fields__ if name in values}  # type: ignore[attr-defined]


def result_of(response: pb.ToolCallResponse) -> Result:
    output = MessageToDict(response.output)
    usage = _known(Usage, output.get("usage", {}))
    for name in ("fuel", "peak_memory_bytes", "stdout_bytes", "stderr_bytes"):
        usage[name] = int(usage.get(name, 0))
    error = output.get("error")
    return Result(status=output.get("status", ""), exit_code=int(output.get("exit_code", 0)),
                  stdout=output.get("stdout", ""), stderr=output.get("stderr", ""),
                  error=Error(**_known(Error, error)) if error else None, usage=Usage(**usage),
                  isolation=list(output.get("isolation", [])), module_sha256=output.get("module_sha256", ""),
                  request_id=response.request_id, stdout_truncated=output.get("stdout_truncated", False),
                  stderr_truncated=output.get("stderr_truncated", False), stdout_bytes=_bytes_of(output, "stdout"),
                  stderr_bytes=_bytes_of(output, "stderr"),
                  artifacts=[Artifact(a["name"], a["mime"], base64.b64decode(a["bytes_base64"]))
                             for a in output.get("artifacts", [])],
                  value=output.get("result"), session_id=output.get("session_id"),
                  session_state=output.get("session_state"), raw=output)


def info_of(output: Dict[str, Any]) -> SessionInfo:
    return SessionInfo(output["session_id"], output["language"], output.get("parent"), output["state"], int(output["turns"]),
                       int(output["memory_bytes"]), int(output["workspace_bytes"]), output["age_seconds"],
                       output["idle_seconds"], [c["checkpoint_id"] for c in output.get("checkpoints", [])])


def tool_of(capability: pb.ToolCapability) -> Tool:
    return Tool(capability.name, capability.description, MessageToDict(capability.input_schema))


def task_of(response: pb.ExecuteTaskResponse) -> Task:
    return Task(response.task_id, pb.StatusCode.Name(response.status).replace("STATUS_CODE_", ""), response.result,
                response.error_message, [MessageToDict(r) for r in response.tool_results])
