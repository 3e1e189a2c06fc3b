"""The gates that workflow code waits at: opened, shown, revised, answered, closed.

Answers are bound to the gate they were given to. The SDK keeps one slot for all of them, so two gates of one instance are refused.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..shared.errors import BlockCode
from . import gates
from .block import Block
from .instance import Instance
from .journal import Entry
from .loop import WorkflowLoop
from .payload import Payload
from .recorder import CommandRecorder
from .source_location import SourceLocation

_STEP = re.compile("[A-Za-z0-9]([-_A-Za-z0-9]{0,61}[A-Za-z0-9])?")


@dataclass
class OpenGate:
    """A gate under way. `command` is that of its newest opening."""

    owner: Instance
    kind: str
    command: int
    step: str
    content: Payload
    due_ms: int | None
    since: datetime
    site: SourceLocation | None
    future: asyncio.Future[None]
    decided: bool = False


class GateKeeper:
    """The gates of one run that are open now."""

    def __init__(self, recorder: CommandRecorder, loop: WorkflowLoop) -> None:
        self._recorder = recorder
        self._loop = loop
        self._open: list[OpenGate] = []
        self._request: gates.GateRequest | None = None

    # -- asked by the SDK --------------------------------------------------------------------------

    def announce(self, kind: str, owner: Instance, site: SourceLocation | None) -> None:
        """The SDK is about to wait at a gate of `owner`."""
        if any(gate.owner.workflow is owner.workflow for gate in self._open) or self._request is not None:
            step = self._recorder.step()
            message = "a second gate was opened while one is still open" + (f" in step {step!r}" if step else "")
            self._recorder.halt(Block(BlockCode.GATE_OVERLAP, message, site))
        # An answer given to an earlier gate must never be taken for one to this.
        owner.set_answer(None)
        self._request = gates.GateRequest(kind, owner, site)

    def withdraw(self) -> None:
        """The wait is over, also if it never opened its gate."""
        self._request = None

    def take_request(self) -> gates.GateRequest | None:
        """The gate announced for the wait that begins now."""
        request, self._request = self._request, None
        return request

    # -- open and closed ---------------------------------------------------------------------------

    def open(self, request: gates.GateRequest, due_ms: int | None) -> OpenGate:
        """Open a gate with what its owner shows now."""
        content = self._content(request.owner, request.site)
        future = self._loop.create_future()
        step = self._step_of(request)
        gate = OpenGate(request.owner, request.kind, -1, step, content, due_ms, self._recorder.now, request.site, future)
        self._emit(gate)
        self._open.append(gate)
        return gate

    def _step_of(self, request: gates.GateRequest) -> str:
        """The step that asks: roles and policies know the gate by it, so it must be a plain name."""
        step = request.owner.step() or self._recorder.step() or "gate"
        if not _STEP.fullmatch(step):
            self._recorder.misuse("a gate is opened in a step whose id is not of letters, digits, `-` and `_`, at most 63", request.site)
        return step

    def close(self, gate: OpenGate, cause: str) -> None:
        """The wait is over. A gate that a person decided is closed already."""
        self._open.remove(gate)
        if not gate.decided:
            self._recorder.emit("gateClosed", {"target": gate.command, "cause": cause}, site=gate.site)

    def abandon(self) -> None:
        """The run ends: nobody needs an answer any more."""
        for gate in self._open:
            if not gate.decided:
                self._recorder.emit("gateClosed", {"target": gate.command, "cause": "abandoned"}, site=gate.site)

    def end_of_turn(self, *, handling: bool) -> None:
        """Show what changed. Ask again where what was handed in did not satisfy the code, unless it is still `handling` it."""
        for gate in self._open:
            content = self._content(gate.owner, gate.site)
            if gate.decided and gate.kind == "submission":
                if not handling:
                    gate.content, gate.decided = content, False
                    self._emit(gate)
            elif not gate.decided and content != gate.content:
                gate.content = content
                self._recorder.emit("gateRevised", {"target": gate.command}, content, gate.site)

    def waiting_for(self) -> list[dict[str, Any]]:
        """Items of a `parked` entry."""
        return [{"kind": "gate", "target": g.command, **({"step": g.step} if g.step else {})} for g in self._open]

    # -- answered ----------------------------------------------------------------------------------

    def decide(self, delivery: Entry, comment: str | None, correction: str | None) -> tuple[str, str] | None:
        """Hand an answer to the gate it was given to. For a submission: the signal to deliver, and its arguments as JSON."""
        target = int(delivery["target"])
        gate = next((gate for gate in self._open if gate.command == target), None)
        if gate is None or gate.decided or gate.future.done():
            return None  # closed by the code before the answer was handed over
        gate.decided = True
        verb = str(delivery["verb"])
        if verb != "submit":
            gate.owner.set_answer(gates.answer(verb, str(delivery["actor"]), comment, correction))
            gate.future.set_result(None)
            return None
        name = gates.signal_name(gate.owner.pending_action())
        if name is None:
            self._recorder.misuse("a gate that asks for a submission names no signal in args.signal_name", gate.site)
        return name, f"[{correction if correction is not None else 'null'}]"

    # -- commands ----------------------------------------------------------------------------------

    def _content(self, owner: Instance, site: SourceLocation | None) -> Payload:
        return Payload(self._recorder.text_of(owner.pending_action(), "what the gate shows", site))

    def _emit(self, gate: OpenGate) -> None:
        action = gate.owner.pending_action()
        fields: dict[str, Any] = {
            "step": gate.step,
            "kind": gate.kind,
            "component": gates.component_of(action),
            "actions": gates.actions_of(gate.kind, action),
        }
        if gate.due_ms is not None:
            # A gate that is opened again keeps its original deadline.
            passed = round((self._recorder.now - gate.since).total_seconds() * 1000)
            fields["dueMs"] = max(1, gate.due_ms - passed)
        gate.command = self._recorder.emit("gateOpened", fields, gate.content, gate.site)
