#!/bin/sh
# fresh-machine.sh [--keep] [COMMAND]...: runs the README's two commands (or those given) in a new Debian 12 root that has nothing
# but `make` and what debootstrap installs. As root; about an hour, of which `make test` is most. What is committed is tested.
#
# --keep leaves the root in place, and a root that build/fresh-machine holds already is used again.
#
# From this machine the root gets: apt's sources, the resolver's configuration, certificates of its own, variables for proxies.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)/build/fresh-machine
keep=""
if [ "${1:-}" = --keep ]; then
    keep=yes
    shift
fi
[ $# -gt 0 ] || set -- "make demo" "make test"

fail() {
    echo "fresh-machine: $1" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "run it as root: it makes a root directory of its own"
scripts/install-deps.sh debootstrap git

clean() {
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
}
trap clean EXIT
trap 'exit 1' INT TERM

if [ ! -d "$root/polyagent" ]; then
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=make,ca-certificates bookworm "$root" >"$root.log" ||
        fail "debootstrap failed: see $root.log"
    cp -rL /etc/apt/sources.list* "$root/etc/apt/" || true
    cp -rL /usr/share/keyrings/. "$root/usr/share/keyrings/"
    if [ -d /usr/local/share/ca-certificates ]; then
        cp -rL /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
        chroot "$root" update-ca-certificates >>"$root.log" 2>&1
    fi
    git clone --quiet --no-hardlinks . "$root/polyagent"
fi
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
bundle=/etc/ssl/certs/ca-certificates.crt # pip and npm have one of their own, without this machine's

# Everything mounted for it is gone with the namespace; so is whatever still runs.
for command in "$@"; do
    echo "fresh-machine: $command"
    # shellcheck disable=SC2016
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} ${GOPROXY:+GOPROXY="$GOPROXY"} \
        PIP_CERT=$bundle NODE_EXTRA_CA_CERTS=$bundle \
        unshare --mount --pid --fork --kill-child sh -ec '
            root=$1 command=$2
            mount --make-rprivate /
            mount --bind "$root" "$root"
            mount -t proc proc "$root/proc"
            mount --rbind /sys "$root/sys"
            mount --rbind /dev "$root/dev"
            mount -t tmpfs tmpfs "$root/dev/shm"
            mount -t tmpfs tmpfs "$root/run"
            exec chroot "$root" sh -c "cd /polyagent && $command"' sh "$root" "$command" ||
        fail "'$command' failed in a new root"
done
echo "fresh-machine: all of it works in a new root"
