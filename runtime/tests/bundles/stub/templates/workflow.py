import asyncio
from datetime import timedelta

from ntro.capabilities.checks import QualityCheckSpec
from ntro.workflow import NtroWorkflow, WorkflowError, runbook

from . import activities
from .models import Batch

CHECK = QualityCheckSpec(id="journal_balanced", title="Balanced", prompt="", evaluator="code")


@runbook.defn
class StubWorkflow(NtroWorkflow):
    def __init__(self) -> None:
        super().__init__()
        self._document = None
        self._tick = 0

    @runbook.signal
    def document_submitted(self, document: dict) -> None:
        if document.get("ok"):
            self._document = document

    @runbook.run
    async def run(self, input: dict) -> dict:
        await self._collect(input)
        batch = await self._read()
        await self._wait()
        answer = await self._review(batch)
        if answer["kind"] == "reject":
            raise WorkflowError("rejected", type="Rejected", non_retryable=True)
        posted = await self._post(batch)
        return {
            "posted": posted,
            "total": batch.total,
            "actor": answer["actor"],
            "document": self._document,
            "ticks": self._tick,
        }

    @runbook.step(name="collect", title="Collect")
    async def _collect(self, input: dict) -> None:
        await self.await_signal_with_action(
            predicate=lambda: self._document is not None,
            action={
                "kind": "submit_file",
                "reason": f"Upload for {input['period']}",
                "args": {"source": "tb", "signal_name": "document_submitted"},
            },
            timeout=timedelta(hours=24),
        )

    @runbook.step(name="read", title="Read")
    async def _read(self) -> Batch:
        first, second = await asyncio.gather(
            runbook.execute_activity(activities.read, args=["bank", 2], start_to_close_timeout=timedelta(minutes=1)),
            runbook.execute_activity(activities.read, args=["ledger", 3], start_to_close_timeout=timedelta(minutes=1)),
        )
        return await self.run_step("read", activities.total, [first, second])

    @runbook.step(name="wait", title="Wait")
    async def _wait(self) -> None:
        async def ticker() -> None:
            for _ in range(2):
                await asyncio.sleep(0.02)
                self._tick += 1

        ticking = asyncio.create_task(ticker())
        try:
            await runbook.wait_condition(lambda: False, timeout=0.01)
        except TimeoutError:
            pass
        try:
            async with asyncio.timeout(0.01):
                await runbook.execute_activity(activities.slow)
        except TimeoutError:
            pass
        await asyncio.wait({ticking})

    @runbook.step(name="review", title="Review")
    async def _review(self, batch: Batch) -> dict:
        return await self.wait_for_action(
            payload=batch,
            display_hint={"component": "DATA_TABLE", "config": {"title": "Review"}},
            checks_spec=[CHECK.model_dump()],
            checks_submitted={"lines": []},
        )

    @runbook.step(name="post", title="Post")
    async def _post(self, batch: Batch) -> str:
        return await runbook.execute_activity(activities.post, batch)
