#!/bin/bash
# Packages, binaries and images. Does only what is missing or out of date.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/config.sh"
T0=${T0:-$(date +%s.%N)}
mkdir -p "$KT_BIN"

need=()
for p in containerd runc containernetworking-plugins iptables nftables conntrack iproute2 ethtool openssl busybox-static gcc libc6-dev; do
	dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || need+=("$p")
done
if [ ${#need[@]} -gt 0 ]; then
	apt-get update -qq
	# Debian's packages must not start daemons of their own.
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" </dev/null >"$KT_BIN/apt.log" 2>&1
	say "installed ${need[*]}"
fi

# stale OUT FILE...: true if OUT was not made from exactly these files.
stale() {
	local out=$1 sum
	shift
	sum=$(cat "$@" | sha256sum)
	[ -e "$out" ] && [ "$(cat "$out.sum" 2>/dev/null)" = "$sum" ] && return 1
	echo "$sum" >"$out.sum.new"
}
made() { mv "$1.sum.new" "$1.sum"; say "made $(basename "$1"), $(stat -c %s "$1") bytes"; }

cd "$HERE/kubebox"
if stale "$KT_BIN/kubebox" ./*.go go.mod go.sum; then
	X=k8s.io/component-base/version
	minor=${KUBE_VERSION#v1.}
	# It takes long: the packages show how far it is.
	CGO_ENABLED=0 go build -v -trimpath -o "$KT_BIN/kubebox" -ldflags "-s -w \
		-X $X.gitVersion=$KUBE_VERSION -X $X.gitMajor=1 -X $X.gitMinor=${minor%%.*} -X $X.gitTreeState=clean" .
	made "$KT_BIN/kubebox"
fi
for t in kubectl coredns etcd kube-apiserver; do   # also what envtest wants in KUBEBUILDER_ASSETS
	ln -sf kubebox "$KT_BIN/$t"
done

cd "$HERE/images"
if stale "$KT_BIN/image-pause.tar" pause/pause.c ../mkimage.py; then
	gcc -Os -static -s -o "$KT_BIN/pause" pause/pause.c
	../mkimage.py -o "$KT_BIN/image-pause.tar" -t "$PAUSE_IMAGE" -a "$KT_BIN/pause" -e /pause -u 65535:65535
	made "$KT_BIN/image-pause.tar"
fi
if stale "$KT_BIN/image-busybox.tar" /bin/busybox ../mkimage.py; then
	rm -rf "$KT_BIN/busybox.root"
	mkdir -p "$KT_BIN/busybox.root/bin" "$KT_BIN/busybox.root/etc"
	cp /bin/busybox "$KT_BIN/busybox.root/bin/"
	/bin/busybox --list | while read -r a; do [ "$a" = busybox ] || ln -s busybox "$KT_BIN/busybox.root/bin/$a"; done
	echo root:x:0:0:root:/:/bin/sh >"$KT_BIN/busybox.root/etc/passwd"
	../mkimage.py -o "$KT_BIN/image-busybox.tar" -t kt.local/busybox:1 -a "$KT_BIN/busybox.root:/" -d /tmp:1777 -c sh
	made "$KT_BIN/image-busybox.tar"
fi
