# The registries: one open, one that asks for a password.
# shellcheck shell=bash

# Where images and bundles go. Pods, the node and the host all reach our own registry under this name, by plain http.
registry_address() { if own_cluster; then echo "$ip:$registry_port"; else echo "${NTRO_REGISTRY:?must name a registry that the cluster can pull from}"; fi; }

# That registry as skopeo knows it: ours speaks plain http, another one if it is said to.
registry_tls=()
if own_cluster || [ -n "${NTRO_REGISTRY_PLAIN_HTTP:-}" ]; then registry_tls=(--tls-verify=false); fi
in_registry() { skopeo inspect --raw "${registry_tls[@]}" "docker://$1" >/dev/null 2>&1; } # reference
into_registry() { skopeo copy --quiet "${@:3}" "${registry_tls[@]/#--/--dest-}" "$1" "docker://$2"; } # source, reference, flags...

registry_configuration() { # name, port, [password file]
  cat <<X
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $run/registry/$1}, delete: {enabled: true}}
http: {addr: "$ip:$2"}
${3:+auth: {htpasswd: {realm: ntro-test, path: $3\}\}}
X
}

# The registry takes bcrypt only; perl's crypt() makes it, as Debian's libcrypt does.
password_file() { perl -e 'printf "%s:%s\n", $ARGV[0], crypt($ARGV[1], q($2b$05$abcdefghijklmnopqrstuu))' "$auth_user" "$auth_password"; }

registry_answers() { curl -sS --noproxy '*' -o /dev/null --max-time 2 "http://$ip:$1/v2/"; }

registry_start() { # main|auth
  local name=$1 port=$registry_port passwords=
  if [ "$name" = auth ]; then
    port=$auth_registry_port passwords=$run/registry/passwords
    mkdir -p "$run/registry"
    password_file >"$passwords"
  fi
  mkdir -p "$run/registry/$name"
  registry_configuration "$name" "$port" "$passwords" | put "$run/registry/$name.yaml"
  ensure "registry-$name" "$run/registry/$name.yaml" "$registry_bin/docker-registry" serve "$run/registry/$name.yaml"
  wait_for 20 registry_answers "$port" || { tail -n 5 "$run/log/registry-$name.log" >&2; die "the registry does not answer on $ip:$port"; }
}

registry() { # start|stop|restart|status [main|auth]
  local action=${1:-start} name=${2:-main}
  case $name in main | auth) ;; *) die "registry: main or auth, not \"$name\"" ;; esac
  case $action in
    start) registry_start "$name" ;;
    stop) stop "registry-$name" ;;
    restart) stop "registry-$name" && registry_start "$name" ;;
    status) if alive "registry-$name"; then echo running; else echo stopped; return 1; fi ;;
    *) die "registry: start, stop, restart or status, not \"$action\"" ;;
  esac
}
