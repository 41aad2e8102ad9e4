#!/bin/sh
# install-deps.sh [PACKAGE]...: installs the Debian packages that are missing: those named, or what building and testing
# need but for the browser. Rust (1.95) comes with the machine.
set -eu
packages="$*"
[ -n "$packages" ] || packages="meson ninja-build gcc pkg-config cmake libcmocka-dev libjansson-dev libsodium-dev libgcrypt20-dev libsystemd-dev
libseccomp-dev libcap-ng-dev libmicrohttpd-dev libyaml-dev libgrpc-dev libprotobuf-c-dev protobuf-c-compiler
protobuf-compiler libprotobuf-dev libcurl4-gnutls-dev libedit-dev libgnutls28-dev python3-venv
clang lld clang-format cppcheck wasi-libc libclang-rt-14-dev libclang-rt-dev-wasm32 binutils strace procps rustc libstd-rust-dev-wasm32"
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root="sudo"; fi
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
