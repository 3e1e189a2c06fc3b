"""Does nothing."""

from ntro.workflow import NtroWorkflow, runbook


@runbook.defn
class NoopWorkflow(NtroWorkflow):
    @runbook.run
    async def run(self, input):
        return {}
