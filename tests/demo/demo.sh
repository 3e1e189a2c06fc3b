#!/usr/bin/env bash
# The main job on a real cluster: two tenants, one runbook, a run that waits at a gate with nothing running, a reader,
# an approver, the outputs. Can be run again; leaves the cluster up.
set -euo pipefail

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
cluster=$root/tests/cluster/cluster.sh
ntro=$NTRO_BIN/ntro
system=ntro-system
started=$(date +%s)

step() { printf '\n\033[1m[%4ds] %s\033[0m\n' "$(($(date +%s) - started))" "$*" >&2; }
show() { printf '  $ %s\n' "$*" >&2; }
# Runs ntro as somebody, showing the command as that person would type it.
as() {
  local user=$1
  shift
  show "ntro $*   (as $user)"
  "$ntro" --as "$user" --as-group system:authenticated "$@"
}

step "Kubernetes, registry and Helm"
"$cluster" build
"$cluster" up
eval "$("$cluster" env)"

step "Images"
"$cluster" push-images
# shellcheck source=/dev/null
. "$NTRO_CACHE/images.env"

step "Charts"
helm upgrade --install ntro-crds "$root/charts/ntro-crds" --namespace $system --create-namespace --wait >/dev/null
helm upgrade --install --force-conflicts ntro "$root/charts/ntro" --namespace $system --wait --timeout 5m \
  --set image="$OPERATOR_IMAGE" --set runnerImage="$RUNNER_IMAGE" >/dev/null
kubectl -n $system rollout status statefulset/ntro --timeout=5m

step "Tenants"
tenant() { # slug
  show "ntro tenant create $1 --viewer vera@$1 --approver ada@$1 --runner rob@$1"
  "$ntro" tenant create "$1" --registry "$NTRO_REGISTRY/$1" --viewer "vera@$1" --approver "ada@$1" --runner "rob@$1"
}
tenant acme-fund-admin
tenant beta-fund-admin

step "Workflows"
workflow() { # tenant entity
  show "ntro workflow create --path examples/runbooks/nav-monthly --tenant $1 --entity $2 --schedule '0 8 5 * *'"
  "$ntro" workflow create --path "$root/examples/runbooks/nav-monthly" --tenant "$1" --entity "$2" --schedule "0 8 5 * *" --plain-http
}
workflow acme-fund-admin acme-commercial-spv1
workflow beta-fund-admin beta-spv1

tenant=acme-fund-admin
step "A run, started by rob@$tenant"
run=$(as rob@$tenant workflow run nav-monthly --tenant $tenant --period 2026-10 -o name)
run=${run#*/}
run_started=$(date +%s)
kubectl -n $tenant wait "nrun/$run" --for=jsonpath='{.status.phase}'=Waiting --timeout=3m

step "It waits for a person; none of its pods is running"
kubectl -n $tenant wait pod -l "ntro.dev/run=$run" --for=jsonpath='{.status.phase}'=Succeeded --timeout=2m
running=$(kubectl -n $tenant get pods -l "ntro.dev/run=$run" --field-selector status.phase=Running -o name)
[ -z "$running" ] || { echo "still running: $running" >&2; exit 1; }
kubectl -n $tenant get nrun,gate
gate=$(kubectl -n $tenant get gates -o jsonpath="{.items[?(@.spec.run==\"$run\")].metadata.name}")

step "vera@$tenant may read it (role ntro-viewer)"
as vera@$tenant gate show "$gate" --tenant $tenant

step "ada@$tenant approves it (role ntro-approver)"
as ada@$tenant gate approve "$gate" --tenant $tenant -m "Agreed to the bank statement"
kubectl -n $tenant wait "nrun/$run" --for=jsonpath='{.status.phase}'=Succeeded --timeout=3m

step "Outputs"
as vera@$tenant run output "$run" --tenant $tenant
as vera@$tenant run output "$run" nav-summary.json --tenant $tenant

phase=$(kubectl -n $tenant get nrun "$run" -o jsonpath='{.status.phase}')
echo "demo: $tenant/$run $phase in $(($(date +%s) - run_started))s"
