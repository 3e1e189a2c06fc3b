"""One installation of the charts for the session, with short lease times; a fresh tenant where a test wants one."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import ROOT, SYSTEM, Operator, Outside, Tenant, call, kubectl, names
from probe import Make, Probe, maker, starter

LEASE_MS = 5_000
LINGER_MS = 2_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run with the real, long times as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = bool(config.getoption("--long"))
    kept = [i for i in items if (i.get_closest_marker("long") is not None) <= wanted]
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = kept


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: takes the operator or its policies away from all others, or watches everything it does")
    config.addinivalue_line("markers", "long: takes minutes of real time; runs with --long only")


def images() -> dict[str, str]:
    text = (Path(os.environ["NTRO_CACHE"]) / "images.env").read_text()
    return dict(line.removeprefix("export ").split("=", 1) for line in text.split() if "=" in line)


def pull(image: str) -> None:
    """The node has the image before a test waits for a pod: the first pull takes as long as the disk wants."""
    name = f"pull-{image.rpartition(':')[2][:12]}"
    kubectl("delete", "pod", name, "--ignore-not-found").ok()
    kubectl("run", name, f"--image={image}", "--restart=Never", "--command", "--", "/bin/true").ok()
    try:
        kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=15m", timeout=1000).ok()
    finally:
        kubectl("delete", "pod", name, "--wait=false")


def helm_install() -> None:
    image = images()
    pull(image["RUNNER_IMAGE"])
    call("helm", "upgrade", "--install", "ntro-crds", str(ROOT / "charts/ntro-crds"), "-n", SYSTEM, "--create-namespace", "--wait").ok()
    values = {
        "image": image["OPERATOR_IMAGE"],
        "runnerImage": image["RUNNER_IMAGE"],
        "leaseMs": LEASE_MS,
        "lingerMs": LINGER_MS,
        "failpoints": "true",
    }
    flags = [f for key, value in values.items() for f in ("--set", f"{key}={value}")]
    call("helm", "upgrade", "--install", "--force-conflicts", "ntro", str(ROOT / "charts/ntro"), "-n", SYSTEM, "--wait", "--timeout", "4m", *flags, timeout=300).ok()


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Tests that run side by side share one installation: the first to come makes it."""
    operator = Operator()
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.getbasetemp()
    with (shared / "installed").open("a+") as installed:
        fcntl.flock(installed, fcntl.LOCK_EX)
        if installed.tell() == 0:
            helm_install()
            operator.ready()
            installed.write("yes")
    return operator


@pytest.fixture(scope="session")
def fresh_name() -> Callable[[str], str]:
    generators: dict[str, Iterator[str]] = {}
    return lambda prefix: next(generators.setdefault(prefix, names(prefix)))


@pytest.fixture(scope="module")
def tenant(operator: Operator, fresh_name: Callable[[str], str], request: pytest.FixtureRequest) -> Iterator[Tenant]:
    tenant = Tenant(fresh_name(request.module.__name__.removeprefix("test_").replace("_", "-")[:20]))
    tenant.create()
    yield tenant
    kubectl("delete", "namespace", tenant.slug, "--wait=false")


@pytest.fixture(scope="module")
def other_tenant(operator: Operator, fresh_name: Callable[[str], str]) -> Iterator[Tenant]:
    tenant = Tenant(fresh_name("other"))
    tenant.create()
    yield tenant
    kubectl("delete", "namespace", tenant.slug, "--wait=false")


@pytest.fixture(scope="module")
def probe(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> Probe:
    return starter(tenant, outside, fresh_name)


@pytest.fixture(scope="module")
def make(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> Make:
    return maker(tenant, outside, fresh_name)


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Outside:
    address = socket.gethostbyname(socket.gethostname())
    node = call("kubectl", "get", "node", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}").ok().out
    return Outside(tmp_path_factory.mktemp("outside") / "effects", node or address)
