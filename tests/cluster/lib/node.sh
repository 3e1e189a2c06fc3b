# The node: containerd, sandbox image, CNI, kubelet, kube-proxy.
# shellcheck shell=bash

ctr() { command ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

containerd_configuration() {
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE a negative score is refused, and every sandbox dies with
  # "can't get final child's PID from pipe". The mirror entry is what lets the node pull by plain http.
  cat <<X
version = 2
root = "$run/containerd"
state = "$containerd_state"
[grpc]
  address = "$containerd_socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."$ip:$registry_port"]
    endpoint = ["http://$ip:$registry_port"]
X
}

cni_configuration() { # addresses are recorded in our own directory, so that "down" gives them all back
  cat <<X
{"cniVersion":"0.4.0","name":"ntro-test","plugins":[
 {"type":"bridge","bridge":"ntro0","isGateway":true,"ipMasq":true,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"$run/cni-addresses","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
X
}

kubelet_configuration() {
  # failCgroupV1: from 1.35 on a cgroup v1 host is refused otherwise. NeverVerify: or an imported image is pulled again
  # as soon as the same content also came from a registry. Nothing is evicted or collected because the host's disk is full of other things.
  cat <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $run/pki/kubelet.crt
tlsPrivateKeyFile: $run/pki/kubelet.key
containerRuntimeEndpoint: unix://$containerd_socket
cgroupDriver: cgroupfs
failSwapOn: false
failCgroupV1: false
imagePullCredentialsVerificationPolicy: NeverVerify
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
enforceNodeAllocatable: []
evictionHard: {}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
resolvConf: ""
maxPods: 250
featureGates: {KubeletCrashLoopBackOffMax: true}
# Tests kill the operator many times: what they wait for is its recovery, not the back-off of the node.
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
X
}

proxy_configuration() {
  # maxPerCore: the connection tracking limit is the host's business. masqueradeAll: a pod that reaches a pod of the same
  # bridge through a Service gets its answer only through the host, and br_netfilter is not in every kernel.
  cat <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $run/proxy.conf}
mode: iptables
clusterCIDR: 10.244.0.0/16
hostnameOverride: $node_name
conntrack: {maxPerCore: 0}
iptables: {masqueradeAll: true}
X
}

# The sandbox image is made here, because none can be pulled: one static program that waits to be stopped.
pause_image() {
  [ -f "$run/pause.tar" ] && return
  local work=$run/pause
  mkdir -p "$work"
  printf '#include <signal.h>\n#include <unistd.h>\nstatic void stop(int s){(void)s;_exit(0);}\nint main(void){signal(SIGTERM,stop);signal(SIGINT,stop);for(;;)pause();}\n' |
    gcc -static -Os -x c - -o "$work/pause"
  tar -C "$work" --owner 0 --group 0 -cf "$work/layer.tar" pause
  local diff arch
  diff=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$arch" "$diff" >"$work/config.json"
  printf '[{"Config":"config.json","RepoTags":["localhost/pause:1"],"Layers":["layer.tar"]}]' >"$work/manifest.json"
  tar -C "$work" -cf "$run/pause.tar.part" manifest.json config.json layer.tar
  mv "$run/pause.tar.part" "$run/pause.tar"
}

node_ready() { kubectl wait --for=condition=Ready "node/$node_name" --timeout=1s; }

node() {
  mkdir -p "$run/cni" "$run/kubelet"
  containerd_configuration | put "$run/containerd.toml"
  cni_configuration | put "$run/cni/10-bridge.conflist"
  kubelet_configuration | put "$run/kubelet.yaml"
  proxy_configuration | put "$run/proxy.yaml"
  sysctl -qw net.ipv4.ip_forward=1
  ensure containerd "$run/containerd.toml" containerd --config "$run/containerd.toml"
  wait_for 30 ctr version || { tail -n 20 "$run/log/containerd.log" >&2; die "containerd does not answer"; }
  pause_image
  ctr images ls -q name==localhost/pause:1 | grep -q . || ctr images import "$run/pause.tar" >/dev/null
  ensure kubelet "$run/kubelet.yaml" "$kubernetes_bin/kubelet" --config "$run/kubelet.yaml" --kubeconfig "$run/kubelet.conf" \
    --hostname-override "$node_name" --node-ip "$ip" --root-dir "$run/kubelet"
  ensure kube-proxy "$run/proxy.yaml" "$kubernetes_bin/kube-proxy" --config "$run/proxy.yaml"
}

remove_node() {
  if [ -S "$containerd_socket" ]; then # the kubelet is gone, so nothing starts these again; a shim ends with its task
    ctr tasks ls -q | xargs -r -n1 command ctr --address "$containerd_socket" --namespace k8s.io tasks delete --force >/dev/null 2>&1 || true
  fi
  stop containerd
  awk -v d="$run/" -v s="$containerd_state/" 'index($2, d) == 1 || index($2, s) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l || true
  ip link del ntro0 2>/dev/null || true
  [ ! -x "$kubernetes_bin/kube-proxy" ] || "$kubernetes_bin/kube-proxy" --cleanup >/dev/null 2>&1 || true
}
