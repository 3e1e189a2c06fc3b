"""One effect, a gate, another effect, a sleep that outlasts the pod."""

import asyncio
from datetime import timedelta

from ntro.workflow import NtroWorkflow, runbook

from .activities import post, prepare, undo

LONG = timedelta(minutes=10)


@runbook.defn
class SoakWorkflow(NtroWorkflow):
    @runbook.step(name="prepare", title="Prepare")
    async def _prepare(self, *args):
        return await runbook.execute_activity(prepare, args=[*args], start_to_close_timeout=LONG)

    @runbook.step(name="review", title="Review")
    async def _review(self, prepared):
        return await self.wait_for_action(payload=prepared, reason="Is the amount right?")

    @runbook.step(name="post", title="Post")
    async def _post(self, *args):
        return await runbook.execute_activity(post, args=[*args], start_to_close_timeout=LONG)

    @runbook.run
    async def run(self, input):
        config, task = input["config"], input["task_id"]
        prepared = await self._prepare(config["url"], task)
        status = "prepared"
        if config["gate"]:
            try:
                action = await self._review(prepared)
            except asyncio.CancelledError:
                await runbook.execute_activity(undo, args=[config["url"], task], start_to_close_timeout=LONG)
                raise
            if action.get("kind") == "reject":
                return {"status": "rejected"}
            status = await self._post(config["url"], task)
        await asyncio.sleep(config["sleep"])
        return {"status": status}
