"""One effect, a gate, another effect."""

from datetime import timedelta

from ntro.workflow import NtroWorkflow, runbook

from .activities import post, prepare


@runbook.defn
class ProbeWorkflow(NtroWorkflow):
    @runbook.step(name="prepare", title="Prepare")
    async def _prepare(self, config):
        return await runbook.execute_activity(prepare, config, start_to_close_timeout=timedelta(minutes=10))

    @runbook.step(name="review", title="Review")
    async def _review(self, prepared):
        return await self.wait_for_action(
            payload=prepared,
            reason="Is the amount right?",
            display_hint={"component": "APPROVAL_FORM", "config": {"title": "Amount"}},
        )

    @runbook.step(name="post", title="Post")
    async def _post(self, config, amount):
        return await runbook.execute_activity(
            post, args=[config, amount], start_to_close_timeout=timedelta(minutes=10)
        )

    @runbook.run
    async def run(self, input):
        config = input["config"]
        prepared = await self._prepare(config)
        if config["gate"]:
            action = await self._review(prepared)
            if action.get("kind") == "reject":
                return {"status": "rejected"}
        else:
            return {"status": "prepared", "amount": prepared["amount"], "period": input["period"]}
        receipt = await self._post(config, prepared["amount"])
        return {"status": receipt, "amount": prepared["amount"]}
