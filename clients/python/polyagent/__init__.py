"""Client of polyagent.

    from polyagent import Client

    with Client("localhost:50051") as client:
        result = client.run_python("print(2 + 2)")
        print(result.stdout, result.exit_code)
        with client.session(packages=["pandas"]) as session:
            session.run("import pandas as pd; frame = pd.DataFrame({'a': [1, 2]})")
            print(session.run("frame.a.sum()").value)

AsyncClient is the same with await. However a program ends, its Result tells; exceptions (PolyagentError) are for calls
that did not become a run.
"""
from ._client import Client
from ._aio import AsyncClient
from ._core import Connection
from ._session import AsyncSession, Session
from .errors import (BadAnswer, Denied, InvalidArgument, NotFound, Overloaded, PolyagentError, Unauthenticated, Unavailable)
from .results import Artifact, Chunk, Error, Result, SessionInfo, Task, Tool, Usage

__all__ = ["Artifact", "AsyncClient", "AsyncSession", "BadAnswer", "Chunk", "Client", "Connection", "Denied", "Error", "InvalidArgument",
           "NotFound", "Overloaded", "PolyagentError", "Result", "Session", "SessionInfo", "Task", "Tool", "Unauthenticated",
           "Unavailable", "Usage"]
__version__ = "0.1.0"
