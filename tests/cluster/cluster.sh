#!/usr/bin/env bash
# A real single-node Kubernetes on a bare Debian host, for tests and the demo: control plane and kubelet built from Go
# modules; containerd, runc and CNI plugins from Debian; a registry; Helm. No container engine.
#   cluster.sh build                  install and build what is missing (cached)
#   cluster.sh packages               only install the missing Debian packages, and unpack the registry's
#   cluster.sh up                     bring everything up, or heal what is not running; the controller manager runs with
#                                     $NTRO_CONTROLLER_MANAGER_FLAGS, if set, and is restarted when they change
#   cluster.sh env                    print the shell lines that make kubectl, helm and the registry usable
#   cluster.sh load IMAGE.tar...      import image archives into the node (such images run by tag only)
#   cluster.sh registry [start|stop|restart|status] [main|auth]
#   cluster.sh push-images            build the operator's and the runner's image, push both (images/build.sh)
#   cluster.sh kueue build|up         build Kueue; install it, for the namespaces labelled ntro.test/queues=kueue
#   cluster.sh status
#   cluster.sh down                   remove the cluster and everything in it; what was built stays cached
set -euo pipefail

self=$(realpath "${BASH_SOURCE[0]}")
here=$(dirname "$self")
for part in common binaries control_plane node addons registry kueue; do
  # shellcheck source=/dev/null
  . "$here/lib/$part.sh"
done

up() {
  local name
  if ! own_cluster; then
    kubectl get --raw /readyz >/dev/null || die "the cluster of KUBECONFIG=${KUBECONFIG:-} does not answer"
    registry_address >/dev/null
    return
  fi
  for name in "$kubernetes_bin" "$coredns_bin" "$registry_bin"; do [ -d "$name" ] || die "run \"cluster.sh build\" first"; done
  if [ -f "$run/node-ip" ] && [ "$(cat "$run/node-ip")" != "$ip" ]; then
    say "the host's address changed from $(cat "$run/node-ip") to $ip: starting afresh"
    down
  fi
  mkdir -p "$run"/{pki,log,pid,etcd,registry}
  echo "$ip" >"$run/node-ip"
  cp "$here/audit-policy.yaml" "$run/audit-policy.yaml"
  certificates
  registry_start main
  control_plane
  node
  dns
  storage
  wait_for 60 node_ready || { tail -n 20 "$run/log/kubelet.log" >&2; die "the node does not get ready"; }
  wait_for 30 kubectl get serviceaccount default
  if [ -n "${started:-}" ]; then say "up; started:$started"; else say "up; everything was running"; fi
}

print_env() {
  if ! own_cluster; then
    echo "export PATH=$helm_bin:\$PATH NTRO_REGISTRY=$(registry_address)"
    return
  fi
  cat <<X
export PATH=$kubernetes_bin:$helm_bin:\$PATH
export NTRO_REGISTRY=$(registry_address)
export KUBECONFIG=$run/admin.conf
export NTRO_AUDIT_LOG=$run/log/audit.log
export NTRO_AUTH_REGISTRY=$ip:$auth_registry_port NTRO_AUTH_USER=$auth_user NTRO_AUTH_PASSWORD=$auth_password
X
}

status() {
  local name
  if own_cluster; then
    for name in etcd apiserver controller-manager scheduler containerd kubelet kube-proxy coredns registry-main registry-auth; do
      printf '%-20s %s\n' "$name" "$(if alive $name; then echo running; else echo stopped; fi)"
    done
  fi
  kubectl get nodes,pods -A -o wide
}

down() {
  local name
  own_cluster || die "the cluster of KUBECONFIG was not made here and is left alone"
  # The API server before etcd, or it hangs in its drain.
  for name in registry-auth registry-main kubelet kube-proxy coredns scheduler controller-manager apiserver etcd; do stop "$name"; done
  remove_node
  rm -rf "$run" "$containerd_state"
}

command=${1:-}
shift || true
case $command in
  build | packages | push-images | kueue | env) ;; # as the caller: caches stay the caller's
  up | load | registry | status | down) ! own_cluster || as_root "$self" "$command" "$@" ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$self" >&2; exit 2 ;;
esac
ip=$(node_ip)
case $command in
  build) lock build && build ;;
  packages) lock build && packages ;;
  up) lock up && timed "bringing the cluster up" up ;;
  load) for image in "$@"; do ctr images import "$image" >/dev/null; done ;;
  registry) mkdir -p "$run"/{log,pid,registry} && registry "$@" ;;
  push-images) exec "$here/../../images/build.sh" "$@" ;;
  kueue) lock "kueue-${1:-}" && kueue "$@" ;;
  env) print_env ;;
  status) status ;;
  down) lock up && timed "removing the cluster" down ;;
esac
