"""Month-end NAV: open, load, check, reconcile, propose, review, write the pack."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ntro.workflow import NtroWorkflow, runbook

from . import activities
from .gate import Answer, answer_of, display_hint, payload
from .models import (
    CorrectionRequest,
    InputChecks,
    Inputs,
    JournalRequest,
    OpenPeriod,
    PackRequest,
    PackResult,
    PeriodRequest,
    Reconciliation,
    Review,
)

QUICK = timedelta(minutes=2)
PARSING = timedelta(minutes=10)


@runbook.defn
class NavMonthlyWorkflow(NtroWorkflow):
    def __init__(self) -> None:
        super().__init__()
        self._rounds = 0
        self._corrections = 0

    @runbook.run
    async def run(self, input: dict[str, Any]) -> dict[str, Any]:
        opened = await self._step_period_open(input)
        inputs = Inputs(
            opened=opened,
            trial_balance=await self._step_load_trial_balance(opened),
            rent_roll=await self._step_load_rent_roll(opened),
            statement=await self._step_load_bank_statement(opened),
        )
        await self._step_check_inputs(inputs)
        reconciliation = await self._step_reconcile_bank(inputs)
        proposed = await self._step_propose_journal(inputs, reconciliation)
        answer, reviewed = await self._step_review_journal(inputs, reconciliation, proposed)
        outcome = {
            "period": opened.period,
            "entity_slug": opened.entity_slug,
            "rounds": self._rounds,
            "corrections": self._corrections,
        }
        if answer.kind == "reject":
            return {"status": "rejected", **outcome, "comments": answer.comments}
        pack = await self._step_write_pack(
            PackRequest(
                inputs=inputs,
                reconciliation=reconciliation,
                review=reviewed,
                rounds=self._rounds,
                corrections=self._corrections,
                comments=answer.comments,
            )
        )
        return {"status": "approved", **outcome, "totals": reviewed.totals, **pack.model_dump(mode="json")}

    @runbook.step(name="period_open", title="Open period", icon="Calendar")
    async def _step_period_open(self, input: dict[str, Any]) -> OpenPeriod:
        request = PeriodRequest(
            period=str(input.get("period") or ""),
            entity_slug=str(input.get("entity_slug") or ""),
            config=input.get("config") or {},
        )
        return await runbook.execute_activity(activities.open_period, request, start_to_close_timeout=QUICK)

    @runbook.step(name="load_trial_balance", title="Read trial balance", icon="FileText")
    async def _step_load_trial_balance(self, opened: OpenPeriod) -> Any:
        return await runbook.execute_activity(
            activities.load_trial_balance, opened, start_to_close_timeout=PARSING
        )

    @runbook.step(name="load_rent_roll", title="Read rent roll", icon="FileText")
    async def _step_load_rent_roll(self, opened: OpenPeriod) -> Any:
        return await runbook.execute_activity(
            activities.load_rent_roll, opened, start_to_close_timeout=PARSING
        )

    @runbook.step(name="load_bank_statement", title="Read bank statement", icon="FileSearch")
    async def _step_load_bank_statement(self, opened: OpenPeriod) -> Any:
        return await runbook.execute_activity(
            activities.load_bank_statement, opened, start_to_close_timeout=PARSING
        )

    @runbook.step(name="check_inputs", title="Check balance and period", icon="ClipboardCheck")
    async def _step_check_inputs(self, inputs: Inputs) -> InputChecks:
        return await runbook.execute_activity(activities.check_inputs, inputs, start_to_close_timeout=QUICK)

    @runbook.step(name="reconcile_bank", title="Reconcile bank to ledger", icon="ArrowRight")
    async def _step_reconcile_bank(self, inputs: Inputs) -> Reconciliation:
        return await runbook.execute_activity(activities.reconcile_bank, inputs, start_to_close_timeout=QUICK)

    @runbook.step(name="propose_journal", title="Propose allocation journal", icon="Sparkles")
    async def _step_propose_journal(self, inputs: Inputs, reconciliation: Reconciliation) -> Review:
        return await runbook.execute_activity(
            activities.propose_journal,
            JournalRequest(inputs=inputs, reconciliation=reconciliation),
            start_to_close_timeout=QUICK,
        )

    @runbook.step(name="review_journal", title="Review journal", icon="Eye")
    async def _step_review_journal(
        self, inputs: Inputs, reconciliation: Reconciliation, proposed: Review
    ) -> tuple[Answer, Review]:
        """Asks until the journal as shown is approved or rejected; corrections show it again."""
        current, notice = proposed, ""
        while True:
            self._rounds += 1
            action = await self.wait_for_action(
                payload=payload(inputs, reconciliation, current, self._rounds, notice),
                display_hint=display_hint(inputs.opened.period),
                reason=f"Review the allocation journal of {inputs.opened.period}",
            )
            answer = answer_of(action)
            if answer.kind in ("approve", "reject"):
                return answer, current
            if answer.kind == "unclear":
                notice = "the answer was neither approve, reject nor correct"
                continue
            current = await runbook.execute_activity(
                activities.apply_corrections,
                CorrectionRequest(
                    inputs=inputs,
                    reconciliation=reconciliation,
                    journal=current.journal,
                    corrections=answer.corrections,
                ),
                start_to_close_timeout=QUICK,
            )
            self._corrections += current.applied
            notice = "; ".join(current.refused) or f"{current.applied} corrections applied"

    @runbook.step(name="write_pack", title="Write NAV pack", icon="Download")
    async def _step_write_pack(self, request: PackRequest) -> PackResult:
        return await runbook.execute_activity(activities.write_pack, request, start_to_close_timeout=PARSING)
