from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

AGENT_STATE_COMPLETED: AgentState
AGENT_STATE_EXECUTING: AgentState
AGENT_STATE_FAILED: AgentState
AGENT_STATE_IDLE: AgentState
AGENT_STATE_PLANNING: AgentState
AGENT_STATE_UNSPECIFIED: AgentState
AGENT_STATE_WAITING: AgentState
DESCRIPTOR: _descriptor.FileDescriptor
EXECUTION_MODE_COMPLEX: ExecutionMode
EXECUTION_MODE_SIMPLE: ExecutionMode
EXECUTION_MODE_STANDARD: ExecutionMode
EXECUTION_MODE_UNSPECIFIED: ExecutionMode
STATUS_CODE_CANCELLED: StatusCode
STATUS_CODE_ERROR: StatusCode
STATUS_CODE_OK: StatusCode
STATUS_CODE_TIMEOUT: StatusCode
STATUS_CODE_UNSPECIFIED: StatusCode

class AgentConfig(_message.Message):
    __slots__ = ["enable_learning", "enable_sandbox", "max_iterations", "memory_limit_mb", "timeout_seconds"]
    ENABLE_LEARNING_FIELD_NUMBER: _ClassVar[int]
    ENABLE_SANDBOX_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_MB_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    enable_learning: bool
    enable_sandbox: bool
    max_iterations: int
    memory_limit_mb: int
    timeout_seconds: int
    def __init__(self, max_iterations: _Optional[int] = ..., timeout_seconds: _Optional[int] = ..., enable_sandbox: bool = ..., memory_limit_mb: _Optional[int] = ..., enable_learning: bool = ...) -> None: ...

class DiscoverToolsRequest(_message.Message):
    __slots__ = ["categories", "exclude_dangerous", "max_results", "query", "tags"]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_DANGEROUS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    categories: _containers.RepeatedScalarFieldContainer[str]
    exclude_dangerous: bool
    max_results: int
    query: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, query: _Optional[str] = ..., categories: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., exclude_dangerous: bool = ..., max_results: _Optional[int] = ...) -> None: ...

class DiscoverToolsResponse(_message.Message):
    __slots__ = ["tools"]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[ToolCapability]
    def __init__(self, tools: _Optional[_Iterable[_Union[ToolCapability, _Mapping]]] = ...) -> None: ...

class ExecuteTaskRequest(_message.Message):
    __slots__ = ["available_tools", "config", "context", "metadata", "mode", "query", "session_context"]
    AVAILABLE_TOOLS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    SESSION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    available_tools: _containers.RepeatedScalarFieldContainer[str]
    config: AgentConfig
    context: _struct_pb2.Struct
    metadata: TaskMetadata
    mode: ExecutionMode
    query: str
    session_context: SessionContext
    def __init__(self, metadata: _Optional[_Union[TaskMetadata, _Mapping]] = ..., query: _Optional[str] = ..., context: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., mode: _Optional[_Union[ExecutionMode, str]] = ..., available_tools: _Optional[_Iterable[str]] = ..., config: _Optional[_Union[AgentConfig, _Mapping]] = ..., session_context: _Optional[_Union[SessionContext, _Mapping]] = ...) -> None: ...

