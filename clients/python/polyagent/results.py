"""What comes back, as the server's contract names it."""
from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from google.protobuf.json_format import MessageToDict

from . import agent_pb2 as pb
from .errors import reads_answers


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


def text_in(answer: Dict[str, Any], name: str, default: Optional[str] = "") -> Any:
    value = answer.get(name, default)
    if value is not default and not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def flag_in(answer: Dict[str, Any], name: str) -> bool:
    return bool(answer.get(name, False))


def list_in(answer: Dict[str, Any], name: str) -> List[Any]:
    value = answer.get(name, [])
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return value


def _bytes_of(output: Dict[str, Any], name: str) -> bytes:
    encoded = text_in(output, name + "_base64", None)
    return base64.b64decode(encoded, validate=True) if encoded is not None else text_in(output, name).encode()


def _numbers(kind: type, values: Dict[str, Any]) -> Dict[str, Any]:
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: float(values[name]) if field.type == "float" else int(values[name])
            for name, field in fields.items() if name in values and field.type in ("float", "int")}


def _usage_of(values: Dict[str, Any]) -> Usage:
    return Usage(**_numbers(Usage, values), cache=text_in(values, "cache", "miss"))


def _error_of(values: Optional[Dict[str, Any]]) -> Optional[Error]:
    return Error(text_in(values, "code"), text_in(values, "message"), text_in(values, "backtrace")) if values else None


def _artifact_of(values: Dict[str, Any]) -> Artifact:
    """Its name is a path below /output, and may be used as one below some folder here."""
    name = text_in(values, "name")
    if not name or any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or not name.isprintable():
        raise ValueError(f"an artifact may not be named {name!r:.100}")
    return Artifact(name, text_in(values, "mime"), base64.b64decode(text_in(values, "bytes_base64"), validate=True))


@reads_answers
def result_of(response: pb.ToolCallResponse) -> Result:
    output = MessageToDict(response.output)
    return Result(status=text_in(output, "status"), exit_code=int(output.get("exit_code", 0)),
                  stdout=text_in(output, "stdout"), stderr=text_in(output, "stderr"),
                  error=_error_of(output.get("error")), usage=_usage_of(output.get("usage", {})),
                  isolation=[str(layer) for layer in list_in(output, "isolation")], module_sha256=text_in(output, "module_sha256"),
                  request_id=response.request_id, stdout_truncated=flag_in(output, "stdout_truncated"),
                  stderr_truncated=flag_in(output, "stderr_truncated"), stdout_bytes=_bytes_of(output, "stdout"),
                  stderr_bytes=_bytes_of(output, "stderr"),
                  artifacts=[_artifact_of(values) for values in list_in(output, "artifacts")],
                  value=text_in(output, "result", None), session_id=text_in(output, "session_id", None),
                  session_state=text_in(output, "session_state", None), raw=output)


@reads_answers
def info_of(output: Dict[str, Any]) -> SessionInfo:
    return SessionInfo(text_in(output, "session_id"), text_in(output, "language"), text_in(output, "parent", None),
                       text_in(output, "state"), int(output["turns"]), int(output["memory_bytes"]), int(output["workspace_bytes"]),
                       float(output["age_seconds"]), float(output["idle_seconds"]),
                       [text_in(c, "checkpoint_id") for c in list_in(output, "checkpoints")])


@reads_answers
def infos_of(output: Dict[str, Any]) -> List[SessionInfo]:
    return [info_of(info) for info in output["sessions"]]


@reads_answers
def name_in(output: Dict[str, Any], key: str) -> str:
    """One that must be there."""
    name = output[key]
    if not isinstance(name, str) or not name:
        raise TypeError(f"{key} is no name")
    return name


@reads_answers
def file_of(output: Dict[str, Any]) -> bytes:
    encoded = text_in(output, "text_base64", None)
    return base64.b64decode(encoded, validate=True) if encoded is not None else output["text"].encode()


@reads_answers
def sizes_of(output: Dict[str, Any]) -> Dict[str, int]:
    return {str(file["path"]): int(file["bytes"]) for file in list_in(output, "files")}


@reads_answers
def tool_of(capability: pb.ToolCapability) -> Tool:
    return Tool(capability.name, capability.description, MessageToDict(capability.input_schema))


@reads_answers
def task_of(response: pb.ExecuteTaskResponse) -> Task:
    return Task(response.task_id, pb.StatusCode.Name(response.status).replace("STATUS_CODE_", ""), response.result,
                response.error_message, [MessageToDict(r) for r in response.tool_results])
