"""Bad input gets one clear line, an exit code other than 0, and leaves nothing behind."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.cluster import BUNDLES, ROOT, Done, call, kubectl, ntro, wait_for
from kit.objects import resource
from kit.tenants import Tenant


def leftovers(tenant: Tenant) -> list[str]:
    return tenant.kubectl("get", "rb,nwf,nrun,job", "-o", "name").ok().out.split()


def one_line(done: Done, *words: str) -> None:
    assert done.code != 0, done
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.err
    for word in words:
        assert word in errors[0], (word, errors[0])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    copy = tmp_path / "probe"
    shutil.copytree(BUNDLES / "probe", copy)
    return copy


FLAGS = ("--set", "url=http://x", "--set", "key=k")


def create(tenant: Tenant, path: Path, *more: str, env: dict[str, str] | None = None) -> Done:
    return ntro(
        *("workflow", "create", "--path", str(path), "--tenant", tenant.slug, "--entity", "probe", "--plain-http"),
        *FLAGS, *more, env=env,
    )  # fmt: skip


def test_no_runbook_md(tenant: Tenant, bundle: Path) -> None:
    (bundle / "runbook.md").unlink()
    one_line(create(tenant, bundle), "runbook.md")
    assert leftovers(tenant) == []


def test_broken_frontmatter_names_the_line(tenant: Tenant, bundle: Path) -> None:
    text = (bundle / "runbook.md").read_text().replace("name: Probe", "name: [Probe")
    (bundle / "runbook.md").write_text(text)
    line = text.splitlines().index("name: [Probe") + 1
    done = create(tenant, bundle)
    one_line(done, "runbook.md")
    assert any(f":{n}" in done.err or f"line {n}" in done.err for n in (line, line + 1)), done.err
    assert leftovers(tenant) == []


def test_missing_workflow_class(tenant: Tenant, bundle: Path) -> None:
    path = bundle / "templates/workflow.py"
    path.write_text(path.read_text().replace("class ProbeWorkflow", "class Other"))
    one_line(create(tenant, bundle), "ProbeWorkflow")
    assert leftovers(tenant) == []


@pytest.mark.parametrize("cron", ["61 * * * *", "* * * *", "0 0 0 1 1 *", "0 0 31 2 *", "hello"])
def test_invalid_cron(cron: str, tenant: Tenant, bundle: Path) -> None:
    one_line(create(tenant, bundle, "--schedule", cron))
    assert leftovers(tenant) == []


def test_invalid_time_zone(tenant: Tenant, bundle: Path) -> None:
    one_line(create(tenant, bundle, "--schedule", "0 8 5 * *", "--timezone", "Europe/Lunnon"), "Europe/Lunnon")
    assert leftovers(tenant) == []


def test_unknown_tenant(bundle: Path) -> None:
    one_line(create(Tenant("no-such-tenant"), bundle), "no-such-tenant", "ntro tenant create")


def test_unprepared_tenant(bundle: Path, fresh_name: Callable[[str], str]) -> None:
    name = fresh_name("bare")
    kubectl("create", "namespace", name).ok()
    try:
        one_line(create(Tenant(name), bundle), name, "ntro tenant create")
    finally:
        kubectl("delete", "namespace", name, "--wait=false").ok()


def test_config_that_violates_the_schema(tenant: Tenant, bundle: Path) -> None:
    one_line(create(tenant, bundle, "--set", "gate=perhaps"), "gate")
    assert leftovers(tenant) == []


def test_missing_config(tenant: Tenant, bundle: Path) -> None:
    done = ntro("workflow", "create", "--path", str(bundle), "--tenant", tenant.slug, "--entity", "probe", "--plain-http")
    one_line(done, "url")
    assert leftovers(tenant) == []


def test_registry_down(tenant: Tenant, bundle: Path) -> None:
    one_line(create(tenant, bundle, "--registry", "127.0.0.1:9/nothing"), "127.0.0.1:9")
    assert leftovers(tenant) == []


def test_wrong_credentials(tenant: Tenant, bundle: Path, tmp_path: Path) -> None:
    host = os.environ["NTRO_AUTH_REGISTRY"]
    call(ROOT / "tests/cluster/cluster.sh", "registry", "start", "auth").ok()
    auth = base64.b64encode(f"{os.environ['NTRO_AUTH_USER']}:wrong".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    one_line(create(tenant, bundle, "--registry", f"{host}/x", env={"DOCKER_CONFIG": str(tmp_path)}), host)
    assert leftovers(tenant) == []


def test_a_traversal_entry_in_a_pulled_bundle(tenant: Tenant, bundle: Path, tmp_path: Path, fresh_name: Callable[[str], str]) -> None:
    """Somebody else's tool pushed it: the Runbook says so and nothing runs."""
    name = fresh_name("traversal")
    layer = tmp_path / "layer.tar.gz"
    with tarfile.open(layer, "w:gz") as tar:
        for path in sorted(bundle.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(bundle)), recursive=False)
        info = tarfile.TarInfo("../../outside.txt")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    repository = f"{os.environ['NTRO_REGISTRY']}/{tenant.slug}/probe"
    create(tenant, bundle).ok()
    kubectl("-n", tenant.slug, "delete", "rb,nwf", "--all").ok()
    push_layer(repository, "9.9.9", layer)
    runbook = resource("Runbook", tenant.slug, "probe", {"source": {"url": f"oci://{repository}", "insecure": True}, "version": "9.9.9"})
    kubectl("create", "-f", "-", send=runbook).ok()

    def stalled() -> str:
        conditions = tenant.get("rb", "probe").get("status", {}).get("conditions", [])
        return next((c["message"] for c in conditions if c["type"] == "Ready" and c["status"] == "False"), "")

    message = wait_for("the Runbook is not ready", stalled)
    assert "outside.txt" in message, message
    assert name


def push_layer(repository: str, tag: str, layer: Path) -> None:
    """Copies the good artifact's manifest with another layer, by plain registry requests."""
    host, path = repository.split("/", 1)
    base = f"http://{host}/v2/{path}"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}

    def ask(method: str, url: str, data: bytes | None = None, headers: dict[str, str] | None = None):
        return urllib.request.urlopen(urllib.request.Request(url, data=data, method=method, headers=headers or {}))

    manifest = json.loads(ask("GET", f"{base}/manifests/0.1.0", headers=accept).read())
    data = layer.read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    location = ask("POST", f"{base}/blobs/uploads/").headers["Location"]
    joiner = "&" if "?" in location else "?"
    ask("PUT", f"{location}{joiner}digest={digest}", data, {"Content-Type": "application/octet-stream"})
    manifest["layers"][0].update(digest=digest, size=len(data))
    ask("PUT", f"{base}/manifests/{tag}", json.dumps(manifest).encode(), {"Content-Type": accept["Accept"]})
