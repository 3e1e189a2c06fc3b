#!/usr/bin/env bash
# Shows that the test cluster does what the tests rely on, and that "up" heals it. Needs the cluster up and the runner image
# pushed (cluster.sh up; images/build.sh runner). Kills parts of the cluster: not while other tests run.
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
eval "$("$here/cluster.sh" env)"
# shellcheck source=/dev/null
. "${NTRO_CACHE:-$HOME/.cache/ntro}/images.env"
run=${NTRO_CLUSTER_DIR:-/var/lib/ntro-cluster}
ns=selftest
passed=0
ok() { passed=$((passed + 1)); echo "ok   $*"; }
fail() { echo "FAIL $*" >&2; exit 1; }
eventually() { for _ in $(seq 150); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done; fail "never came true: $*"; }

probe=$(cat <<'P'
import time; began = time.monotonic()
import ntro.workflow
took = time.monotonic() - began
import base64, json, os, socket, urllib.request
import openpyxl, pdfplumber
assert os.getuid() == 65532 and time.tzname[0] == "UTC"
try: open("/probe", "w"); raise SystemExit("the root file system can be written")
except OSError: pass
open("/tmp/probe", "w").write("x")
assert socket.gethostbyname("kubernetes.default.svc.cluster.local") == "10.96.0.1"
assert urllib.request.urlopen("http://hello:8080/", timeout=5).status == 200
claims = open("/token/token").read().split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
assert claims["aud"] == ["ntro.selftest"] and claims["kubernetes.io"]["pod"]["name"] == os.environ["HOSTNAME"]
print(f"import={took:.3f}")
P
)

pod() { # command as a JSON list, extra volumes mounted: a pod spec as strict as the runner's
  cat <<X
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Never
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: probe
  image: $RUNNER_IMAGE
  command: $1
  securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
  volumeMounts: [{name: tmp, mountPath: /tmp}, {name: token, mountPath: /token}]
volumes:
- {name: tmp, emptyDir: {}}
- {name: token, projected: {sources: [{serviceAccountToken: {audience: ntro.$ns, path: token, expirationSeconds: 600}}]}}
X
}

kubectl delete namespace $ns --ignore-not-found --wait >/dev/null
trap 'kubectl delete namespace $ns --ignore-not-found --wait=false >/dev/null' EXIT
kubectl create namespace $ns >/dev/null
kubectl label namespace $ns pod-security.kubernetes.io/enforce=restricted >/dev/null

refused=$(kubectl -n $ns run bad --image "$RUNNER_IMAGE" 2>&1) && fail "Pod Security let a pod of no restrictions in"
grep -q "violates PodSecurity" <<<"$refused" || fail "refused for another reason: $refused"
ok "Pod Security restricted refuses a plain pod"

kubectl -n $ns apply -f - >/dev/null <<X
apiVersion: v1
kind: Pod
metadata: {name: hello, labels: {app: hello}}
spec:
$(pod '[/opt/ntro/bin/python, -m, http.server, "8080", --directory, /tmp]' | sed 's/^/  /')
---
apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{port: 8080}]}
X
kubectl -n $ns wait --for=condition=Ready pod/hello --timeout=60s >/dev/null
ok "a pod runs by digest under restricted"

job() { # name
  kubectl -n $ns apply -f - >/dev/null <<X
apiVersion: batch/v1
kind: Job
metadata: {name: $1}
spec:
  backoffLimit: 0
  template:
    spec:
$(pod "[/opt/ntro/bin/python, -c, $(jq -Rs . <<<"$probe")]" | sed 's/^/      /')
X
  kubectl -n $ns wait --for=condition=Complete "job/$1" --timeout=60s >/dev/null || {
    kubectl -n $ns logs "job/$1" >&2
    fail "job $1"
  }
}
began=$(date +%s%N)
job probe
took=$((($(date +%s%N) - began) / 1000000))
ok "a Job: SDK imported, read-only root, DNS, Service IP, projected token; $took ms from apply to Complete, $(kubectl -n $ns logs job/probe) s"

kubectl -n $ns port-forward pod/hello 18080:8080 >/dev/null &
forward=$!
eventually curl -sSf --noproxy '*' -o /dev/null http://127.0.0.1:18080/
kill $forward
ok "port-forward"

[ "$(kubectl -n $ns exec hello -- /opt/ntro/bin/python -c 'print(6*7)')" = 42 ] || fail "exec"
ok "exec"

token=$(kubectl -n $ns exec hello -- cat /token/token)
review=$(printf '{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"%s","audiences":["ntro.%s"]}}' "$token" $ns | kubectl create -o json -f -)
[ "$(jq -r '.status.user.extra["authentication.kubernetes.io/pod-name"][0]' <<<"$review")" = hello ] || fail "TokenReview: $review"
ok "TokenReview names the pod"

grep -q "\"namespace\":\"$ns\",\"name\":\"probe\"" "$NTRO_AUDIT_LOG" || fail "the audit log does not know the Job"
ok "audit log at $NTRO_AUDIT_LOG"

"$here/cluster.sh" registry start auth
code() { curl -sS --noproxy '*' -o /dev/null -w '%{http_code}' "$@" "http://$NTRO_AUTH_REGISTRY/v2/"; }
[ "$(code) $(code -u "$NTRO_AUTH_USER:wrong") $(code -u "$NTRO_AUTH_USER:$NTRO_AUTH_PASSWORD")" = "401 401 200" ] || fail "registry with a password"
"$here/cluster.sh" registry stop auth
ok "a registry that asks for a password"

"$here/cluster.sh" registry stop
curl -sS --noproxy '*' -o /dev/null "http://$NTRO_REGISTRY/v2/" 2>/dev/null && fail "the registry still answers"
"$here/cluster.sh" registry start
ok "the registry can be away and come back"

for part in etcd apiserver controller-manager scheduler containerd kubelet kube-proxy coredns registry-main; do
  kill -9 "$(cut -d' ' -f1 "$run/pid/$part")"
done
"$here/cluster.sh" up 2>/dev/null
job healed
[ "$(kubectl -n $ns get pod hello -o jsonpath='{.status.containerStatuses[0].restartCount} {.status.phase}')" = "0 Running" ] || fail "the running pod was lost"
ok "up heals after kill -9 of every part; a running pod lived on"
before=$(cat "$run"/pid/* | sha256sum)
"$here/cluster.sh" up 2>/dev/null
[ "$before" = "$(cat "$run"/pid/* | sha256sum)" ] || fail "up restarted something that was running"
ok "up on a running cluster changes nothing"
echo "$passed passed, 0 failed"
