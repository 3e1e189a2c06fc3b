"""Leaks, asks, then ends as its configuration says."""

from datetime import timedelta

from ntro.workflow import NtroWorkflow, runbook

from .activities import canary, crash, leak

SOON = timedelta(minutes=1)


@runbook.defn
class LeakyWorkflow(NtroWorkflow):
    @runbook.step(name="leak", title="Leak")
    async def _leak(self):
        return await runbook.execute_activity(leak, canary("argument"), start_to_close_timeout=SOON)

    @runbook.step(name="review", title="Review")
    async def _review(self, leaked):
        return await self.wait_for_action(
            payload={"rows": [{"what": canary("payload"), **leaked}]},
            reason=canary("reason"),
            display_hint={"component": "DATA_TABLE", "config": {"title": canary("hint"), "allow_corrections": True}},
        )

    @runbook.step(name="fail", title="Fail")
    async def _fail(self, ending):
        if ending == "crash":
            await runbook.execute_activity(crash, start_to_close_timeout=SOON)
        if ending == "exception":
            raise RuntimeError(canary("exception"))

    @runbook.run
    async def run(self, input):
        leaked = await self._leak()
        action = await self._review(leaked)
        await self._fail(input["config"]["ending"])
        return {"result": canary("final"), "corrections": action.get("corrections")}