class ExecuteTaskResponse(_message.Message):
    __slots__ = ["error_message", "final_state", "metadata", "metrics", "result", "status", "task_id", "tool_calls", "tool_results"]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FINAL_STATE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    error_message: str
    final_state: AgentState
    metadata: _struct_pb2.Struct
    metrics: ExecutionMetrics
    result: str
    status: StatusCode
    task_id: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCall]
    tool_results: _containers.RepeatedCompositeFieldContainer[ToolResult]
    def __init__(self, task_id: _Optional[str] = ..., status: _Optional[_Union[StatusCode, str]] = ..., result: _Optional[str] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCall, _Mapping]]] = ..., tool_results: _Optional[_Iterable[_Union[ToolResult, _Mapping]]] = ..., metrics: _Optional[_Union[ExecutionMetrics, _Mapping]] = ..., error_message: _Optional[str] = ..., final_state: _Optional[_Union[AgentState, str]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ExecutionMetrics(_message.Message):
    __slots__ = ["cache_hit", "latency_ms", "token_usage"]
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_USAGE_FIELD_NUMBER: _ClassVar[int]
    cache_hit: bool
    latency_ms: int
    token_usage: TokenUsage
    def __init__(self, latency_ms: _Optional[int] = ..., token_usage: _Optional[_Union[TokenUsage, _Mapping]] = ..., cache_hit: bool = ...) -> None: ...

class GetCapabilitiesRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class GetCapabilitiesResponse(_message.Message):
    __slots__ = ["max_concurrent_tasks", "max_memory_mb", "supported_modes", "supported_tools", "version"]
    MAX_CONCURRENT_TASKS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_MB_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_MODES_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_TOOLS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    max_concurrent_tasks: int
    max_memory_mb: int
    supported_modes: _containers.RepeatedScalarFieldContainer[ExecutionMode]
    supported_tools: _containers.RepeatedScalarFieldContainer[str]
    version: str
    def __init__(self, supported_tools: _Optional[_Iterable[str]] = ..., supported_modes: _Optional[_Iterable[_Union[ExecutionMode, str]]] = ..., max_memory_mb: _Optional[int] = ..., max_concurrent_tasks: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class GetToolCapabilityRequest(_message.Message):
    __slots__ = ["tool_id"]
    TOOL_ID_FIELD_NUMBER: _ClassVar[int]
    tool_id: str
    def __init__(self, tool_id: _Optional[str] = ...) -> None: ...

class GetToolCapabilityResponse(_message.Message):
    __slots__ = ["tool"]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    tool: ToolCapability
    def __init__(self, tool: _Optional[_Union[ToolCapability, _Mapping]] = ...) -> None: ...

class HealthCheckRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class HealthCheckResponse(_message.Message):
    __slots__ = ["active_tasks", "healthy", "memory_usage_percent", "message", "uptime_seconds"]
    ACTIVE_TASKS_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USAGE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    active_tasks: int
    healthy: bool
    memory_usage_percent: float
    message: str
    uptime_seconds: int
    def __init__(self, healthy: bool = ..., message: _Optional[str] = ..., uptime_seconds: _Optional[int] = ..., active_tasks: _Optional[int] = ..., memory_usage_percent: _Optional[float] = ...) -> None: ...

class SessionContext(_message.Message):
    __slots__ = ["history", "persistent_context", "session_id"]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    PERSISTENT_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    history: _containers.RepeatedScalarFieldContainer[str]
    persistent_context: _struct_pb2.Struct
    session_id: str
    def __init__(self, session_id: _Optional[str] = ..., history: _Optional[_Iterable[str]] = ..., persistent_context: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class TaskMetadata(_message.Message):
    __slots__ = ["created_at", "labels", "session_id", "task_id", "user_id"]
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    created_at: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    session_id: str
    task_id: str
    user_id: str
    def __init__(self, task_id: _Optional[str] = ..., user_id: _Optional[str] = ..., session_id: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TaskUpdate(_message.Message):
    __slots__ = ["message", "progress", "state", "task_id", "tool_call", "tool_result"]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    TOOL_RESULT_FIELD_NUMBER: _ClassVar[int]
    message: str
    progress: float
    state: AgentState
    task_id: str
    tool_call: ToolCall
    tool_result: ToolResult
    def __init__(self, task_id: _Optional[str] = ..., state: _Optional[_Union[AgentState, str]] = ..., message: _Optional[str] = ..., tool_call: _Optional[_Union[ToolCall, _Mapping]] = ..., tool_result: _Optional[_Union[ToolResult, _Mapping]] = ..., progress: _Optional[float] = ...) -> None: ...

class TokenUsage(_message.Message):
    __slots__ = ["completion_tokens", "cost_usd", "model", "prompt_tokens", "total_tokens"]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    completion_tokens: int
    cost_usd: float
    model: str
    prompt_tokens: int
    total_tokens: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ..., model: _Optional[str] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ["name", "parameters", "tool_id"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TOOL_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters: _struct_pb2.Struct
    tool_id: str
    def __init__(self, name: _Optional[str] = ..., parameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., tool_id: _Optional[str] = ...) -> None: ...

class ToolCallRequest(_message.Message):
    __slots__ = ["parameters", "request_id", "session_id", "tool_name"]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TOOL_NAME_FIELD_NUMBER: _ClassVar[int]
    parameters: _struct_pb2.Struct
    request_id: str
    session_id: str
    tool_name: str
    def __init__(self, tool_name: _Optional[str] = ..., parameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., session_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ToolCallResponse(_message.Message):
    __slots__ = ["error_message", "execution_time_ms", "output", "request_id", "status", "tool_name"]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TOOL_NAME_FIELD_NUMBER: _ClassVar[int]
    error_message: str
    execution_time_ms: int
    output: _struct_pb2.Value
    request_id: str
    status: StatusCode
    tool_name: str
    def __init__(self, tool_name: _Optional[str] = ..., status: _Optional[_Union[StatusCode, str]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., error_message: _Optional[str] = ..., execution_time_ms: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ToolCallUpdate(_message.Message):
    __slots__ = ["result", "stderr", "stdout"]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    result: ToolCallResponse
    stderr: bytes
    stdout: bytes
    def __init__(self, stdout: _Optional[bytes] = ..., stderr: _Optional[bytes] = ..., result: _Optional[_Union[ToolCallResponse, _Mapping]] = ...) -> None: ...

class ToolCapability(_message.Message):
    __slots__ = ["author", "category", "description", "estimated_duration_ms", "id", "input_schema", "is_dangerous", "name", "output_schema", "required_permissions", "tags", "version"]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    IS_DANGEROUS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    author: str
    category: str
    description: str
    estimated_duration_ms: int
    id: str
    input_schema: _struct_pb2.Struct
    is_dangerous: bool
    name: str
    output_schema: _struct_pb2.Struct
    required_permissions: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    version: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., category: _Optional[str] = ..., input_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., output_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., required_permissions: _Optional[_Iterable[str]] = ..., estimated_duration_ms: _Optional[int] = ..., is_dangerous: bool = ..., version: _Optional[str] = ..., author: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class ToolResult(_message.Message):
    __slots__ = ["error_message", "execution_time_ms", "output", "status", "tool_id"]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TOOL_ID_FIELD_NUMBER: _ClassVar[int]
    error_message: str
    execution_time_ms: int
    output: _struct_pb2.Value
    status: StatusCode
    tool_id: str
    def __init__(self, tool_id: _Optional[str] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., status: _Optional[_Union[StatusCode, str]] = ..., error_message: _Optional[str] = ..., execution_time_ms: _Optional[int] = ...) -> None: ...

class StatusCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class ExecutionMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class AgentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
