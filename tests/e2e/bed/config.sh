# Settings of the test bed; every one can be overridden from the environment.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${KT_DIR:=/var/tmp/ottla-bed}"    # state, logs, pids, kubeconfigs: one bed a machine, whichever clone asks
: "${KT_BIN:=${OTTLA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ottla}/bed}"   # built binaries and image archives
[ ! -e "$KT_DIR/settings" ] || . "$KT_DIR/settings"   # those of the running test bed
: "${KT_NODES:=1}"                   # kubelets, each in its own network namespace
: "${KT_PREFIX:=100.66.0}"         # /24 that joins host and nodes (bridge kt0)
: "${KT_POD_PREFIX:=100.64}"         # /16 of pods; node N gets $KT_POD_PREFIX.N.0/24
: "${KT_SVC_PREFIX:=100.65}"          # /16 of Services
: "${KT_PROXY_MODE:=nftables}"       # nftables or iptables
: "${KT_ETCD_PORT:=12379}"
: "${KT_NODE_GRACE:=50s}"            # node-monitor-grace-period (time until NotReady)
: "${KT_EVICT_SECONDS:=300}"         # default NoExecute toleration seconds
: "${KT_ZONES:=3}"                   # node N gets topology.kubernetes.io/zone=rack(N mod KT_ZONES)
: "${KUBE_VERSION:=v1.34.4}"
HOST_IP=$KT_PREFIX.1
API=https://$HOST_IP:6443
PKI=$KT_DIR/pki KCFG=$KT_DIR/kubeconfig LOG=$KT_DIR/log PIDS=$KT_DIR/pid
PAUSE_IMAGE=kt.local/pause:1
export KUBECONFIG=$KCFG/admin
export PATH=$KT_BIN:$PATH

node_ip() { echo "$KT_PREFIX.$((10 + $1))"; }
say() { printf '%6.1fs %s\n' "$(awk -v a="${T0:-$(date +%s.%N)}" -v b="$(date +%s.%N)" 'BEGIN{print b-a}')" "$*"; }
starttime() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# alive NAME: true if the process that NAME's pid file records still runs.
# The start time is kept beside the pid, so a reused pid is never taken for ours.
alive() {
	local pid st
	[ -e "$PIDS/$1" ] || return 1
	read -r pid st <"$PIDS/$1"
	[ -n "$st" ] && [ "$(starttime "$pid")" = "$st" ]
}

# start NAME [-n NETNS] CMD...: run CMD in the background, once.
start() {
	local name=$1 ns=()
	shift
	if [ "$1" = -n ]; then ns=(nsenter "--net=/run/netns/$2"); shift 2; fi
	alive "$name" && return 0
	# Session of its own, no inherited descriptors; exec keeps the pid.
	( exec setsid "${ns[@]}" "$@" </dev/null >>"$LOG/$name.log" 2>&1 ) &
	local pid=$!
	echo "$pid $(starttime $pid)" >"$PIDS/$name"
}

# stop NAME [SECONDS]: TERM, then KILL after SECONDS.
stop() {
	local pid st i
	alive "$1" || { rm -f "$PIDS/$1"; return 0; }
	read -r pid st <"$PIDS/$1"
	kill "$pid" 2>/dev/null
	for ((i = 0; i < ${2:-10} * 20; i++)); do
		alive "$1" || break
		sleep 0.05
	done
	alive "$1" && kill -9 "$pid" 2>/dev/null
	rm -f "$PIDS/$1"
}

# until_ok SECONDS WHAT CMD...: poll.
until_ok() {
	local end=$(($(date +%s) + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		if [ "$(date +%s)" -ge "$end" ]; then
			echo "timed out waiting for: $what" >&2
			return 1
		fi
		sleep 0.2
	done
}

# put FILE: write standard input to FILE, but leave an equal file untouched
# (kube-proxy ends itself when its configuration file is written).
put() {
	local new
	new=$(cat; echo x)
	printf %s "${new%x}" | cmp -s - "$1" 2>/dev/null || printf %s "${new%x}" >"$1"
}

# stop_pods N: kill at once every process in node N's pods, and their shims.
# Both are known for certain: by node N's cgroup, and by its containerd's socket.
stop_pods() {
	local i p pids
	for i in 1 2 3 4 5; do
		pids=$(find /sys/fs/cgroup/pids/kt/node"$1" -name cgroup.procs -exec cat {} + 2>/dev/null)
		for p in /proc/[0-9]*; do
			[[ $(tr '\0' ' ' <"$p/cmdline") == *containerd-shim*" -address $KT_DIR/node$1/containerd.sock "* ]] && pids+=" ${p#/proc/}"
		done 2>/dev/null
		[ -n "$pids" ] || return 0
		kill -KILL $pids 2>/dev/null
		sleep 0.1
	done
}
