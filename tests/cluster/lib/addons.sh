# DNS and storage.
# shellcheck shell=bash

dns() { # CoreDNS on the host behind the usual Service address
  put "$run/Corefile" <<X
.:5353 {
  errors
  ready
  cache 10
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $run/dns.conf ntro-test
  }
}
X
  ensure coredns "$run/Corefile" "$coredns_bin/coredns" -conf "$run/Corefile"
  kubectl apply -f - >/dev/null <<X
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: dns, port: 53, targetPort: 5353, protocol: UDP}, {name: dns-tcp, port: 53, targetPort: 5353, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: ["$ip"]}]
ports: [{name: dns, port: 5353, protocol: UDP}, {name: dns-tcp, port: 5353, protocol: TCP}]
X
}

# There is no provisioner: twenty volumes of the default class lie ready. "local" ones, because fsGroup is not applied to
# hostPath. A volume whose claim is gone is emptied and offered again.
storage() {
  local n known
  for n in $(kubectl get pv -o jsonpath='{.items[?(@.status.phase=="Released")].metadata.name}'); do
    case $n in
      local-*)
        kubectl delete pv "$n" >/dev/null
        rm -rf "$run/volumes/${n#local-}"
        ;;
    esac
  done
  known=$(kubectl get pv -o name)
  {
    cat <<X
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
X
    for n in $(seq 0 19); do
      grep -qx "persistentvolume/local-$n" <<<"$known" || volume "$n"
    done
  } | kubectl apply -f - >/dev/null
}

volume() { # number
  mkdir -p "$run/volumes/$1"
  cat <<X
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-$1}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: standard
  persistentVolumeReclaimPolicy: Retain
  local: {path: "$run/volumes/$1"}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$node_name]}]}]}}
X
}
