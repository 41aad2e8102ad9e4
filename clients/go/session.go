package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Session is an interpreter that stays: variables, imports, functions and files in /workspace live on from one Run to the
// next. A run that is stopped leaves variables as they were before it; Result.SessionState tells.
type Session struct {
	ID       string
	Language string // python, javascript or ruby
	client   *Client
}

// SessionInfo is a session as the server sees it.
type SessionInfo struct {
	SessionID      string  `json:"session_id"`
	Language       string  `json:"language"`
	Parent         *string `json:"parent"`
	State          string  `json:"state"` // fresh, live or busy
	Turns          int     `json:"turns"`
	MemoryBytes    int64   `json:"memory_bytes"`
	WorkspaceBytes int64   `json:"workspace_bytes"`
	AgeSeconds     float64 `json:"age_seconds"`
	IdleSeconds    float64 `json:"idle_seconds"`
	Checkpoints    []struct {
		CheckpointID string `json:"checkpoint_id"`
		Turns        int    `json:"turns"`
	} `json:"checkpoints"`
}

// affair calls one of the session_ tools and decodes its answer into out, unless that is nil.
func (c *Client) affair(ctx context.Context, tool string, parameters map[string]any, out any) error {
	message, err := request("session_"+tool, parameters)
	if err != nil {
		return err
	}
	response, err := c.agent.ExecuteTool(c.context(ctx), message)
	if err != nil {
		return err
	}
	if response.Output == nil {
		return errors.New("polyagent: an answer without output")
	}
	text, err := response.Output.MarshalJSON()
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// OpenSession opens a session for a language; parameters (packages, files, limits ...) may be nil.
func (c *Client) OpenSession(ctx context.Context, language string, parameters map[string]any) (*Session, error) {
	var info SessionInfo
	if err := c.affair(ctx, "open", with(parameters, "language", language), &info); err != nil {
		return nil, err
	}
	return &Session{ID: info.SessionID, Language: language, client: c}, nil
}

// Sessions lists yours, as the server knows you.
func (c *Client) Sessions(ctx context.Context) ([]SessionInfo, error) {
	var all struct {
		Sessions []SessionInfo `json:"sessions"`
	}
	err := c.affair(ctx, "list", map[string]any{}, &all)
	return all.Sessions, err
}

func (s *Session) affair(ctx context.Context, tool string, parameters map[string]any, out any) error {
	return s.client.affair(ctx, tool, with(parameters, "session_id", s.ID), out)
}

func (s *Session) turn(code string, parameters map[string]any) (string, map[string]any) {
	return s.Language + "_wasi_runner", with(with(parameters, "code", code), "session_id", s.ID)
}

// Run runs a program in it; parameters (stdin, argv, execution_timeout_ms ...) may be nil.
func (s *Session) Run(ctx context.Context, code string, parameters map[string]any) (*Result, error) {
	tool, all := s.turn(code, parameters)
	return s.client.ExecuteTool(ctx, tool, all)
}

// Interrupt ends the run under way; it tells whether there was one.
func (s *Session) Interrupt(ctx context.Context) (bool, error) {
	var answer struct {
		Interrupted bool `json:"interrupted"`
	}
	err := s.affair(ctx, "interrupt", nil, &answer)
	return answer.Interrupted, err
}

// WriteInput gives more stdin to a run that was started with "stdin_stream": true.
func (s *Session) WriteInput(ctx context.Context, data string, eof bool) error {
	return s.affair(ctx, "input", map[string]any{"data": data, "eof": eof}, nil)
}

// Fork makes count copies of it, each of which goes its own way.
func (s *Session) Fork(ctx context.Context, count int) ([]*Session, error) {
	var answer struct {
		Sessions []SessionInfo `json:"sessions"`
	}
	if err := s.affair(ctx, "fork", map[string]any{"count": count}, &answer); err != nil {
		return nil, err
	}
	var made []*Session
	for _, info := range answer.Sessions {
		made = append(made, &Session{ID: info.SessionID, Language: s.Language, client: s.client})
	}
	return made, nil
}

// Checkpoint remembers variables and files; Rollback takes the id.
func (s *Session) Checkpoint(ctx context.Context) (string, error) {
	var answer struct {
		CheckpointID string `json:"checkpoint_id"`
	}
	err := s.affair(ctx, "checkpoint", nil, &answer)
	return answer.CheckpointID, err
}

// Rollback puts it back to a checkpoint.
func (s *Session) Rollback(ctx context.Context, checkpoint string) error {
	return s.affair(ctx, "rollback", map[string]any{"checkpoint_id": checkpoint}, nil)
}

// Info tells all about it.
func (s *Session) Info(ctx context.Context) (*SessionInfo, error) {
	var info SessionInfo
	err := s.affair(ctx, "info", nil, &info)
	return &info, err
}

// WriteFile writes a file in /workspace.
func (s *Session) WriteFile(ctx context.Context, path string, data []byte) error {
	file := map[string]any{"base64": base64.StdEncoding.EncodeToString(data)}
	return s.affair(ctx, "put_files", map[string]any{"files": map[string]any{path: file}}, nil)
}

// ReadFile reads a file of /workspace.
func (s *Session) ReadFile(ctx context.Context, path string) ([]byte, error) {
	var answer struct {
		Text   string  `json:"text"`
		Base64 *string `json:"text_base64"`
	}
	if err := s.affair(ctx, "get_file", map[string]any{"path": path}, &answer); err != nil {
		return nil, err
	}
	if answer.Base64 == nil {
		return []byte(answer.Text), nil
	}
	data, err := base64.StdEncoding.DecodeString(*answer.Base64)
	if err != nil {
		return nil, fmt.Errorf("polyagent: %s: %w", path, err)
	}
	return data, nil
}

// Close ends it and removes its files.
func (s *Session) Close(ctx context.Context) error {
	return s.affair(ctx, "close", nil, nil)
}
