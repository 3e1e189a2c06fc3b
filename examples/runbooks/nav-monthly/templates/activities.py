"""Everything that reads a file, computes or writes. The workflow only orders these and asks a person."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from ntro.accounting.models import JournalProposal
from ntro.capabilities import storage
from ntro.workflow import activity
from pydantic import ValidationError

from .amounts import refuse
from .bank_statement import read_bank_statement
from .checks import check_inputs as agree_inputs
from .journal import correct, propose, review
from .models import (
    BankStatement,
    CorrectionRequest,
    InputChecks,
    Inputs,
    JournalRequest,
    NavConfig,
    OpenPeriod,
    PackRequest,
    PackResult,
    PeriodRequest,
    Reconciliation,
    RentRoll,
    Review,
    TrialBalanceFile,
)
from .pack import figures, summary, workbook
from .reconcile import reconcile
from .rent_roll import read_rent_roll
from .trial_balance import read_trial_balance

log = logging.getLogger(__name__)

DATA = Path(__file__).resolve().parent.parent / "data"
FILES = ("trial-balance.xlsx", "rent-roll.csv", "bank-statement.pdf")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@activity.defn(name="nav_monthly.open_period")
async def open_period(request: PeriodRequest) -> OpenPeriod:
    """Checks the configuration and that every input file of the period is there."""
    try:
        config = NavConfig.model_validate(request.config)
    except ValidationError as error:
        wrong = sorted({".".join(map(str, e["loc"])) for e in error.errors()})
        raise refuse(f"config: {', '.join(wrong)} not valid") from None
    available = sorted(p.name for p in DATA.iterdir() if p.is_dir()) if DATA.is_dir() else []
    if request.period not in available:
        raise refuse(f"no data for period {request.period}; available: {', '.join(available) or 'none'}")
    missing = [name for name in FILES if not (DATA / request.period / name).is_file()]
    if missing:
        raise refuse(f"period {request.period}: {', '.join(missing)} missing")
    print(f"opening {request.period} for {request.entity_slug}")
    return OpenPeriod(
        period=request.period, entity_slug=request.entity_slug, config=config, files=list(FILES)
    )


def _content(opened: OpenPeriod, name: str) -> bytes:
    content = (DATA / opened.period / name).read_bytes()
    log.info("%s/%s: %d bytes, sha256 %s", opened.period, name, len(content), _sha256(content)[:12])
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@activity.defn(name="nav_monthly.load_trial_balance")
async def load_trial_balance(opened: OpenPeriod) -> TrialBalanceFile:
    return read_trial_balance(_content(opened, "trial-balance.xlsx"))


@activity.defn(name="nav_monthly.load_rent_roll")
async def load_rent_roll(opened: OpenPeriod) -> RentRoll:
    return read_rent_roll(_content(opened, "rent-roll.csv"))


@activity.defn(name="nav_monthly.load_bank_statement")
async def load_bank_statement(opened: OpenPeriod) -> BankStatement:
    return await read_bank_statement(_content(opened, "bank-statement.pdf"))


@activity.defn(name="nav_monthly.check_inputs")
async def check_inputs(inputs: Inputs) -> InputChecks:
    checks = agree_inputs(inputs)
    log.info("trial balance of %d accounts agrees", checks.accounts)
    return checks


@activity.defn(name="nav_monthly.reconcile_bank")
async def reconcile_bank(inputs: Inputs) -> Reconciliation:
    result = reconcile(inputs)
    log.info("%d of %d items matched", len(result.items) - len(result.open_items()), len(result.items))
    return result


@activity.defn(name="nav_monthly.propose_journal")
async def propose_journal(request: JournalRequest) -> Review:
    journal: JournalProposal = propose(request.inputs, request.reconciliation)
    print(f"journal of {len(journal.lines)} lines proposed for {journal.period}")
    return review(request.inputs, request.reconciliation, journal)


@activity.defn(name="nav_monthly.apply_corrections")
async def apply_corrections(request: CorrectionRequest) -> Review:
    result = correct(request.inputs, request.reconciliation, request.journal, request.corrections)
    log.info("%d corrections applied, %d refused", result.applied, len(result.refused))
    return result


@activity.defn(name="nav_monthly.write_pack")
async def write_pack(request: PackRequest) -> PackResult:
    """Writes both files under fixed names; the same request writes the same bytes again."""
    _, nav = figures(request)
    files = {}
    for path, content, content_type in (
        ("nav-pack.xlsx", workbook(request), XLSX),
        ("nav-summary.json", summary(request), "application/json"),
    ):
        await storage.write(path=path, content=content, content_type=content_type)
        files[path] = _sha256(content)
    print(f"NAV pack of {request.inputs.opened.period} written")
    return PackResult(
        nav=nav.nav, nav_per_unit=nav.nav_per_unit, units_in_issue=nav.units_in_issue, files=files
    )
