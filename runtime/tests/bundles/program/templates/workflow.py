"""Runs the program that is its input: a list of statements `{"do": …}`. What it sees goes into its log, and the log into its commands."""

import asyncio
import random
import uuid
from datetime import timedelta

from ntro.workflow import NtroWorkflow, WorkflowError, runbook
from ntro.workflow.exceptions import ActivityError

from temporalio.common import RetryPolicy

from . import activities, state

TWICE = RetryPolicy(maximum_attempts=3, initial_interval=timedelta(milliseconds=100))
CALLS = {
    "look": (activities.look, None),
    "sum": (activities.total, None),
    "flaky": (activities.flaky, TWICE),
    "fails": (activities.fails, None),
    "post": (activities.post, None),
    "again": (activities.again, TWICE),
    "settle": (activities.settle, None),
}


@runbook.defn
class ProgramWorkflow(NtroWorkflow):
    def __init__(self) -> None:
        super().__init__()
        self.log = []
        self.notes = []
        self.document = None
        self.children = set()
        self.lock = asyncio.Lock()
        self.noted = asyncio.Event()

    @runbook.signal
    def note(self, n: int) -> None:
        self.notes.append(n)
        self.log.append(["noted", n, state.COUNT])
        self.noted.set()

    @runbook.signal
    async def fetch(self, n: int) -> None:
        self.notes.append(await runbook.execute_activity(activities.look, n))
        self.noted.set()

    @runbook.signal
    def document_submitted(self, document: dict) -> None:
        self.document = document if document.get("ok") else None

    @runbook.run
    async def run(self, input: dict) -> dict:
        self.random = random.Random(input["seed"])
        await self.block(input["program"])
        while self.children:
            done, self.children = await asyncio.wait(self.children, return_when=asyncio.FIRST_COMPLETED)
            self.log.append([task.get_name() for task in done])
        return {"log": self.log, "notes": self.notes, "count": state.COUNT, "seen": state.SEEN, "table": state.TABLE}

    async def block(self, statements: list) -> None:
        for statement in statements:
            await self.one(statement)

    async def one(self, statement: dict) -> None:
        await getattr(self, f"do_{statement['do']}")(statement)

    # -- activities and what is made of them -----------------------------------------------------------

    async def do_call(self, it: dict) -> None:
        function, policy = CALLS[it["name"]]
        arg = it["arg"] if it["name"] != "sum" else [it["arg"], len(self.log), state.COUNT]
        try:
            self.log.append(await runbook.execute_activity(function, arg, retry_policy=policy))
        except ActivityError as error:
            self.log.append([error.cause.type, str(error.cause)])

    async def do_gather(self, it: dict) -> None:
        await asyncio.gather(*(self.one(statement) for statement in it["of"]))
        self.log.append("gathered")

    async def do_group(self, it: dict) -> None:
        async with asyncio.TaskGroup() as group:
            for statement in it["of"]:
                group.create_task(self.one(statement))

    async def do_race(self, it: dict) -> None:
        tasks = {asyncio.create_task(self.one(statement), name=f"racer {n}") for n, statement in enumerate(it["of"])}
        done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        self.log.append([[task.get_name() for task in these] for these in (done, late)])

    async def do_each(self, it: dict) -> None:
        async def named(n, statement):
            await self.one(statement)
            return n

        for next_one in asyncio.as_completed([named(n, statement) for n, statement in enumerate(it["of"])]):
            self.log.append(["as completed", await next_one])

    async def do_spawn(self, it: dict) -> None:
        self.children.add(asyncio.create_task(self.block(it["body"]), name=f"child {len(self.log)}"))

    async def do_locked(self, it: dict) -> None:
        async with self.lock:
            self.log.append("locked")
            await self.block(it["body"])

    # -- time --------------------------------------------------------------------------------------------

    async def do_sleep(self, it: dict) -> None:
        before = runbook.now()
        await asyncio.sleep(it["ms"] / 1000)
        self.log.append(["slept", runbook.now() - before >= timedelta(milliseconds=it["ms"])])

    async def do_timeout(self, it: dict) -> None:
        try:
            async with asyncio.timeout(it["ms"] / 1000):
                await self.block(it["body"])
        except TimeoutError:
            self.log.append("timed out")

    async def do_clock(self, it: dict) -> None:
        self.log.append([runbook.now().isoformat(), asyncio.get_running_loop().time()])

    # -- people and signals --------------------------------------------------------------------------------

    async def do_gate(self, it: dict) -> None:
        answer = await self._review()
        self.log.append([answer["kind"], answer.get("corrections"), answer.get("comments")])
        if answer["kind"] == "approve" and it["settles"]:
            await self.do_call({"name": "settle", "arg": len(self.log)})

    @runbook.step(name="review", title="Review")
    async def _review(self) -> dict:
        hint = {"component": "DATA_TABLE", "config": {"allow_corrections": True}}
        return await self.wait_for_action(payload={"log": self.log[-4:], "count": state.COUNT}, display_hint=hint)

    @runbook.step(name="collect", title="Collect")
    async def do_collect(self, it: dict) -> None:
        self.document = None
        action = {"kind": "submit_file", "reason": f"no {len(self.log)}", "args": {"source": "x", "signal_name": "document_submitted"}}
        try:
            await self.await_signal_with_action(
                predicate=lambda: self.document is not None, action=action, timeout=timedelta(milliseconds=it["ms"])
            )
            self.log.append(self.document)
        except TimeoutError:
            self.log.append("nothing was handed in")

    async def do_notes(self, it: dict) -> None:
        timeout = None if it["ms"] is None else timedelta(milliseconds=it["ms"])
        try:
            await runbook.wait_condition(lambda: len(self.notes) >= it["n"], timeout=timeout)
            self.log.append(["notes", len(self.notes)])
        except TimeoutError:
            self.log.append("too few notes")

    async def do_noted(self, it: dict) -> None:
        try:
            await asyncio.wait_for(self.noted.wait(), it["ms"] / 1000)
        except TimeoutError:
            self.log.append("no note")
        self.noted.clear()

    # -- what is in the process ------------------------------------------------------------------------------

    async def do_mark(self, it: dict) -> None:
        state.MARK = "by workflow code"
        state.COUNT += 1
        state.SEEN.append(len(self.log))
        state.TABLE[f"workflow {len(state.TABLE)}"] = it["n"]
        self.log.append([state.COUNT, list(state.SEEN), dict(state.TABLE)])

    async def do_draw(self, it: dict) -> None:
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, str(len(self.log))))
        self.log.append([self.random.random(), name, list({it["n"] + n * 7 for n in range(5)})])

    async def do_rubbish(self, it: dict) -> None:
        """Cycles that only a collection of garbage finds, tasks among them that nobody waits for."""
        for _ in range(it["n"]):
            loop = [asyncio.get_running_loop().create_future(), asyncio.create_task(asyncio.sleep(0))]
            loop.append(loop)
        await asyncio.sleep(0)

    async def do_fail(self, it: dict) -> None:
        raise WorkflowError(f"after {len(self.log)}", type="Meant")
