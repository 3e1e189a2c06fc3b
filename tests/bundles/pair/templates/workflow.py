"""Two gates at once, each on a workflow object of its own, then a third."""

import asyncio
from datetime import timedelta

from ntro.workflow import NtroWorkflow, runbook

from .activities import guarded


class Branch(NtroWorkflow):
    def __init__(self, step):
        super().__init__()
        self._current_step_id = step

    async def ask(self):
        return await self.wait_for_action(payload={"branch": self._current_step_id})


@runbook.defn
class PairWorkflow(NtroWorkflow):
    @runbook.step(name="last", title="Last")
    async def _last(self):
        return await self.wait_for_action(payload={"branch": "last"})

    @runbook.run
    async def run(self, input):
        if input["config"]["guard"]:
            return await runbook.execute_activity(guarded, start_to_close_timeout=timedelta(minutes=1))
        left, right = await asyncio.gather(Branch("left").ask(), Branch("right").ask())
        last = await self._last()
        return {"left": left["kind"], "right": right["kind"], "last": last["kind"]}
