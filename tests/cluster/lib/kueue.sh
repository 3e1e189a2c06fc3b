# Kueue, for the tests of queues: built from its Go module, in an image of that one binary, installed with its own chart.
# shellcheck shell=bash

kueue_bin=$cache/bin/kueue-$(content_hash "$modules/kueue")
kueue_version=$(awk '$1 == "sigs.k8s.io/kueue" {print $2}' "$modules/kueue/go.mod")

build_kueue() {
  timed "building Kueue $kueue_version (about 4 minutes cold on 2 cores)" go_build "$modules/kueue" "$1/manager" "" sigs.k8s.io/kueue/cmd/kueue
  cp -r "$(cd "$modules/kueue" && GOWORK=off go list -m -f '{{.Dir}}' sigs.k8s.io/kueue)/charts/kueue" "$1/chart"
  chmod -R u+w "$1/chart"
}

kueue_image() { # archive: in the format of "docker save"
  local parts
  parts=$(mktemp -d)
  tar -C "$kueue_bin" --owner 0 --group 0 -cf "$parts/layer.tar" manager
  jq -n --arg diff "sha256:$(sha256sum <"$parts/layer.tar" | cut -c1-64)" --arg arch "$(cd "$modules/kueue" && go env GOARCH)" \
    '{os: "linux", architecture: $arch, config: {User: "65532:65532"}, rootfs: {type: "layers", diff_ids: [$diff]}}' >"$parts/config.json"
  echo '[{"Config": "config.json", "Layers": ["layer.tar"]}]' >"$parts/manifest.json"
  tar -C "$parts" -cf "$1" manifest.json config.json layer.tar
  rm -rf "$parts"
}

# Only namespaces with the label are Kueue's business, so that tests of everything else do not depend on its webhook.
kueue_up() {
  local repository archive
  [ -d "$kueue_bin" ] || die "run \"cluster.sh kueue build\" first"
  repository=$(registry_address)/kueue
  if ! in_registry "$repository:$kueue_version"; then
    archive=$(mktemp)
    kueue_image "$archive"
    into_registry "docker-archive:$archive" "$repository:$kueue_version"
    rm -f "$archive"
  fi
  ! own_cluster || export KUBECONFIG=$run/admin.conf
  "$helm_bin/helm" upgrade --install kueue "$kueue_bin/chart" \
    --namespace kueue-system --create-namespace --wait --timeout 4m -f - >/dev/null <<X
controllerManager:
  manager:
    image: {repository: $repository, tag: $kueue_version, pullPolicy: IfNotPresent}
    resources: {requests: {cpu: 50m, memory: 64Mi}}
  readinessProbe: {initialDelaySeconds: 1}
managerConfig:
  controllerManagerConfigYaml: |
    apiVersion: config.kueue.x-k8s.io/v1beta2
    kind: Configuration
    health: {healthProbeBindAddress: ":8081"}
    metrics: {bindAddress: ":8443"}
    webhook: {port: 9443}
    managedJobsNamespaceSelector: {matchLabels: {ntro.test/queues: kueue}}
    integrations: {frameworks: [batch/job]}
X
}

kueue() { # build|up
  case ${1:-} in
    build) build_into "$kueue_bin" build_kueue ;;
    up) timed "installing Kueue $kueue_version" kueue_up ;;
    *) die "kueue: build or up, not \"${1:-}\"" ;;
  esac
}
