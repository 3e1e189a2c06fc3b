"""The one place that knows private names of the `ntro` SDK (0.1.2), and replaces what cannot be durable there.

Call `install()` before any bundle is imported.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from ..workflow.block import SdkMisuse
from ..workflow.scope import WorkflowScope
from ..workflow.source_location import SourceLocation
from . import lazy_models
from .imports import after_import, execute_by, when_asked
from .instance import SdkInstance
from .runtime import DurableRuntime

SDK_VERSION = "0.1.2"


class ChildRunbook:
    """Stands for the workflow class of another runbook, which lives in its own run and is never imported here."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.__name__ = slug


def _sdk(name: str) -> Any:
    return importlib.import_module(name)


_bound: DurableRuntime | None = None


def install(runtime: DurableRuntime) -> None:
    """Make the SDK run on `runtime`; a later call gives it another one."""
    global _bound
    first, _bound = _bound is None, runtime
    if first:
        lazy_models.install()
        # They import the client of the platform's API, and all types there are: half of what a start costs.
        execute_by(when_asked, *({"ntro", "ntro.types"} - set(sys.modules)))
        _exceptions()
    os.environ.pop("TEMPORAL_HOST", None)
    _sdk("ntro.workflow.runtime").set_runtime(runtime)
    if first:
        _replace()


def settings(envelope: Any) -> dict[str, str]:
    """What `ntro.capabilities.config` reads from the environment, from the run's input."""
    if not isinstance(envelope, dict):
        return {}
    names = {"tenant_id": "NTRO_TENANT_ID", "tenant_slug": "NTRO_TENANT_SLUG", "entity_id": "NTRO_ENTITY_ID"}
    return {name: envelope[key] for key, name in names.items() if isinstance(envelope.get(key), str)}


def _replace() -> None:
    """What a bundle does not import is not imported for it."""
    _gates()
    _children()
    after_import("ntro.workflow.task", _history)
    after_import("ntro.workflow.agents._invoke", _agents)
    after_import("ntro.capabilities.storage", _storage)


def _exceptions() -> None:
    """`WorkflowError` becomes an `ApplicationError`, and `ActivityError` a class of its own instead of `Exception`.

    The SDK decides by this variable when its module is first imported.
    """
    os.environ["TEMPORAL_HOST"] = "none"
    module = _sdk("ntro.workflow.exceptions")
    del os.environ["TEMPORAL_HOST"]
    if module.ActivityError is Exception:
        raise RuntimeError("ntro.workflow.exceptions was imported before the runtime was installed")


def _gates() -> None:
    """Answers are bound to the gate they were given to; the SDK itself has one slot for all of them."""
    base = _sdk("ntro.workflow._base").NtroWorkflow
    for name, kind in (("wait_for_action", "review"), ("await_signal_with_action", "submission")):
        setattr(base, name, _at_gate(getattr(base, name), kind))


def _at_gate(original: Any, kind: str) -> Any:
    async def wait(scope: WorkflowScope, site: SourceLocation | None, owner: Any, kwargs: dict[str, Any]) -> Any:
        scope.gates.announce(kind, SdkInstance(owner), site)
        try:
            return await original(owner, **kwargs)
        finally:
            scope.gates.withdraw()

    def call(self: Any, **kwargs: Any) -> Any:
        # Not a coroutine function: under `gather` only the call itself still knows its line.
        if _bound is None:
            raise SdkMisuse("no runtime is installed")
        scope = _bound.scope
        return wait(scope, scope.recorder.locator.of_caller(), self, kwargs)

    call.__name__ = original.__name__
    call.__doc__ = original.__doc__
    return call


def _children() -> None:
    """Every slug resolves; what comes of starting a child is the runtime's business."""
    registry = _sdk("ntro.workflow.registry")
    registered = registry.get_registered

    def get_registered(slug: str) -> Any:
        return registered(slug) or ChildRunbook(slug)

    registry.get_registered = get_registered
    _sdk("ntro.workflow").get_registered = get_registered


def _history(task: Any) -> None:
    """Earlier tasks are not looked up yet, and the SDK's built-in sample figures must never be taken for them."""

    async def previous(*, workflow_slug: str, entity_id: str, before_period: str | None = None) -> None:
        return None

    async def find_committed_document(*, workflow_slug: str, entity_id: str, source: str, before_period: str | None = None) -> None:
        return None

    async def load_previous_task_activity(payload: Any) -> Any:
        return task._LoadPreviousTaskOutput(handle=None)

    async def find_committed_document_activity(payload: Any) -> Any:
        return task._FetchCommittedDocumentOutput(payload=None)

    defn = _sdk("ntro.workflow").activity.defn
    task.previous = previous
    task.find_committed_document = find_committed_document
    task.load_previous_task_activity = defn(name="load_previous_task")(load_previous_task_activity)
    task.find_committed_document_activity = defn(name="find_committed_document")(find_committed_document_activity)


def _agents(module: Any) -> None:
    error = _sdk("ntro.workflow.exceptions").WorkflowError

    async def invoke(agent_id: str, **_: Any) -> Any:
        raise error("agents are not available", type="AgentsNotAvailable", non_retryable=True)

    module.invoke = invoke


def _storage(module: Any) -> None:
    from . import storage

    for name, function in storage.REPLACED.items():
        if not hasattr(module, name):
            raise SdkMisuse(f"ntro.capabilities.storage has no {name}")
        setattr(module, name, function)
