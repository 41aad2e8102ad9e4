"""Why a call did not become a run."""
from __future__ import annotations

import functools
from typing import Any, Callable, Optional, TypeVar

import grpc


class PolyagentError(Exception):
    """`code` is gRPC's name of the status, `request_id` what the server's log has."""

    def __init__(self, message: str, code: str = "", request_id: Optional[str] = None):
        super().__init__(message)
        self.message = message
        self.code = code
        self.request_id = request_id


class InvalidArgument(PolyagentError):
    """A parameter or a module is not what the tool takes; the message names it."""


class NotFound(PolyagentError):
    """There is no such tool, module, interpreter or file."""


class Denied(PolyagentError):
    """The server does not allow it."""


class Unauthenticated(PolyagentError):
    """The server wants a token that it knows."""


class Unavailable(PolyagentError):
    """The server cannot be reached, or did not answer in time."""


class Overloaded(PolyagentError):
    """The server's queue is full; `retry_after` is in seconds."""

    retry_after: float = 1.0


class BadAnswer(PolyagentError):
    """The server's answer is not what its contract says."""


_F = TypeVar("_F", bound=Callable[..., Any])


def reads_answers(function: _F) -> _F:
    """What a server says may be anything: what cannot be read is a BadAnswer."""

    @functools.wraps(function)
    def checked(*args: Any, **more: Any) -> Any:
        try:
            return function(*args, **more)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise BadAnswer(f"the server's answer cannot be read: {error!r:.200}") from error

    return checked  # type: ignore[return-value]


_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
}


def from_rpc(error: grpc.RpcError) -> PolyagentError:
    code = error.code()  # type: ignore[attr-defined]
    trailing = dict(error.trailing_metadata() or ())  # type: ignore[attr-defined]
    made = _BY_CODE.get(code, PolyagentError)(
        error.details() or code.name, code.name, trailing.get("x-request-id"))  # type: ignore[attr-defined]
    pushback = trailing.get("grpc-retry-pushback-ms")
    if isinstance(made, Overloaded) and isinstance(pushback, str) and pushback.isdecimal() and len(pushback) < 9:
        made.retry_after = int(pushback) / 1000
    return made
