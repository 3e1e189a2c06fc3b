#!/usr/bin/env bash
# Builds the images of the operator and the runner without a container engine, pushes them to the test registry, and writes
# their names with digests to $NTRO_CACHE/images.env (OPERATOR_IMAGE=, RUNNER_IMAGE=). Unchanged inputs are not built again.
#   images/build.sh [--no-push] [operator] [runner]     default: both
#   images/build.sh context operator|runner DIR         only fill DIR, the build context for "docker build"
# The binaries are $NTRO_OPERATOR_BIN and $NTRO_RUNNER_BIN, by default the workspace's debug builds.
set -euo pipefail

self=$(realpath "${BASH_SOURCE[0]}")
images=$(dirname "$self")
root=$(dirname "$images")
here=$root/tests/cluster
for part in common control_plane registry; do
  # shellcheck source=/dev/null
  . "$here/lib/$part.sh"
done
work=$cache/images
. "$images/base.sh"
. "$images/runner/wheels.sh"

bah() { buildah --root "$work/storage" --runroot /run/ntro-buildah --storage-driver "$storage_driver" "$@"; }

choose_storage() { # overlay wants a file system that has it; vfs copies whole layers but works everywhere
  storage_driver=$(cat "$work/storage-driver" 2>/dev/null || true)
  [ -z "$storage_driver" ] || return 0
  for storage_driver in overlay vfs; do
    if c=$(bah from scratch 2>/dev/null) && bah mount "$c" >/dev/null 2>&1; then
      bah rm "$c" >/dev/null
      echo "$storage_driver" >"$work/storage-driver"
      return
    fi
    rm -rf "$work/storage"
  done
  die "buildah works with neither overlay nor vfs under $work"
}

binary_of() { # operator|runner
  local target=${CARGO_TARGET_DIR:-$root/target} given=NTRO_${1^^}_BIN binary
  binary=${!given:-$target/$(rustc -vV | sed -n 's/^host: //p')/debug/ntro-$1}
  [ -x "$binary" ] || die "no binary at $binary: run \"cargo build -p ntro-$1\" first"
  echo "$binary"
}

context_operator() { # directory
  strip -o "$1/ntro-operator" "$(binary_of operator)"
  cp /etc/ssl/certs/ca-certificates.crt "$1/"
}

# The Python packages that are ours: runtime/ itself and the shim in it.
own_projects() { find "$root/runtime" -maxdepth 2 -name pyproject.toml -not -path '*/.*' -printf '%h\n' 2>/dev/null | sort; }

copy_source() { # project, destination: without what is not part of the package, so that building it leaves no trace in the tree
  mkdir -p "$2"
  tar -C "$1" --exclude __pycache__ --exclude './.*' --exclude '*.egg-info' --exclude ./build --exclude ./dist --exclude ./tests \
    --exclude ./temporalio-shim -cf - . | tar -C "$2" -xf -
}

context_runner() { # directory
  local wheels project
  wheels=$work/wheels-$(content_hash "$images/runner" requirements.lock wheels.sh)-$(uname -m)
  if [ ! -d "$wheels" ]; then
    rm -rf "$work"/wheels-*
    timed "downloading the locked wheels" download_wheels "$(uname -m)" "$wheels.part" --require-hashes -r "$images/runner/requirements.lock"
    mv "$wheels.part" "$wheels"
  fi
  strip -o "$1/ntro-runner" "$(binary_of runner)"
  mkdir -p "$1/own"
  cp -r "$wheels" "$1/wheels"
  cp "$images/runner/requirements.lock" "$1/"
  for project in $(own_projects); do
    copy_source "$project" "$1/source"
    python3 -m pip wheel --quiet --no-deps --wheel-dir "$1/own" "$1/source"
    rm -rf "$1/source"
  done
}

inputs_operator() { # what decides the image; printed as one hash
  { cat "$images/operator/Containerfile"; sha256sum <"$(binary_of operator)"; } | sha256sum | cut -c1-16
}

inputs_runner() {
  local copy project
  copy=$(mktemp -d)
  for project in $(own_projects); do copy_source "$project" "$copy/$(basename "$project")"; done
  mkdir -p "$copy/images"
  sha256sum <"$(binary_of runner)" >"$copy/images/binary"
  cp "$images/base.sh" "$images"/runner/{Containerfile,requirements.lock} "$copy/images/"
  content_hash "$copy"
  rm -rf "$copy"
}

built() { # tag: its digest, if the store of built images has it
  jq -re --arg tag "$1" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag) | .digest' "$work/oci/index.json" 2>/dev/null
}

build_image() { # name: leaves the image in the store of built images
  local name=$1 context
  rm -rf "$work"/context.*
  context=$(mktemp -d "$work/context.XXXXXX")
  "context_$name" "$context"
  [ "$name" != runner ] || make_base
  timed "building the $name image" bud "$name" "$context"
  rm -rf "$context"
}

bud() { # name, context
  bah bud --quiet --layers --isolation chroot --pull-never --format oci --tag "localhost/ntro/$1" \
    --file "$images/$1/Containerfile" "$2" >"$work/$1.log" 2>&1 || { tail -n 30 "$work/$1.log" >&2; return 1; }
  bah push --quiet "localhost/ntro/$1" "oci:$work/oci:$1-$(inputs_"$1")"
}

# Pushing is by the bytes that were built, so that the digest is the same in every registry.
push_image() { # name, tag, digest
  local name=$1 tag=$2 digest=$3 repository
  repository=$(registry_address)/ntro/$name
  if ! in_registry "$repository@$digest"; then
    timed "pushing $repository" into_registry "oci:$work/oci:$tag" "$repository:$tag" --preserve-digests
  fi
  echo "$repository@$digest" >"$work/$name.image"
  for name in operator runner; do
    [ ! -f "$work/$name.image" ] || printf '%s_IMAGE=%s\n' "${name^^}" "$(cat "$work/$name.image")"
  done >"$cache/images.env"
}

main() {
  local push=1 name tag digest
  if [ "${1:-}" = --no-push ]; then push=; shift; fi
  [ $# -gt 0 ] || set -- operator runner
  mkdir -p "$work"
  choose_storage
  # Every change of the operator leaves a copy: start again before that gets out of hand.
  [ "$(du -sm "$work/oci" 2>/dev/null | cut -f1)" -lt 3000 ] 2>/dev/null || rm -rf "$work/oci"
  for name in "$@"; do
    case $name in operator | runner) ;; *) die "no image \"$name\"" ;; esac
    tag=$name-$(inputs_"$name")
    if ! digest=$(built "$tag"); then
      build_image "$name"
      digest=$(built "$tag")
    fi
    [ -z "$push" ] || push_image "$name" "$tag" "$digest"
  done
}

if [ "${1:-}" = context ]; then
  [ $# = 3 ] || die "usage: images/build.sh context operator|runner DIR"
  mkdir -p "$work" "$3"
  "context_$2" "$3"
  exit
fi
install_packages
as_root "$self" "$@"
lock images
ip=$(node_ip)
main "$@"
