"""The client that blocks."""
from __future__ import annotations

import os
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Union

import grpc

from . import _core
from . import agent_pb2 as pb
from .errors import from_rpc
from ._session import Files, Session, open_parameters
from .results import Chunk, Result, SessionInfo, Task, Tool, infos_of, name_in, result_of, task_of, tool_of


class Client:
    """A connection to a server; thread-safe. `deadline`, in seconds, bounds a call with all its waiting: when it passes,
    the server ends the run."""

    def __init__(self, target: Union[str, _core.Connection] = "localhost:50051", *, token: Optional[str] = None):
        self._connection = target if isinstance(target, _core.Connection) else _core.Connection(target, token)
        at = self._connection.target
        self._channel = (grpc.secure_channel(at, self._connection.credentials(), _core.OPTIONS)
                         if self._connection.is_secure else grpc.insecure_channel(at, _core.OPTIONS))
        self._stubs = _core.stubs(self._channel)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _call(self, method: str, request: Any, deadline: Optional[float] = None) -> Any:
        try:
            return self._stubs[method](request, timeout=deadline, metadata=self._connection.metadata())
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    def execute(self, tool: str, parameters: Mapping[str, Any], *, request_id: Optional[str] = None,
                deadline: Optional[float] = None) -> Result:
        """Calls a tool by its name."""
        return result_of(self._call("ExecuteTool", _core.tool_request(tool, parameters, request_id), deadline))

    def stream(self, tool: str, parameters: Mapping[str, Any], *, request_id: Optional[str] = None,
               deadline: Optional[float] = None) -> Iterator[Union[Chunk, Result]]:
        """The same: each Chunk as it is written, then the Result. Closing the iterator ends the run."""
        call = self._call("StreamExecuteTool", _core.tool_request(tool, parameters, request_id), deadline)
        try:
            for update in call:
                kind = update.WhichOneof("update")
                if kind is None:
                    continue  # of a server that is newer
                yield result_of(update.result) if kind == "result" else Chunk(kind, getattr(update, kind))
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        finally:
            call.cancel()

    def run_python(self, code: str, *, deadline: Optional[float] = None, **more: Any) -> Result:
        """Runs Python in a fresh interpreter. Beside stdin, argv and env there are limits: timeout (seconds),
        memory_limit_bytes, max_fuel, output_limit_bytes; deterministic and seed; interpreter; and files for
        /workspace, where it starts: paths to texts or bytes."""
        return self.execute("python_wasi_runner", _core.python_parameters(code, **more), deadline=deadline)

    def stream_python(self, code: str, *, deadline: Optional[float] = None, **more: Any) -> Iterator[Union[Chunk, Result]]:
        return self.stream("python_wasi_runner", _core.python_parameters(code, **more), deadline=deadline)

    def session(self, language: str = "python", *, packages: Sequence[str] = (),
                files: Optional[Files] = None, **more: Any) -> Session:
        """Opens a session. `packages`, such as numpy, are what its programs import; memory_limit_bytes and other limits
        hold for all of its runs."""
        made = self.execute("session_open", open_parameters(language, packages, files, more))
        return Session(self, name_in(made.raw, "session_id"), language)

    def sessions(self) -> List[SessionInfo]:
        """Yours, as the server knows you."""
        return infos_of(self.execute("session_list", {}).raw)

    def run_wasm(self, module: Union[bytes, str, os.PathLike], *, deadline: Optional[float] = None, **more: Any) -> Result:
        """Runs a WASI module: its bytes, a file (a Path), or its name in the server's registry (a str)."""
        return self.execute("code_executor", _core.wasm_parameters(module, **more), deadline=deadline)

    def task(self, query: str, *, tool_parameters: Optional[Mapping[str, Any]] = None,
             deadline: Optional[float] = None) -> Task:
        """Does a task in words, or the tool call {"tool": NAME, ...}."""
        return task_of(self._call("ExecuteTask", _core.task_request(query, tool_parameters), deadline))

    def tools(self) -> List[Tool]:
        return [tool_of(tool) for tool in self._call("DiscoverTools", pb.DiscoverToolsRequest()).tools]

    def health(self) -> bool:
        """Whether the server takes runs."""
        return self._call("HealthCheck", pb.HealthCheckRequest()).healthy
