#!/bin/sh
# check-image.sh FOLDER: goes through the steps of the Dockerfile's last stage in a bare Debian root in FOLDER (debootstrap,
# as root), and runs the server there as the image would: another user, no capabilities, a read-only root.
set -eu
cd "$(dirname "$0")/.."
root=$1
mirror=$(sed -n 's/^URIs: *//p; s/^deb *\(\[.*\] *\)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n1)
[ -d "$root/usr" ] || debootstrap --variant=minbase bookworm "$root" "$mirror" >/dev/null
cp deploy/install-runtime.sh "$root/tmp/"
chroot "$root" getent passwd polyagent >/dev/null || chroot "$root" /tmp/install-runtime.sh
make -s install DESTDIR="$(realpath "$root")" >/dev/null
cp deploy/container.yaml "$root/etc/polyagent/polyagent.yaml"
port=${PORT:-18000}
unshare --mount sh -eu -c '
    root=$1 port=$2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    for folder in tmp var/lib/polyagent var/cache/polyagent dev; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
    for device in null zero urandom random; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
    mount -o remount,bind,ro "$root"
    exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- \
        env -i PATH=/usr/local/bin:/usr/bin:/bin POLYAGENT_STATE_DIR=/var/lib/polyagent/state POLYAGENT_CACHE_DIR=/var/cache/polyagent/code \
        POLYAGENT_SOCKET=/tmp/polyagent.sock \
        polyagent serve --config /etc/polyagent/polyagent.yaml --http 127.0.0.1:"$port" --grpc off
' sh "$(realpath "$root")" "$port" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true' EXIT
for _ in $(seq 120); do
    if curl -sf -m 2 "127.0.0.1:$port/ready" >/dev/null; then break; fi
    kill -0 "$server"
    sleep 0.5
done
curl -sf -m 10 "127.0.0.1:$port/tools/execute" -d '{"tool": "python_wasi_runner", "parameters": {"code": "print(2 + 2)"}}'
echo
