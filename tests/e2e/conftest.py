"""One installation of the charts for the session, with short lease times; a fresh tenant where a test wants one."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from kit.charts import images, install, pull
from kit.cluster import kubectl
from kit.operator import LEASE_MS, LINGER_MS, Operator
from kit.outside import Outside
from kit.probe import Make, Probe, maker, starter
from kit.tenants import Tenant


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


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Tests that run side by side share one installation: the first to come makes it."""
    operator = Operator()
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.getbasetemp()
    with (shared / "installed").open("a+") as installed:
        fcntl.flock(installed, fcntl.LOCK_EX)
        if installed.tell() == 0:
            pull(images()["RUNNER_IMAGE"])
            install(leaseMs=LEASE_MS, lingerMs=LINGER_MS, failpoints="true")
            operator.ready()
            installed.write("yes")
    return operator


def names(prefix: str) -> Iterator[str]:
    """Names that no earlier session of tests has used, nor one that runs beside this."""
    stamp = f"{int(time.time()) % 1_000_000:06d}{os.environ.get('PYTEST_XDIST_WORKER', '').removeprefix('gw')}"
    n = 0
    while True:
        n += 1
        yield f"{prefix}-{stamp}-{n}"


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
    node = kubectl("get", "node", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}").ok().out
    return Outside(tmp_path_factory.mktemp("outside") / "effects", node or address)
