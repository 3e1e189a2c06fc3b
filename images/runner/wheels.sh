# Downloads wheels for the runner's Python, whatever Python and system this runs on. Sourced.
# shellcheck shell=bash

download_wheels() { # machine, destination, requirement...
  local machine=$1 into=$2 platforms=() minor tag
  shift 2
  for minor in $(seq 5 36); do platforms+=(--platform "manylinux_2_${minor}_$machine"); done # Debian 12 has glibc 2.36
  for tag in manylinux2014 manylinux2010 manylinux1 linux; do platforms+=(--platform "${tag}_$machine"); done
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
    "${platforms[@]}" --dest "$into" "$@"
}
