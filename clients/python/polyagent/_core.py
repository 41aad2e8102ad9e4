"""What the two clients share: the connection's settings, and calls as messages."""
from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

import grpc

from . import agent_pb2 as pb
from .errors import InvalidArgument

SERVICE = "/polyagent.agent.AgentService/"
MAX_MESSAGE_BYTES = 128 << 20


@dataclass(frozen=True)
class Connection:
    """Where the server is and how to reach it. `root_certificates`, `private_key` and `certificate_chain` are PEM; any of
    them makes the connection TLS, as does `tls`. Without TLS a token would go in clear, which is refused where the target
    is not this machine, unless `allow_token_in_clear`."""

    target: str = "localhost:50051"
    token: Optional[str] = field(default=None, repr=False)
    tls: bool = False
    root_certificates: Optional[bytes] = field(default=None, repr=False)
    private_key: Optional[bytes] = field(default=None, repr=False)
    certificate_chain: Optional[bytes] = field(default=None, repr=False)
    allow_token_in_clear: bool = False

    def __post_init__(self) -> None:
        if self.token and not self.is_secure and not self.allow_token_in_clear and not is_local(self.target):
            raise InvalidArgument(f"{self.target}: the token would go in clear; set tls or root_certificates, or allow_token_in_clear=True")

    @property
    def is_secure(self) -> bool:
        return self.tls or self.root_certificates is not None or self.private_key is not None

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)

    def metadata(self) -> Sequence[Tuple[str, str]]:
        return (("authorization", "Bearer " + self.token),) if self.token else ()


def is_local(target: str) -> bool:
    """Whether a target (gRPC's name syntax) is on this machine."""
    for prefix in ("unix:", "unix-abstract:"):
        if target.startswith(prefix):
            return True
    for prefix in ("dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(prefix)
    target = target.rsplit("/", 1)[-1]
    host = target[1:].partition("]")[0] if target.startswith("[") else target.rsplit(":", 1)[0]
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


OPTIONS = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]

# name -> (request, response, streams)
METHODS = {
    "ExecuteTool": (pb.ToolCallRequest, pb.ToolCallResponse, False),
    "StreamExecuteTool": (pb.ToolCallRequest, pb.ToolCallUpdate, True),
    "ExecuteTask": (pb.ExecuteTaskRequest, pb.ExecuteTaskResponse, False),
    "DiscoverTools": (pb.DiscoverToolsRequest, pb.DiscoverToolsResponse, False),
    "HealthCheck": (pb.HealthCheckRequest, pb.HealthCheckResponse, False),
    "GetCapabilities": (pb.GetCapabilitiesRequest, pb.GetCapabilitiesResponse, False),
}


def stubs(channel: Any) -> Dict[str, Any]:
    made = {}
    for name, (request, response, streams) in METHODS.items():
        kind = channel.unary_stream if streams else channel.unary_unary
        made[name] = kind(SERVICE + name, request_serializer=request.SerializeToString,
                          response_deserializer=response.FromString)
    return made


def tool_request(tool: str, parameters: Mapping[str, Any], request_id: Optional[str]) -> pb.ToolCallRequest:
    request = pb.ToolCallRequest(tool_name=tool, request_id=request_id or "")
    request.parameters.update({key: value for key, value in parameters.items() if value is not None})
    return request


def python_parameters(code: str, **more: Any) -> Dict[str, Any]:
    return {"code": code, **shared(**more)}


def wasm_parameters(module: Union[bytes, str, os.PathLike], **more: Any) -> Dict[str, Any]:
    """Bytes are a module, a PathLike is a file here, a text is a name in the server's registry."""
    if isinstance(module, str):
        named: Dict[str, Any] = {"module": module}
    else:
        data = module if isinstance(module, (bytes, bytearray)) else open(module, "rb").read()
        named = {"wasm_base64": base64.b64encode(data).decode()}
    return {**named, **shared(**more)}


def shared(*, stdin: Optional[str] = None, argv: Optional[Sequence[str]] = None, env: Optional[Mapping[str, str]] = None,
           timeout: Optional[float] = None, memory_limit_bytes: Optional[int] = None, max_fuel: Optional[int] = None,
           output_limit_bytes: Optional[int] = None, deterministic: Optional[bool] = None, seed: Optional[int] = None,
           interpreter: Optional[str] = None, packages: Optional[Sequence[str]] = None, stdin_stream: Optional[bool] = None,
           stderr_to_stdout: Optional[bool] = None,
           files: Optional[Mapping[str, Union[str, bytes]]] = None) -> Dict[str, Any]:
    return {"stdin": stdin, "argv": list(argv) if argv is not None else None,
            "env": dict(env) if env is not None else None,
            "execution_timeout_ms": int(timeout * 1000) if timeout is not None else None,
            "memory_limit_bytes": memory_limit_bytes, "max_fuel": max_fuel, "output_limit_bytes": output_limit_bytes,
            "deterministic": deterministic, "seed": seed, "interpreter": interpreter,
            "packages": list(packages) if packages is not None else None, "stdin_stream": stdin_stream,
            "stderr_to_stdout": stderr_to_stdout, "files": files_of(files) if files is not None else None}


def files_of(files: Mapping[str, Union[str, bytes]]) -> Dict[str, Any]:
    return {path: data if isinstance(data, str) else {"base64": base64.b64encode(data).decode()}
            for path, data in files.items()}


def task_request(query: str, tool_parameters: Optional[Mapping[str, Any]]) -> pb.ExecuteTaskRequest:
    request = pb.ExecuteTaskRequest(query=query)
    if tool_parameters is not None:
        request.context.update({"tool_parameters": dict(tool_parameters)})
    return request
