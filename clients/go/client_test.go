package client

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	pb "polyagent.dev/client/agentpb"
)

// The server is started by whoever runs the tests (tests/e2e/test_clients.py).
func dial(t *testing.T) *Client {
	target := os.Getenv("POLYAGENT_TEST_GRPC")
	if target == "" {
		t.Skip("POLYAGENT_TEST_GRPC is not set")
	}
	c, err := Dial(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestTheSeedsExample(t *testing.T) {
	module, err := os.ReadFile("../../docs/assets/hello-wasi.wat")
	if err != nil {
		t.Fatal(err)
	}
	result, err := dial(t).RunWASM(context.Background(), module, map[string]any{"stdin": ""})
	if err != nil || result.Stdout != "Hello from WASI!\n" || !result.OK() {
		t.Fatal(result, err)
	}
}

func TestPythonAndHowItEnds(t *testing.T) {
	c := dial(t)
	result, err := c.RunPython(context.Background(), "import sys\nprint(int(input()) * 2)\nsys.exit(3)",
		map[string]any{"stdin": "21"})
	if err != nil || result.Stdout != "42\n" || result.ExitCode != 3 || result.OK() {
		t.Fatal(result, err)
	}
	result, err = c.RunPython(context.Background(), "open('/output/a.txt', 'w').write(open('in').read())",
		map[string]any{"files": map[string]any{"in": "text"}})
	if err != nil || len(result.Artifacts) != 1 || string(result.Artifacts[0].Data) != "text" {
		t.Fatal(result, err)
	}
	result, err = c.RunPython(context.Background(), "while True: pass", map[string]any{"execution_timeout_ms": 200})
	if err != nil || result.Status != "TIMEOUT" || result.Err == nil ||
		!strings.HasPrefix(result.Err.Message, "Execution timeout") {
		t.Fatal(result, err)
	}
}

func TestSessions(t *testing.T) {
	c, ctx := dial(t), context.Background()
	s, err := c.OpenSession(ctx, "python", nil)
	if err != nil {
		t.Fatal(err)
	}
	value := func(s *Session, code, want string) {
		t.Helper()
		result, err := s.Run(ctx, code, nil)
		if err != nil || result.Value == nil || *result.Value != want || result.SessionState != "kept" {
			t.Fatal(result, err)
		}
	}
	if _, err := s.Run(ctx, "x = 1", nil); err != nil {
		t.Fatal(err)
	}
	value(s, "x += 1\nx", "2")
	point, err := s.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	value(s, "x = 7\nx", "7")
	copies, err := s.Fork(ctx, 2)
	if err != nil || len(copies) != 2 {
		t.Fatal(copies, err)
	}
	if err := s.Rollback(ctx, point); err != nil {
		t.Fatal(err)
	}
	value(s, "x", "2")
	value(copies[0], "x += 1\nx", "8")
	value(copies[1], "x", "7")
	if err := s.WriteFile(ctx, "d/f", []byte{0, 255}); err != nil {
		t.Fatal(err)
	}
	value(s, "open('d/f', 'rb').read()", "b'\\x00\\xff'")
	if data, err := s.ReadFile(ctx, "d/f"); err != nil || string(data) != "\x00\xff" {
		t.Fatal(data, err)
	}
	if info, err := s.Info(ctx); err != nil || len(info.Checkpoints) != 1 || info.Parent != nil {
		t.Fatal(info, err)
	}
	if busy, err := s.Interrupt(ctx); busy || err != nil {
		t.Fatal(busy, err)
	}
	all, err := c.Sessions(ctx)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	for _, session := range append(copies, s) {
		if err := session.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Run(ctx, "x", nil); err == nil {
		t.Fatal("a closed session runs")
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	_, err := dial(t).ExecuteTool(context.Background(), "nope", nil)
	if status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	_, err = dial(t).RunPython(context.Background(), "", map[string]any{"cod": 1})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "did you mean code?") {
		t.Fatal(err)
	}
}

func TestAContextThatEndsEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := dial(t).RunPython(ctx, "while True: pass", nil)
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatal(err)
	}
}

func TestOutputStreams(t *testing.T) {
	var all, errs strings.Builder
	c := dial(t)
	take := func(stream string, data []byte) error {
		if stream == "stdout" {
			all.Write(data)
		} else {
			errs.Write(data)
		}
		return nil
	}
	result, err := c.StreamTool(context.Background(), "python_wasi_runner",
		map[string]any{"code": "import sys\nfor i in range(1000): print(i, flush=True)\nprint('e', file=sys.stderr)"}, take)
	if err != nil || !result.OK() || !strings.HasSuffix(all.String(), "998\n999\n") || errs.String() != "e\n" {
		t.Fatal(result, err, all.String(), errs.String())
	}
	enough := errors.New("enough")
	_, err = c.StreamTool(context.Background(), "python_wasi_runner", map[string]any{"code": "while True: print(1)"},
		func(string, []byte) error { return enough })
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
}

func TestTasksAndDiscovery(t *testing.T) {
	c := dial(t)
	done, err := c.Agent().ExecuteTask(context.Background(),
		&pb.ExecuteTaskRequest{Query: "Use python_wasi_runner to execute: print(6 * 7)"})
	if err != nil || done.Result != "42\n" {
		t.Fatal(done, err)
	}
	found, err := c.Agent().DiscoverTools(context.Background(), &pb.DiscoverToolsRequest{Query: "python"})
	if err != nil || len(found.Tools) < 1 || found.Tools[0].Name != "python_wasi_runner" {
		t.Fatal(found, err)
	}
}

func TestATokenDoesNotGoInClear(t *testing.T) {
	for target, good := range map[string]bool{"localhost:1": true, "127.0.0.1:1": true, "[::1]:1": true, "dns:///localhost:1": true, "unix:/run/x": true,
		"example.org:1": false, "10.0.0.1:1": false, "dns:///example.org:1": false, "localhost.example.org:1": false, "[2001:db8::1]:1": false} {
		if _, err := Dial(target, WithToken("secret")); (err == nil) != good {
			t.Error(target, err)
		} else if err != nil && strings.Contains(err.Error(), "secret") {
			t.Error(err)
		}
		if _, err := Dial(target, WithToken("secret"), WithTokenInClear()); err != nil {
			t.Error(target, err)
		}
		if _, err := Dial(target, WithToken("secret"), WithTLS(&tls.Config{})); err != nil {
			t.Error(target, err)
		}
	}
}

func TestNamesOfArtifactsStayBelow(t *testing.T) {
	for name, good := range map[string]bool{"a": true, "d/a.png": true, "../a": false, "/etc/passwd": false, "d/../a": false, "": false, ".": false, "a\\b": false} {
		output, err := structpb.NewValue(map[string]any{"status": "OK", "artifacts": []any{map[string]any{"name": name, "mime": "x/y", "bytes_base64": ""}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resultOf(&pb.ToolCallResponse{Output: output}); (err == nil) != good {
			t.Error(name, err)
		}
	}
}
