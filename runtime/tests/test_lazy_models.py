"""What bundles see of `apideck_unify` is the same with and without the lazy import."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from journal_server import RUNTIME

LOOK = """
import json, sys
import ntro.accounting, ntro.capabilities.gl.models as used
import apideck_unify
early = len([name for name in sys.modules if name.startswith("apideck_unify.models.")])
names = {}
exec("from apideck_unify import *", names)
schemas = {name: getattr(used, name).model_json_schema() for name in vars(used) if hasattr(getattr(used, name), "model_json_schema")}
try:
    apideck_unify.nothing
    missing = "found"
except AttributeError:
    missing = "missing"
print(json.dumps({"early": early, "names": sorted(set(names) - {"__builtins__"}), "schemas": schemas, "missing": missing}))
"""


def look(first: str) -> dict[str, object]:
    env = {**os.environ, "PYTHONPATH": str(RUNTIME / "src")}
    done = subprocess.run([sys.executable, "-c", first + LOOK], env=env, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_bundles_see_the_same() -> None:
    plain = look("")
    lazy = look("from ntro_runtime.sdk import lazy_models; lazy_models.install()")
    assert int(str(plain.pop("early"))) > 1000
    assert int(str(lazy.pop("early"))) < 100
    assert lazy == plain
