# Kubernetes, etcd, CoreDNS, Helm and the registry: built from Go modules, or taken out of a Debian package.
# shellcheck shell=bash

modules=$here/modules
kubernetes_version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$modules/kubernetes/go.mod")
# Each module's binaries are kept under the hash of what they are built from.
kubernetes_bin=$cache/bin/kubernetes-$(content_hash "$modules/kubernetes")
coredns_bin=$cache/bin/coredns-$(content_hash "$modules/coredns")
helm_bin=$cache/bin/helm-$(content_hash "$modules/helm")
registry_bin=$cache/bin/registry

kubectl() {
  if own_cluster; then "$kubernetes_bin/kubectl" --kubeconfig "$run/admin.conf" "$@"; else command kubectl "$@"; fi
}

go_build() { # module directory, destination, linker flags, package...
  local module=$1 into=$2 flags=$3
  shift 3
  (cd "$module" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-buildvcs=false go build -trimpath -ldflags "-s -w $flags" -o "$into" "$@")
}

build_into() { # destination, function that fills a directory: all or nothing
  local into=$1
  shift
  [ -d "$into" ] && return
  rm -rf "$into.part"
  mkdir -p "$into.part"
  "$@" "$into.part"
  mv "$into.part" "$into"
}

# Without these linker flags the components call themselves v0.0.0-master, and version checks misbehave.
build_kubernetes() {
  local v=k8s.io/component-base/version minor=${kubernetes_version#v1.}
  timed "building Kubernetes $kubernetes_version (about 9 minutes cold on 2 cores)" \
    go_build "$modules/kubernetes" "$1/" "-X $v.gitVersion=$kubernetes_version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}
  timed "building etcd" go_build "$modules/kubernetes" "$1/etcd" "" go.etcd.io/etcd/server/v3
}

# Its own module: beside Kubernetes it would lift etcd's client past etcd's server and break that.
build_coredns() { timed "building CoreDNS" go_build "$modules/coredns" "$1/coredns" "" .; }

build_helm() {
  local version v=helm.sh/helm/v4/internal/version
  version=$(awk '$1 == "helm.sh/helm/v4" {print $2}' "$modules/helm/go.mod")
  timed "building Helm $version (about 3 minutes cold)" go_build "$modules/helm" "$1/helm" "-X $v.version=$version" helm.sh/helm/v4/cmd/helm
}

# Taken out of the package, not installed: installing would start a registry of the system's own on our port.
unpack_registry() {
  [ "$(id -u)" != 0 ] || chmod 755 "$1"
  (cd "$1" && { apt-get download -qq docker-registry 2>/dev/null || { sudo_apt_update && apt-get download -qq docker-registry; }; } >/dev/null 2>&1 &&
    dpkg -x docker-registry_*.deb . && mv usr/bin/docker-registry . && rm -rf etc lib usr var docker-registry_*.deb)
}

sudo_apt_update() { if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi; }

build() {
  packages
  mkdir -p "$cache/bin"
  build_into "$helm_bin" build_helm
  own_cluster || return 0
  build_into "$kubernetes_bin" build_kubernetes
  build_into "$coredns_bin" build_coredns
}

packages() {
  install_packages
  build_into "$registry_bin" unpack_registry
}
