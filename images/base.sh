# Makes the runner's base image out of Debian packages, under the name the Containerfile asks for, where none can be pulled.
# Sourced by build.sh.
# shellcheck shell=bash

base_name=$(sed -n 's/^ARG BASE=//p' "$images/runner/Containerfile")

make_base() {
  local recipe tar container
  recipe=$(content_hash "$images" base.sh)
  [ "$(bah inspect --type image --format '{{index .OCIv1.Config.Labels "base.recipe"}}' "$base_name" 2>/dev/null)" = "$recipe" ] && return
  tar=$work/base-$recipe.tar
  if [ ! -f "$tar" ]; then
    rm -f "$work"/base-*.tar
    timed "making the Python base image from Debian packages" debian_root "$tar.part"
    mv "$tar.part" "$tar"
  fi
  container=$(bah from scratch)
  bah add --quiet "$container" "$tar" / >/dev/null
  bah config --env PATH=/usr/local/bin:/usr/bin:/bin --label "base.recipe=$recipe" "$container"
  bah commit --quiet --rm "$container" "$base_name" >/dev/null
}

debian_root() { # destination
  mmdebstrap --quiet --variant=essential --include=python3,python3-venv,ca-certificates,netbase,tzdata \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --format=tar bookworm "$1"
}
