"""The charts: rendered, and installed as users install them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from kit.cluster import ROOT, Done, helm, kubectl
from kit.objects import Object
from kit.people import SYSTEM


def chart(name: str) -> str:
    return str(ROOT / "charts" / name)


def set_flags(values: Iterable[str]) -> list[str]:
    return [f for value in values for f in ("--set", value)]


def template(name: str, *values: str, namespace: str = SYSTEM) -> Done:
    """The chart as Helm prints it; `values` are `name=value`."""
    return helm("template", "ntro", chart(name), "-n", namespace, *set_flags(values))


def manifests(done: Done) -> list[Object]:
    return [document for document in yaml.safe_load_all(done.ok().out) if document]


def render(name: str, *values: str, namespace: str = SYSTEM) -> list[Object]:
    return manifests(template(name, *values, namespace=namespace))


def images() -> dict[str, str]:
    """`OPERATOR_IMAGE` and `RUNNER_IMAGE`, as the test registry has them."""
    text = (Path(os.environ["NTRO_CACHE"]) / "images.env").read_text()
    return dict(line.removeprefix("export ").split("=", 1) for line in text.split() if "=" in line)


def install_crds(*options: str) -> None:
    helm("upgrade", "--install", "ntro-crds", chart("ntro-crds"), "-n", SYSTEM, "--create-namespace", *options).ok()


def install(**values: Any) -> None:
    """Kinds and operator, with the images that were pushed last."""
    install_crds("--wait")
    image = images()
    values = {"image": image["OPERATOR_IMAGE"], "runnerImage": image["RUNNER_IMAGE"], **values}
    flags = set_flags(f"{key}={value}" for key, value in values.items())
    options = ("--install", "--force-conflicts", "--wait", "--timeout", "5m")
    helm("upgrade", "ntro", chart("ntro"), "-n", SYSTEM, *options, *flags, timeout=400).ok()


def pull(image: str) -> None:
    """The node has the image before a test waits for a pod: the first pull takes as long as the disk wants."""
    name = f"pull-{image.rpartition(':')[2][:12]}"
    kubectl("delete", "pod", name, "--ignore-not-found").ok()
    kubectl("run", name, f"--image={image}", "--restart=Never", "--command", "--", "/bin/true").ok()
    try:
        kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=15m", timeout=1000).ok()
    finally:
        kubectl("delete", "pod", name, "--wait=false")
