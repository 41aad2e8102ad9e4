// Package client runs Python and WASI modules on a polyagent server and tells exactly what happened.
//
//	c, err := client.Dial("localhost:50051")
//	result, err := c.RunPython(ctx, "print(2 + 2)", nil)
//	fmt.Println(result.Status, result.Stdout)
//
// However a program ends, there is a Result. Errors are gRPC's (status.Code tells), for calls that did not become a
// run. A context that ends, ends the run.
package client

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	pb "polyagent.dev/client/agentpb"
)

const maxMessageBytes = 128 << 20

// Error says why a run was stopped; Code is as Result.Status.
type Error struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Backtrace string `json:"backtrace"`
}

// Usage has times in milliseconds and sizes in bytes.
type Usage struct {
	WallMS          float64 `json:"wall_ms"`
	CPUMS           float64 `json:"cpu_ms"`
	QueueMS         float64 `json:"queue_ms"`
	StartMS         float64 `json:"start_ms"`
	Fuel            float64 `json:"fuel"`
	PeakMemoryBytes float64 `json:"peak_memory_bytes"`
	StdoutBytes     float64 `json:"stdout_bytes"`
	StderrBytes     float64 `json:"stderr_bytes"`
	Cache           string  `json:"cache"`
}

// Artifact is a file that the program left in /output.
type Artifact struct {
	Name string `json:"name"`
	MIME string `json:"mime"`
	Data []byte `json:"bytes_base64"`
}

// Result is a run that has ended. Status is OK whatever the exit code; TIMEOUT, MEMORY_LIMIT, FUEL_EXHAUSTED,
// OUTPUT_LIMIT or TRAP where the run was stopped, and then Err says why.
type Result struct {
	Status          string     `json:"status"`
	ExitCode        int        `json:"exit_code"`
	Stdout          string     `json:"stdout"`
	Stderr          string     `json:"stderr"`
	StdoutBase64    string     `json:"stdout_base64"`
	StderrBase64    string     `json:"stderr_base64"`
	StdoutTruncated bool       `json:"stdout_truncated"`
	StderrTruncated bool       `json:"stderr_truncated"`
	Err             *Error     `json:"error"`
	Usage           Usage      `json:"usage"`
	Isolation       []string   `json:"isolation"`
	ModuleSHA256    string     `json:"module_sha256"`
	RequestID       string     `json:"request_id"`
	Artifacts       []Artifact `json:"artifacts"`
	Value           *string    `json:"result"`        // the last expression's; nil: it has none
	SessionID       string     `json:"session_id"`    // of a session's turn
	SessionState    string     `json:"session_state"` // kept, unchanged or restarted
}

// OK tells whether the program ran to its end and exited with 0.
func (r *Result) OK() bool { return r.Status == "OK" && r.ExitCode == 0 }

// Option changes how Dial connects.
type Option func(*options)

type options struct {
	tls     *tls.Config
	token   string
	inClear bool
}

// WithTLS connects by TLS; with a certificate in the configuration, mutual TLS.
func WithTLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// WithToken sends a bearer token with each call: by TLS, or to this machine.
func WithToken(token string) Option { return func(o *options) { o.token = token } }

// WithTokenInClear lets the token go to other machines without TLS.
func WithTokenInClear() Option { return func(o *options) { o.inClear = true } }

// Client is a connection to a server, for any number of goroutines.
type Client struct {
	conn  *grpc.ClientConn
	agent pb.AgentServiceClient
	token string
}

