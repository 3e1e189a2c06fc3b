# Certificates, etcd, API server, controller manager, scheduler.
# shellcheck shell=bash

node_ip() { # kept as long as the host has it: certificates and the registry's name contain it
  local known
  known=$(cat "$run/node-ip" 2>/dev/null || true)
  local here_now
  here_now=$(ip -4 -o addr show scope global | awk '$2 !~ /^(ntro|veth|docker|cni)/ {sub("/.*", "", $4); print $4}')
  if [ -n "$known" ] && grep -qxF "$known" <<<"$here_now"; then echo "$known"; else head -n1 <<<"$here_now"; fi
}

certificates() {
  mkdir -p "$run/pki"
  [ -f "$run/pki/complete" ] && return
  local ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  (
    cd "$run/pki" || exit
    openssl req -x509 "${ec[@]}" -keyout ca.key -out ca.crt -subj /CN=kubernetes -days 3650 2>/dev/null
    openssl ecparam -name prime256v1 -genkey -noout -out sa.key
    openssl ec -in sa.key -pubout -out sa.pub 2>/dev/null
    certificate apiserver /CN=kube-apiserver \
      "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$ip"
    certificate front-proxy /CN=front-proxy
    certificate admin /O=system:masters/CN=admin
    certificate controller-manager /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate kubelet "/O=system:nodes/CN=system:node:$node_name" "DNS:$node_name,IP:127.0.0.1,IP:$ip"
    certificate proxy /CN=system:kube-proxy
    certificate dns /O=system:masters/CN=dns
    touch complete
  )
  for user in admin controller-manager scheduler kubelet proxy dns; do kubeconfig $user; done
  chmod 600 "$run"/*.conf
  [ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID" "$run/admin.conf"
}

certificate() { # name, subject, [alternative names]
  openssl req "${ec[@]}" -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" 2>/dev/null \
    -extfile <(printf 'extendedKeyUsage=clientAuth,serverAuth\n%s\n' "${3:+subjectAltName=$3}")
}

kubeconfig() { # user: written as text, because "kubectl config" takes 50 ms for each of 24 calls
  cat >"$run/$1.conf" <<X
apiVersion: v1
kind: Config
clusters: [{name: ntro-test, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 "$run/pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$run/pki/$1.crt"), client-key-data: $(base64 -w0 "$run/pki/$1.key")}}]
contexts: [{name: ntro-test, context: {cluster: ntro-test, user: $1}}]
current-context: ntro-test
X
}

# etcd first: without it the API server gives up its start. No fsync: the cluster is thrown away, and the disk is slow.
control_plane() {
  local pki=$run/pki
  ensure etcd - "$kubernetes_bin/etcd" --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync --log-level warn
  ensure apiserver "$run/audit-policy.yaml" "$kubernetes_bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --secure-port 6443 \
    --advertise-address "$ip" --service-cluster-ip-range 10.96.0.0/16 --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --allow-privileged --kubelet-preferred-address-types InternalIP \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/sa.pub" \
    --service-account-signing-key-file "$pki/sa.key" \
    --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
    --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy \
    --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group \
    --requestheader-username-headers X-Remote-User \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key" \
    --audit-policy-file "$run/audit-policy.yaml" --audit-log-path "$run/log/audit.log" --audit-log-maxsize 200 --audit-log-maxbackup 2
  wait_for 90 kubectl get --raw /readyz || { tail -n 20 "$run/log/apiserver.log" >&2; die "the API server does not get ready"; }
  ensure controller-manager - "$kubernetes_bin/kube-controller-manager" --kubeconfig "$run/controller-manager.conf" --leader-elect=false \
    --use-service-account-credentials --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" \
    --cluster-cidr 10.244.0.0/16 --allocate-node-cidrs --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    ${NTRO_CONTROLLER_MANAGER_FLAGS:-}
  ensure scheduler - "$kubernetes_bin/kube-scheduler" --kubeconfig "$run/scheduler.conf" --leader-elect=false
}
