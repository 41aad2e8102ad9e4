// Runs a WASI module on a polyagent server: go run ./example HOST:PORT MODULE
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"

	"polyagent.dev/client"
)

func main() {
	module, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	agentClient, err := client.Dial(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer agentClient.Close()
	result, err := agentClient.ExecuteTool(context.Background(), "code_executor", map[string]any{
		"wasm_base64": base64.StdEncoding.EncodeToString(module),
		"stdin":       "",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s", result.Status, result.Stdout)
}