// isLocal tells whether a target (gRPC's name syntax) is on this machine.
func isLocal(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	target = target[strings.LastIndex(target, "/")+1:]
	for _, scheme := range []string{"dns:", "passthrough:"} {
		target = strings.TrimPrefix(target, scheme)
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = target
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Dial makes a client for the server at target, "HOST:PORT". It connects when it is first used.
func Dial(target string, opts ...Option) (*Client, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.token != "" && o.tls == nil && !o.inClear && !isLocal(target) {
		return nil, fmt.Errorf("polyagent at %s: the token would go in clear; use WithTLS or WithTokenInClear", target)
	}
	creds := insecure.NewCredentials()
	if o.tls != nil {
		creds = credentials.NewTLS(o.tls)
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(
		grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)))
	if err != nil {
		return nil, fmt.Errorf("polyagent at %s: %w", target, err)
	}
	return &Client{conn: conn, agent: pb.NewAgentServiceClient(conn), token: o.token}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

func (c *Client) context(ctx context.Context) context.Context {
	if c.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
}

func resultOf(response *pb.ToolCallResponse) (*Result, error) {
	text, err := response.GetOutput().MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("polyagent: the result: %w", err)
	}
	var result Result
	if err := json.Unmarshal(text, &result); err != nil {
		return nil, fmt.Errorf("polyagent: the result: %w", err)
	}
	for _, artifact := range result.Artifacts { // a name that may be used as a path below some directory here
		if !fs.ValidPath(artifact.Name) || artifact.Name == "." || strings.ContainsAny(artifact.Name, "\\\x00") {
			return nil, fmt.Errorf("polyagent: the result: an artifact may not be named %q", artifact.Name)
		}
	}
	return &result, nil
}

func request(tool string, parameters map[string]any) (*pb.ToolCallRequest, error) {
	fields, err := structpb.NewStruct(parameters)
	if err != nil {
		return nil, fmt.Errorf("polyagent: parameters of %s: %w", tool, err)
	}
	return &pb.ToolCallRequest{ToolName: tool, Parameters: fields}, nil
}

// ExecuteTool calls a tool by its name.
func (c *Client) ExecuteTool(ctx context.Context, tool string, parameters map[string]any) (*Result, error) {
	req, err := request(tool, parameters)
	if err != nil {
		return nil, err
	}
	response, err := c.agent.ExecuteTool(c.context(ctx), req)
	if err != nil {
		return nil, err
	}
	return resultOf(response)
}

// StreamTool does the same and calls onOutput with what the program writes ("stdout" or "stderr"), as it is written.
// An error of onOutput ends the run, and is returned.
func (c *Client) StreamTool(ctx context.Context, tool string, parameters map[string]any,
	onOutput func(stream string, data []byte) error) (*Result, error) {
	req, err := request(tool, parameters)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.context(ctx))
	defer cancel()
	stream, err := c.agent.StreamExecuteTool(ctx, req)
	if err != nil {
		return nil, err
	}
	for {
		update, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("polyagent: the stream ended without a result")
		}
		if err != nil {
			return nil, err
		}
		switch u := update.GetUpdate().(type) {
		case *pb.ToolCallUpdate_Stdout:
			err = onOutput("stdout", u.Stdout)
		case *pb.ToolCallUpdate_Stderr:
			err = onOutput("stderr", u.Stderr)
		case *pb.ToolCallUpdate_Result:
			return resultOf(u.Result)
		}
		if err != nil {
			return nil, err
		}
	}
}

func with(parameters map[string]any, name string, value any) map[string]any {
	all := map[string]any{name: value}
	for key, value := range parameters {
		all[key] = value
	}
	return all
}

// RunPython runs Python in a fresh interpreter; parameters (stdin, argv, limits ...) may be nil.
func (c *Client) RunPython(ctx context.Context, code string, parameters map[string]any) (*Result, error) {
	return c.ExecuteTool(ctx, "python_wasi_runner", with(parameters, "code", code))
}

// RunWASM runs a WASI module; parameters may be nil.
func (c *Client) RunWASM(ctx context.Context, module []byte, parameters map[string]any) (*Result, error) {
	return c.ExecuteTool(ctx, "code_executor",
		with(parameters, "wasm_base64", base64.StdEncoding.EncodeToString(module)))
}

// Agent is the service itself, for all that has no method here.
func (c *Client) Agent() pb.AgentServiceClient { return c.agent }
