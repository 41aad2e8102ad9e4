"""The client for asyncio."""
from __future__ import annotations

import os
from typing import Any, AsyncIterator, List, Mapping, Optional, Sequence, Union

import grpc
import grpc.aio

from . import _core
from . import agent_pb2 as pb
from .errors import from_rpc
from ._session import AsyncSession, Files, open_parameters
from .results import Chunk, Result, SessionInfo, Task, Tool, infos_of, name_in, result_of, task_of, tool_of


class AsyncClient:
    """As Client, with await. Cancelling a call ends its run."""

    def __init__(self, target: Union[str, _core.Connection] = "localhost:50051", *, token: Optional[str] = None):
        self._connection = target if isinstance(target, _core.Connection) else _core.Connection(target, token)
        at = self._connection.target
        self._channel = (grpc.aio.secure_channel(at, self._connection.credentials(), _core.OPTIONS)
                         if self._connection.is_secure else grpc.aio.insecure_channel(at, _core.OPTIONS))
        self._stubs = _core.stubs(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _call(self, method: str, request: Any, deadline: Optional[float] = None) -> Any:
        try:
            return await self._stubs[method](request, timeout=deadline, metadata=self._connection.metadata())
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    async def execute(self, tool: str, parameters: Mapping[str, Any], *, request_id: Optional[str] = None,
                      deadline: Optional[float] = None) -> Result:
        return result_of(await self._call("ExecuteTool", _core.tool_request(tool, parameters, request_id), deadline))

    async def stream(self, tool: str, parameters: Mapping[str, Any], *, request_id: Optional[str] = None,
                     deadline: Optional[float] = None) -> AsyncIterator[Union[Chunk, Result]]:
        call = self._stubs["StreamExecuteTool"](_core.tool_request(tool, parameters, request_id), timeout=deadline,
                                                metadata=self._connection.metadata())
        try:
            async for update in call:
                kind = update.WhichOneof("update")
                if kind is None:
                    continue  # of a server that is newer
                yield result_of(update.result) if kind == "result" else Chunk(kind, getattr(update, kind))
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        finally:
            call.cancel()

    async def run_python(self, code: str, *, deadline: Optional[float] = None, **more: Any) -> Result:
        return await self.execute("python_wasi_runner", _core.python_parameters(code, **more), deadline=deadline)

    def stream_python(self, code: str, *, deadline: Optional[float] = None,
                      **more: Any) -> AsyncIterator[Union[Chunk, Result]]:
        return self.stream("python_wasi_runner", _core.python_parameters(code, **more), deadline=deadline)

    async def session(self, language: str = "python", *, packages: Sequence[str] = (), files: Optional[Files] = None,
                      **more: Any) -> AsyncSession:
        """Opens a session: `async with await client.session() as session`."""
        made = await self.execute("session_open", open_parameters(language, packages, files, more))
        return AsyncSession(self, name_in(made.raw, "session_id"), language)

    async def sessions(self) -> List[SessionInfo]:
        return infos_of((await self.execute("session_list", {})).raw)

    async def run_wasm(self, module: Union[bytes, str, os.PathLike], *, deadline: Optional[float] = None,
                       **more: Any) -> Result:
        return await self.execute("code_executor", _core.wasm_parameters(module, **more), deadline=deadline)

    async def task(self, query: str, *, tool_parameters: Optional[Mapping[str, Any]] = None,
                   deadline: Optional[float] = None) -> Task:
        return task_of(await self._call("ExecuteTask", _core.task_request(query, tool_parameters), deadline))

    async def tools(self) -> List[Tool]:
        return [tool_of(tool) for tool in (await self._call("DiscoverTools", pb.DiscoverToolsRequest())).tools]

    async def health(self) -> bool:
        return (await self._call("HealthCheck", pb.HealthCheckRequest())).healthy
