#!/bin/sh
# install-deps.sh [PACKAGE]...: installs the Debian packages that are missing: those that are named, or what building and
# testing need but for the browser. Then toolchains.sh adds what Debian has only in versions that are too old.
set -eu
cd "$(dirname "$0")/.."
RUST=1.95 # rust-version of engine/Cargo.toml

fail() {
    echo "install-deps: $1" >&2
    exit 1
}

# 1.96.0-something is at least 1.95.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

is_installed() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root="sudo"; fi
is_updated=""
update() {
    [ -z "$is_updated" ] || return 0
    $as_root apt-get update -qq || fail "apt-get update failed: look at the lines above and at the network, then run it again"
    is_updated=yes
}

install() {
    missing=""
    for package in "$@"; do
        is_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then fail "as root, run: apt-get install$missing"; fi
    echo "installing:$missing"
    update
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        fail "apt-get could not install$missing: look at the lines above, then run it again"
}

if [ $# -gt 0 ]; then
    install "$@"
    exit 0
fi

# The engine needs a newer Rust than Debian's rustc. Debian's own has the WebAssembly target that a test of Rust programs
# needs; the two cannot be installed side by side.
rust=$(cargo --version 2>/dev/null | cut -d ' ' -f 2 || true)
if [ -n "$rust" ] && at_least "$rust" "$RUST"; then
    rust_packages=""
    is_installed rustc-web || rust_packages="rustc libstd-rust-dev-wasm32"
else
    update
    candidate=$(apt-cache policy cargo-web | sed -n 's/ *Candidate: //p')
    at_least "${candidate:-0}" "$RUST" ||
        fail "no Rust $RUST: install it by rustup, or add the suite bookworm-security to apt's sources, whose cargo-web is new enough"
    rust_packages="rustc-web cargo-web"
fi
# shellcheck disable=SC2086
install ca-certificates git python3 python3-venv meson ninja-build gcc libc6-dev pkg-config cmake libcmocka-dev libjansson-dev \
    libsodium-dev libgcrypt20-dev libsystemd-dev libseccomp-dev libcap-ng-dev libmicrohttpd-dev libyaml-dev libgrpc-dev \
    libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libprotobuf-dev libcurl4-gnutls-dev libedit-dev libgnutls28-dev \
    clang lld clang-format cppcheck wasi-libc libclang-rt-14-dev libclang-rt-dev-wasm32 binutils strace procps curl $rust_packages
scripts/toolchains.sh
