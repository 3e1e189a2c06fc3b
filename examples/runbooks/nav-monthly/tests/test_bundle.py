"""The bundle itself: manifest and code say the same, files can be made again, outputs are reproducible."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import yaml
from ntro.runbook import validate_runbook

from conftest import BUNDLE

APPROVE = {"kind": "approve"}


def manifest() -> dict[str, Any]:
    return yaml.safe_load((BUNDLE / "runbook.md").read_text(encoding="utf-8").split("---\n")[1])


def test_published_validator_finds_nothing_but_its_own_defect() -> None:
    report = validate_runbook(BUNDLE)
    # Outside Temporal the validator cannot see that the class is decorated.
    assert [issue.code for issue in report.errors] == ["WORKFLOW_DEFN_MISSING"]
    assert report.warnings == []


def test_manifest_names_what_the_code_has() -> None:
    from conftest import RUNTIME
    from templates import activities
    from templates.models import NavConfig
    from templates.workflow import NavMonthlyWorkflow

    top = manifest()
    defined = {f.activity_name for _, f in inspect.getmembers(activities) if hasattr(f, "activity_name")}
    assert set(top["activities"]) == defined == {step["activity"] for step in top["steps"]}
    RUNTIME.reset([])
    in_code = [(s["id"], s["title"]) for s in NavMonthlyWorkflow().current_steps()]
    assert [(s["id"], s["label"]) for s in top["steps"]] == in_code
    for policy in top["activities"].values():
        assert policy["effect"] in ("none", "idempotent", "external")
        assert policy.get("requires", "review_journal") in {s["id"] for s in top["steps"]}
    assert top["activities"]["nav_monthly.write_pack"]["requires"] == "review_journal"
    listed = {t["path"] for t in top["templates"]}
    there = {f"templates/{p.name}" for p in (BUNDLE / "templates").glob("*.py")}
    assert listed == there - {"templates/__init__.py"}
    fields = top["config_schema"]["global"]
    assert set(fields) == {"period", *NavConfig.model_fields}
    defaults = {name: f["default"] for name, f in fields.items() if "default" in f}
    assert NavConfig.model_validate(defaults) == NavConfig()


def test_outputs_are_those_listed(drive) -> None:
    assert set(drive("2026-09", APPROVE).files()) == set(manifest()["outputs"])


def test_sample_files_can_be_made_again(tmp_path: Path) -> None:
    tool = BUNDLE / "tools" / "generate.py"
    subprocess.run([sys.executable, tool, tmp_path], check=True, capture_output=True)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    data = BUNDLE / "data"
    kept = {p.relative_to(data): p.read_bytes() for p in data.rglob("*") if p.is_file()}
    assert len(kept) == 6
    assert made == kept


def test_same_run_gives_the_same_bytes(drive) -> None:
    first = drive("2026-10", APPROVE)
    again = drive("2026-10", APPROVE)
    assert first.files() == again.files() and first.result == again.result
    assert first.gates == again.gates


def test_pack_has_no_time_of_saving_and_no_compression(drive) -> None:
    content = drive("2026-09", APPROVE).files()["nav-pack.xlsx"]
    with zipfile.ZipFile(io.BytesIO(content)) as pack:
        assert {m.date_time for m in pack.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {m.compress_type for m in pack.infolist()} == {zipfile.ZIP_STORED}
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert book.sheetnames == ["NAV", "Journal", "Trial balance", "Reconciliation", "Exceptions"]
    assert book.properties.modified.year == 2000


def test_text_of_input_files_is_never_a_formula(drive, altered) -> None:
    def change(month) -> None:
        next(t for t in month.statement if t.ref == "CHARGES").details = "=HYPERLINK(1)"

    altered(change)
    book = openpyxl.load_workbook(io.BytesIO(drive("2026-10", APPROVE).files()["nav-pack.xlsx"]))
    cells = [c for sheet in book for row in sheet.iter_rows() for c in row]
    assert any(str(c.value) == "'=HYPERLINK(1)" for c in cells)
    assert not any(c.data_type == "f" for c in cells)


LOCAL = """
import asyncio, json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from ntro.capabilities import config
config.set(config.WorkerConfig(artifacts_dir=sys.argv[2] + "/artifacts", tenant_slug="acme"))
from ntro.workflow import run_local
from templates.workflow import NavMonthlyWorkflow

started = []
class Observed(NavMonthlyWorkflow):
    def __init__(self):
        super().__init__()
        started.append(self)

async def main():
    envelope = {"period": "2026-09", "entity_slug": "beta-spv1", "config": {}}
    run = asyncio.create_task(run_local(Observed, envelope))
    while not run.done() and not (started and started[0].current_pending_action()):
        await asyncio.sleep(0)
    if not run.done():
        started[0].user_action({"kind": "approve"})
    return await run

print(json.dumps(asyncio.run(main())))
"""


def test_runs_on_the_published_local_runtime(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCAL, str(BUNDLE), str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["entity_slug"]) == ("approved", "beta-spv1")
    assert (tmp_path / "data" / "acme" / "nav-pack.xlsx").is_file()
