#!/bin/sh
# What the image needs beside polyagent itself, on Debian 12: libraries, the user, its folders.
set -eu
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libgrpc29 libprotobuf-c1 libmicrohttpd12 \
    libgnutls30 libcurl3-gnutls libjansson4 libsodium23 libsystemd0 libseccomp2 libcap-ng0 libyaml-0-2 libedit2 libgcrypt20 >/dev/null
rm -rf /var/lib/apt/lists/*
groupadd --gid 10001 polyagent
useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/polyagent --shell /usr/sbin/nologin polyagent
install -d -o 10001 -g 10001 -m 0700 /var/lib/polyagent /var/cache/polyagent
install -d -m 0755 /etc/polyagent /opt/wasm-interpreters
