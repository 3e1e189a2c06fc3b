#!/usr/bin/env bash
# Writes requirements.lock from requirements.in: the whole closure, every version exact, with the hashes of the wheels for
# CPython 3.11 on Linux x86_64 and aarch64. Run it with Python 3.11 and commit the result.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
. ./wheels.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --dry-run --ignore-installed --only-binary=:all: --report "$work/report.json" -r requirements.in
python3 - "$work/report.json" >"$work/versions" <<'P'
import json, sys
for item in json.load(open(sys.argv[1]))["install"]:
    print(f'{item["metadata"]["name"]}=={item["metadata"]["version"]}')
P
for machine in x86_64 aarch64; do download_wheels "$machine" "$work/$machine" -r "$work/versions"; done
python3 - "$work" >requirements.lock <<'P'
import hashlib, pathlib, re, sys

work = pathlib.Path(sys.argv[1])
wheels = {}
for path in work.glob("*/*.whl"):
    wheels.setdefault(re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower(), set()).add(hashlib.sha256(path.read_bytes()).hexdigest())
print("# Written by lock.sh from requirements.in. CPython 3.11, Linux x86_64 and aarch64.")
for pin in sorted((work / "versions").read_text().split(), key=str.lower):
    name, version = pin.split("==")
    name = re.sub(r"[-_.]+", "-", name).lower()
    print(f"{name}=={version}", *(f"    --hash=sha256:{digest}" for digest in sorted(wheels[name])), sep=" \\\n")
P
