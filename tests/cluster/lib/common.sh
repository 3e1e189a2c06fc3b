# Paths, progress, packages and processes. Sourced by cluster.sh and images/build.sh.
# shellcheck shell=bash

cache=${NTRO_CACHE:-$HOME/.cache/ntro}
run=${NTRO_CLUSTER_DIR:-/var/lib/ntro-cluster}
containerd_state=/run/ntro-containerd
containerd_socket=$containerd_state/containerd.sock
node_name=node0
registry_port=5000
auth_registry_port=5001
auth_user=ntro
auth_password=ntro-test

own_cluster() { [ -z "${NTRO_USE_KUBECONFIG:-}" ]; }

say() { printf '[%5ds] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

timed() { # label command...: runs the command, with a sign of life every 20 s, and says how long it took
  local label=$1 began=$SECONDS ticker status
  shift
  say "$label ..."
  (trap 'kill $! 2>/dev/null; exit 0' TERM; while :; do sleep 20 >/dev/null 2>&1 & wait $!; say "$label ... still going, $((SECONDS - began)) s"; done) 9>&- &
  ticker=$!
  set +e # a command in "||" would run with errexit off, so it runs alone, in a shell of its own that has it on
  (set -e; "$@")
  status=$?
  set -e
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  [ "$status" = 0 ] || { say "$label: FAILED after $((SECONDS - began)) s"; return "$status"; }
  say "$label: done in $((SECONDS - began)) s"
}

content_hash() { # directory, path in it...: one short name for what is there, wherever the directory lies
  (cd "$1" && shift && find "${@:-.}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
}

wait_for() { # seconds command...
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { say "timed out waiting for: $*"; return 1; }
    sleep 0.1
  done
}

as_root() { # runs the script again as root, with the caller's HOME (one cache), PATH (go, python) and settings
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || die "this needs root, and there is no sudo"
  local name settings=()
  for name in $(compgen -e | grep -E '^(HOME|PATH|KUBECONFIG|(NTRO|PIP|CARGO|RUSTUP)_.*|.*_(proxy|PROXY))$'); do settings+=("$name=${!name}"); done
  exec sudo -- env "${settings[@]}" "$@"
}

# One build, up or down at a time. Whatever is started to stay must close descriptor 9, or it keeps the lock.
lock() {
  mkdir -p "$cache"
  exec 9>"$cache/$1.lock"
  flock -n 9 || { say "waiting for another run to finish"; flock 9; }
}

# Packages are installed only where the command or file is missing: a host with another packaging of containerd keeps it.
packages_node='containerd containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
iptables iptables
ip iproute2
openssl openssl
perl perl-base'
packages_images='buildah buildah
skopeo skopeo
mmdebstrap mmdebstrap
curl curl
jq jq
gcc gcc
strip binutils
/usr/include/stdlib.h libc6-dev
/etc/ssl/certs/ca-certificates.crt ca-certificates'

install_packages() {
  local need=() sudo=() list=$packages_images what package
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  if own_cluster; then list+=$'\n'$packages_node; fi
  while read -r what package; do
    case $what in
      /*) [ -e "$what" ] || need+=("$package") ;;
      *) command -v "$what" >/dev/null || [ -x "/usr/sbin/$what" ] || need+=("$package") ;;
    esac
  done <<<"$list"
  python3 -m pip --version >/dev/null 2>&1 || need+=(python3-pip)
  [ ${#need[@]} = 0 ] && return
  command -v apt-get >/dev/null || die "missing, and no apt-get to install them: ${need[*]}"
  timed "installing packages: ${need[*]}" install_with_apt "${need[@]}"
}

install_with_apt() { # one at a time: apt does not wait for another one's lists
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends)
  mkdir -p "$cache"
  (
    flock 8
    "${apt[@]}" install "$@" >/dev/null 2>&1 || # most often the lists are there and fresh
      { "${apt[@]}" update >/dev/null && "${apt[@]}" install "$@" >/dev/null; }
  ) 8>"$cache/apt.lock"
}

put() { # file: takes standard input, and leaves the file alone if it says so already (kube-proxy ends when its file is touched)
  cat >"$1.new"
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# A process is known by its id and start time: an id alone may have gone to somebody else since. A zombie is none.
process_identity() { sed -n 's/^[0-9]* (.*) //p' "/proc/$1/stat" 2>/dev/null | awk -v pid="$1" '$1 != "Z" {print pid, $20}'; }

alive() { # name
  local recorded
  recorded=$(cat "$run/pid/$1" 2>/dev/null) && [ -n "$recorded" ] && [ "$(process_identity "${recorded% *}")" = "$recorded" ]
}

ensure() { # name configuration-file|- command...: running, with this command and this configuration
  local name=$1 config=$2 wanted pid
  shift 2
  wanted="$* $([ "$config" = - ] || sha256sum <"$config")"
  if alive "$name"; then
    [ "$(cat "$run/pid/$name.command")" = "$wanted" ] && return
    say "$name: configuration changed, restarting"
    stop "$name"
  fi
  setsid nohup "$@" >>"$run/log/$name.log" 2>&1 </dev/null 9>&- &
  pid=$!
  process_identity "$pid" >"$run/pid/$name"
  printf '%s\n' "$wanted" >"$run/pid/$name.command"
  started="${started:-} $name"
}

stop() { # name: ends one of our own processes
  local pid
  alive "$1" || { rm -f "$run/pid/$1"; return 0; }
  pid=$(cut -d' ' -f1 "$run/pid/$1")
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 50); do alive "$1" || break; sleep 0.1; done
  ! alive "$1" || kill -9 "$pid" 2>/dev/null || true
  rm -f "$run/pid/$1"
}
