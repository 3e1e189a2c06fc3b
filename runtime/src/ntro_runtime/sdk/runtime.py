"""`DurableRuntime`: the SDK's `Runtime` protocol on a `WorkflowScope`.

Set before the bundle is imported (its decorators are applied then), bound to a scope before its code runs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..workflow.block import SdkMisuse
from ..workflow.options import activity_call, milliseconds
from ..workflow.scope import WorkflowScope
from . import decorators
from .activity_table import ActivityTable
from .context import ActivityInfo, current_activity


@dataclass(frozen=True)
class WorkflowInfo:
    """`runbook.info()`. `workflow_id` and `run_id` are the UUID of the run.

    `attempt` is 1 for workflow code, as a run is never begun again from nothing: what is replayed sees what it saw before. An activity
    sees the number of its own attempt, as in `activity.info()`.
    """

    workflow_id: str
    run_id: str
    task_queue: str
    workflow_type: str
    start_time: datetime
    attempt: int = 1
    namespace: str = ""


class WorkflowLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs while code runs for the first time, and is silent while it is replayed."""

    def __init__(self, runtime: DurableRuntime) -> None:
        super().__init__(logging.getLogger("ntro.workflow"), {})
        self._runtime = runtime

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name in the standard library
        return not self._runtime.replaying and super().isEnabledFor(level)


class DurableRuntime:
    """Backend of the `runbook` and `activity` facades."""

    name = "ntro"

    def __init__(self) -> None:
        self._scope: WorkflowScope | None = None
        self._info: WorkflowInfo | None = None
        self._logger = WorkflowLogger(self)
        self.replaying = False
        self.activity_by_name: Callable[[str], Callable[..., Any] | None] = lambda _name: None
        self.activities = ActivityTable()
        self._queues: tuple[str, ...] = ()

    def bind(self, scope: WorkflowScope, info: WorkflowInfo, tenant: str) -> None:
        """From now on calls belong to this run, of the tenant with this slug: published code calls its task queue so."""
        self._scope = scope
        self._info = info
        self._queues = (info.task_queue, tenant)

    @property
    def scope(self) -> WorkflowScope:
        """The run's scope, for callers that are workflow code."""
        if current_activity.get() is not None:
            raise SdkMisuse("workflow functions cannot be called in an activity")
        if self._scope is None or not self._scope.loop.is_running():
            raise SdkMisuse("workflow functions can only be called by workflow code of a run")
        return self._scope

    # -- decorators --------------------------------------------------------------------------------

    def workflow_defn(self, cls: type, /) -> type:
        setattr(cls, decorators.WORKFLOW, True)
        return cls

    def workflow_run(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        setattr(fn, decorators.RUN, True)
        return fn

    def workflow_signal(self, *args: Any, **kwargs: Any) -> Any:
        return decorators.mark(args, kwargs, decorators.SIGNAL)

    def workflow_query(self, *args: Any, **kwargs: Any) -> Any:
        return decorators.mark(args, kwargs, decorators.QUERY)

    def activity_defn(self, *args: Any, **kwargs: Any) -> Any:
        return decorators.mark(args, kwargs, decorators.ACTIVITY_NAME, also=decorators.SDK_ACTIVITY)

    # -- calls of workflow code --------------------------------------------------------------------

    def execute_activity(self, fn: Any, arg: Any = None, /, **kwargs: Any) -> Awaitable[Any]:
        scope = self.scope
        site = scope.recorder.locator.of_caller()
        function = self.activity_by_name(fn) if isinstance(fn, str) else fn
        if not callable(function):
            scope.recorder.misuse(f"no activity is named {fn!r} in this bundle", site)
        name = fn if isinstance(fn, str) else decorators.activity_name(function)
        if self.activities.reference(function) is None:
            scope.recorder.misuse(f"activity {name!r} was made by workflow code: define it at the top of a file of the bundle", site)
        try:
            call = activity_call(function, name, arg, kwargs, queues=self._queues)
        except SdkMisuse as error:
            scope.recorder.misuse(str(error), site)
        return scope.activities.run(call, site)

    def execute_child_workflow(self, cls_or_slug: Any, arg: Any = None, /, **kwargs: Any) -> Awaitable[Any]:
        return self.start_child_workflow(cls_or_slug, arg, **kwargs)

    def start_child_workflow(self, cls_or_slug: Any, arg: Any = None, /, **kwargs: Any) -> Awaitable[Any]:
        slug = cls_or_slug if isinstance(cls_or_slug, str) else getattr(cls_or_slug, "slug", None)
        name = slug or getattr(cls_or_slug, "__name__", str(cls_or_slug))
        self.scope.recorder.misuse(f"child workflows are not supported yet (runbook {name!r})")

    def wait_condition(self, predicate: Callable[[], bool], /, **kwargs: Any) -> Awaitable[None]:
        scope = self.scope
        site = scope.recorder.locator.of_caller()
        timeout = kwargs.pop("timeout", None)
        if kwargs:
            scope.recorder.misuse(f"unknown option of wait_condition: {', '.join(sorted(kwargs))}", site)
        try:
            timeout_ms = None if timeout is None else milliseconds(timeout, "timeout")
        except SdkMisuse as error:
            scope.recorder.misuse(str(error), site)
        return scope.waits.wait(predicate, timeout_ms)

    def workflow_info(self) -> WorkflowInfo:
        info = self._info or WorkflowInfo("<no-active-workflow>", "", "", "", datetime.fromtimestamp(0, UTC))
        context = current_activity.get()
        return info if context is None else replace(info, attempt=context.info.attempt)

    def workflow_now(self) -> datetime:
        if self._scope is None or current_activity.get() is not None:
            return datetime.now(UTC)
        return self._scope.recorder.now

    def workflow_logger(self) -> Any:
        return self._logger

    # -- activities --------------------------------------------------------------------------------

    def activity_info(self) -> ActivityInfo:
        context = current_activity.get()
        if context is None:
            return ActivityInfo("<no-active-workflow>", "<no-active-activity>", "", "")
        return context.info

    def activity_heartbeat(self) -> None:
        context = current_activity.get()
        if context is None:
            raise RuntimeError("not in an activity")
        context.heartbeat()

    def activity_logger(self) -> logging.Logger:
        return logging.getLogger("ntro.activity")
