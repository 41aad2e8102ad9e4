#!/bin/sh
# generate-clients.sh [FOLDER]: the clients' code for proto/agent.proto, into FOLDER/python and FOLDER/go (default:
# clients). Go needs protoc-gen-go and protoc-gen-go-grpc on the PATH; without them only Python's is made.
set -eu
cd "$(dirname "$0")/.."
out=${1:-clients}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/polyagent" "$out/python" "$out/go"
cp proto/agent.proto "$work/polyagent/agent.proto" # a name that no other package's file has
protoc -I"$work" -I/usr/include --python_out="$out/python" --pyi_out="$out/python" polyagent/agent.proto
if command -v protoc-gen-go >/dev/null && command -v protoc-gen-go-grpc >/dev/null; then
    protoc -I"$work" -I/usr/include --go_out="$out/go" --go-grpc_out="$out/go" \
        --go_opt=module=polyagent.dev/client --go-grpc_opt=module=polyagent.dev/client polyagent/agent.proto
fi
