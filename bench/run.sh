#!/usr/bin/env bash
# Compares polyagent with native Python and, where it is installed, the engine's own CLI, in one run on
# this machine. Ratios are what counts; the figures depend on the machine. Results: build/bench/*.json
set -euo pipefail
cd "$(dirname "$0")/.."
command -v hyperfine >/dev/null || { echo "bench: install hyperfine (apt install hyperfine)" >&2; exit 1; }
mkdir -p build/bench
quiet=(hyperfine --shell=none --warmup 10 --min-runs 100 --style basic)

echo "== whole process: a hello module, cached"
peers=()
if command -v wasmtime >/dev/null; then peers+=("wasmtime run docs/assets/hello-wasi.wat"); fi
"${quiet[@]}" --export-json build/bench/hello.json \
    "build/wasi_hello docs/assets/hello-wasi.wat" "${peers[@]}" "true"

python=$(python3 -c 'import sys; print(sys.executable)') # not a version manager's wrapper

echo "== whole process: Python print, cached"
"${quiet[@]}" --export-json build/bench/python.json \
    "build/polyagent python -c print(1)" "$python -I -S -c print(1)" "$python -c print(1)"

echo "== whole process: the same Python by a running server"
export POLYAGENT_SOCKET="$PWD/build/bench/s.sock"
build/polyagent serve --http off --grpc off 2>build/bench/serve.log &
server=$!
trap 'kill $server' EXIT
until [ -S "$POLYAGENT_SOCKET" ]; do sleep 0.1; done
"${quiet[@]}" --export-json build/bench/served.json "build/polyagent python -c print(1)"
kill $server && wait $server || true
trap - EXIT
unset POLYAGENT_SOCKET

echo "== at the supervisor: fresh Python one after the other, 3 at once; a hello module"
for options in "" "--concurrency 3 --runs 5000" "docs/assets/hello-wasi.wat"; do
    # shellcheck disable=SC2086
    build/polyagent bench --no-histogram $options
done

echo "== over gRPC, from request to answer; with ghz, from the Go proxy, beside"
make -s build/go/ghz
export POLYAGENT_SOCKET="$PWD/build/bench/s.sock"
build/polyagent serve --http off --grpc 127.0.0.1:50951 2>build/bench/serve.log &
server=$!
trap 'kill $server' EXIT
until grep -q listening build/bench/serve.log; do sleep 0.1; done
for options in "" "--concurrency 4 --runs 5000" "docs/assets/hello-wasi.wat"; do
    # shellcheck disable=SC2086
    build/polyagent bench --server 127.0.0.1:50951 --no-histogram $options
done
for concurrency in 1 4; do
    build/go/ghz --insecure --proto proto/agent.proto -i /usr/include --call polyagent.agent.AgentService/ExecuteTool \
        -d '{"tool_name": "python_wasi_runner", "parameters": {"code": "print(1)"}}' -n 4000 -c $concurrency 127.0.0.1:50951 \
        | grep -E 'Requests/sec|50 %|99 %|responses'
done
kill $server && wait $server || true
trap - EXIT
unset POLYAGENT_SOCKET

echo "== in process, through the C API"
cc -O2 -Iinclude -o build/bench/embed bench/embed.c build/main/src/libpolyagent.so \
    -Wl,-rpath,"$PWD/build/main/src"
POLYAGENT_HELPER="$PWD/build/main/src/polyagent-worker" build/bench/embed docs/assets/hello-wasi.wat

echo "== compute, the engine's own Python package beside (the first figure is its own time)"
if [ ! -x build/bench/venv/bin/python ]; then
    python3 -m venv build/bench/venv
    build/bench/venv/bin/pip install --quiet --disable-pip-version-check wasmtime==48.0.0 || true
fi
build/bench/venv/bin/python bench/peer_wasmtime.py bench/fib.wat || echo "no peer to compare with"

echo "== compute: fib(38) in wasm, and its cost with fuel"
hyperfine --shell=none --warmup 1 --min-runs 5 --style basic --export-json build/bench/compute.json \
    "build/polyagent run bench/fib.wat" "build/polyagent run --fuel 100000000000 bench/fib.wat" \
    ${peers:+"wasmtime run bench/fib.wat"}

echo "== a good client's latency beside bombs"
bench/bombs.py
