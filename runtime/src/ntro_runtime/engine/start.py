"""From an unpacked bundle and the run's input to code that can be called. Whatever is wrong with either blocks the run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sdk import patches
from ..sdk.instance import SdkInstance
from ..sdk.runtime import DurableRuntime
from ..shared.errors import BlockCode, ExitCode
from ..workflow import loop
from ..workflow.block import Block
from ..workflow.codec import CodecError, Signature, decode_args, signature_of
from ..workflow.failures import described
from ..workflow.journal import Entry
from ..workflow.scope import WorkflowScope
from ..workflow.source_location import SourceLocator
from .bundle import Bundle, BundleError, load
from .exit import Exit


@dataclass(frozen=True)
class LoadedBundle:
    """`args` are those of the workflow's entry: the input envelope, if the entry takes one."""

    bundle: Bundle
    args: list[Any]
    locator: SourceLocator
    exit: Exit

    def begin(self, scope: WorkflowScope) -> None:
        """Make an instance and call its entry; inside the first turn."""
        try:
            instance = self.bundle.workflow()
            entry = self.bundle.entry(instance, *self.args)
        except Exception as error:
            self.exit.halt(Block(BlockCode.CODE_ERROR, described(error), self.locator.of_exception(error)))
        scope.start(SdkInstance(instance), entry)


def load_bundle(root: Path, created: Entry, envelope: str, runtime: DurableRuntime, locator: SourceLocator, exit: Exit) -> LoadedBundle:
    """Import the bundle of the run with the SDK on `runtime`. `envelope` is the run's input as JSON text."""
    patches.install(runtime)
    loop.install()
    loop.set_misuse_handler(lambda message: exit.misused(message, locator.of_caller()))
    os.environ.update(patches.settings(json.loads(envelope)))
    try:
        # The operator has seen that it is the slug in `runbook.md`, whose parser takes its time to import.
        bundle = load(root, created["pin"]["runbook"]["name"])
        signature = signature_of(bundle.entry, skip_self=True)
    except BundleError as error:
        exit.halt(Block(BlockCode.BUNDLE_INVALID, str(error), exit_code=ExitCode.CONFIG))
    except (Exception, SystemExit) as error:
        message = f"importing the bundle failed: {described(error)}"
        exit.halt(Block(BlockCode.BUNDLE_INVALID, message, locator.of_exception(error), exit_code=ExitCode.CONFIG))
    try:
        args = _args(envelope, signature)
    except CodecError as error:
        exit.halt(Block(BlockCode.CODE_ERROR, str(error), locator.of_code(bundle.entry)))
    return LoadedBundle(bundle, args, locator, exit)


def _args(envelope: str, signature: Signature) -> list[Any]:
    takes_input = bool(signature.params) or signature.variadic
    return decode_args(f"[{envelope}]" if takes_input else "[]", signature, "the workflow")
