"""Sessions: interpreters that stay from turn to turn."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, AsyncIterator, Dict, Iterator, List, Mapping, Optional, Sequence, Union

from . import _core
from .results import Chunk, Result, SessionInfo, file_of, flag_in, info_of, infos_of, name_in, sizes_of

if TYPE_CHECKING:
    from ._aio import AsyncClient
    from ._client import Client

Files = Mapping[str, Union[str, bytes]]

RUNNERS = {"python": "python_wasi_runner", "javascript": "javascript_wasi_runner", "ruby": "ruby_wasi_runner"}


def open_parameters(language: str, packages: Sequence[str], files: Optional[Files], more: Mapping[str, Any]) -> Dict[str, Any]:
    parameters = {"language": language, **more}
    if packages:
        parameters["packages"] = list(packages)
    if files:
        parameters["files"] = _core.files_of(files)
    return parameters


def _turn(session_id: str, code: str, more: Mapping[str, Any]) -> Dict[str, Any]:
    return {**_core.python_parameters(code, **more), "session_id": session_id}


def _fork_parameters(count: int, checkpoint: Optional[str]) -> Dict[str, Any]:
    return {"count": count} if checkpoint is None else {"count": count, "checkpoint_id": checkpoint}


class Session:
    """Variables, imports, functions and files in /workspace live on from one run() to the next. A run that is stopped (a
    timeout, say) leaves variables as they were before it; Result.session_state tells. As a context manager, it closes the
    session at the end. Made by Client.session(), or from an id that is known."""

    def __init__(self, client: "Client", session_id: str, language: str = "python"):
        self._client, self.id, self.language = client, session_id, language

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _call(self, tool: str, **parameters: Any) -> Dict[str, Any]:
        return self._client.execute("session_" + tool, {"session_id": self.id, **parameters}).raw

    def run(self, code: str, *, deadline: Optional[float] = None, **more: Any) -> Result:
        """Runs a program in it: stdin, argv, env, files, timeout (seconds), output_limit_bytes."""
        return self._client.execute(RUNNERS[self.language], _turn(self.id, code, more), deadline=deadline)

    def stream(self, code: str, *, deadline: Optional[float] = None, **more: Any) -> Iterator[Union[Chunk, Result]]:
        return self._client.stream(RUNNERS[self.language], _turn(self.id, code, more), deadline=deadline)

    def interrupt(self) -> bool:
        """Ends the run under way, from another thread; whether there was one."""
        return flag_in(self._call("interrupt"), "interrupted")

    def write_input(self, data: str = "", *, eof: bool = False) -> None:
        """More of the stdin of a run that was started with stdin_stream=True, from another thread."""
        self._call("input", data=data, eof=eof)

    def fork(self, count: int = 1, *, checkpoint: Optional[str] = None) -> List["Session"]:
        """Copies of it, or of a checkpoint, each of which goes its own way."""
        made = infos_of(self._call("fork", **_fork_parameters(count, checkpoint)))
        return [Session(self._client, info.session_id, self.language) for info in made]

    def checkpoint(self) -> str:
        """Remembers variables and files; rollback() takes the id."""
        return name_in(self._call("checkpoint"), "checkpoint_id")

    def rollback(self, checkpoint: str) -> None:
        self._call("rollback", checkpoint_id=checkpoint)

    def info(self) -> SessionInfo:
        return info_of(self._call("info"))

    def write_files(self, files: Files) -> None:
        """Files in /workspace: paths to texts or bytes."""
        self._call("put_files", files=_core.files_of(files))

    def read_file(self, path: str) -> bytes:
        return file_of(self._call("get_file", path=path))

    def list_files(self) -> Dict[str, int]:
        """Paths in /workspace, and their sizes in bytes."""
        return sizes_of(self._call("get_file"))

    def close(self) -> None:
        """Ends it and removes its files."""
        self._call("close")


class AsyncSession:
    """As Session, with await. Made by AsyncClient.session(). Cancelling a run ends it, and keeps the session."""

    def __init__(self, client: "AsyncClient", session_id: str, language: str = "python"):
        self._client, self.id, self.language = client, session_id, language

    async def __aenter__(self) -> "AsyncSession":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _call(self, tool: str, **parameters: Any) -> Dict[str, Any]:
        return (await self._client.execute("session_" + tool, {"session_id": self.id, **parameters})).raw

    async def run(self, code: str, *, deadline: Optional[float] = None, **more: Any) -> Result:
        return await self._client.execute(RUNNERS[self.language], _turn(self.id, code, more), deadline=deadline)

    def stream(self, code: str, *, deadline: Optional[float] = None, **more: Any) -> AsyncIterator[Union[Chunk, Result]]:
        return self._client.stream(RUNNERS[self.language], _turn(self.id, code, more), deadline=deadline)

    async def interrupt(self) -> bool:
        """Ends the run under way, from another task; whether there was one."""
        return flag_in(await self._call("interrupt"), "interrupted")

    async def write_input(self, data: str = "", *, eof: bool = False) -> None:
        """More of the stdin of a run that was started with stdin_stream=True, from another task."""
        await self._call("input", data=data, eof=eof)

    async def fork(self, count: int = 1, *, checkpoint: Optional[str] = None) -> List["AsyncSession"]:
        made = infos_of(await self._call("fork", **_fork_parameters(count, checkpoint)))
        return [AsyncSession(self._client, info.session_id, self.language) for info in made]

    async def checkpoint(self) -> str:
        return name_in(await self._call("checkpoint"), "checkpoint_id")

    async def rollback(self, checkpoint: str) -> None:
        await self._call("rollback", checkpoint_id=checkpoint)

    async def info(self) -> SessionInfo:
        return info_of(await self._call("info"))

    async def write_files(self, files: Files) -> None:
        await self._call("put_files", files=_core.files_of(files))

    async def read_file(self, path: str) -> bytes:
        return file_of(await self._call("get_file", path=path))

    async def list_files(self) -> Dict[str, int]:
        return sizes_of(await self._call("get_file"))

    async def close(self) -> None:
        await self._call("close")
