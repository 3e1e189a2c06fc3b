"""Activities run in processes of their own: what they share, how they are ended, and what follows when they die."""

from __future__ import annotations

import asyncio
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import Run
from journal_server import Server
from ntro_runtime.engine import left_behind
from test_workflows import HEAD, POSTING, REVIEW, Make, abandoned, assert_blocked, make, source  # noqa: F401 - the fixture

QUICK = "start_to_close_timeout=timedelta(seconds=0.3), retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1))"
# Says whether an earlier attempt, or something that it has started, is still there.
ALONE = """
import fcntl

locks = []

def alone() -> bool:
    locks.append(open(os.environ["STUB_EFFECTS"] + ".lock", "w"))
    try:
        fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
"""
GLOBALS = """
RATE = 1.0

@activity.defn
def fetch() -> float:
    global RATE
    before, RATE = RATE, 1.17
    return before
"""
DIES = """
import ctypes, signal

@activity.defn
def die(how: str) -> str:
    if effect("die") == 1:
        eval(how)
    return "alive"

@activity.defn
async def late() -> str:
    effect("late")
    while "die" not in open(os.environ["STUB_EFFECTS"]).read():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    effect("ended")
    return "late"
"""
DEATHS = {
    "os._exit(3)": "ended with exit code 3",
    "os._exit(0)": "ended with exit code 0",
    "ctypes.string_at(0)": "was killed by SIGSEGV",
    "signal.raise_signal(9)": "was killed by SIGKILL",
    # What it has started holds all that it held.
    "os.fork() and os._exit(4) or time.sleep(60)": "ended with exit code 4",
}


@pytest.mark.parametrize("lingers", [False, True])
def test_workflow_code_never_sees_what_an_activity_leaves_in_a_module(tmp_path: Path, bundle: Callable[..., Path], lingers: bool) -> None:
    server = Server(tmp_path / "server", "--linger-ms", "20000" if lingers else "0", virtual=False)
    text = source(f"await runbook.execute_activity(fetch)\n{REVIEW}\nreturn RATE", GLOBALS)
    run = Run(server, tmp_path / "run", bundle(text), {}, {"fetch": {"effect": "none"}})

    def approve() -> None:
        while not run.entries("parked"):
            time.sleep(0.01)
        run.decide(verb="approve")

    approver = threading.Thread(target=approve)
    try:
        if lingers:
            approver.start()
        assert run.drive() == "Succeeded"
        assert len(run.entries("attached")) == (1 if lingers else 2)
        assert run.result() == 1.0
    finally:
        if lingers:
            approver.join()
        server.close()


def test_an_activity_never_sees_what_workflow_code_leaves_in_a_module(make: Make) -> None:  # noqa: F811
    body = """
    global RATE
    RATE = 2.0
    return [await runbook.execute_activity(fetch), RATE]
    """
    run = make(body, GLOBALS, effects={"fetch": "none"})
    assert run.drive() == "Succeeded"
    assert run.result() == [1.0, 2.0]


HANG = """
@activity.defn
{define} hang() -> bool:
    if not alone():
        return False
    if effect("hang") == 1:
{body}
    return True
"""
STUBBORN = """
while True:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        effect("cancelled")
"""
HANGS = {
    "a plain function": ("def", "time.sleep(60)"),
    "a plain function with a process of its own": ("def", "subprocess.run(['sleep', '60'], pass_fds=[locks[-1].fileno()])"),
    "a coroutine that blocks": ("async def", "time.sleep(60)"),
    "a coroutine that does not let itself be cancelled": ("async def", STUBBORN),
}


@pytest.mark.parametrize("hang", HANGS)
def test_an_attempt_that_takes_too_long_has_ended_before_the_next_begins(make: Make, hang: str) -> None:  # noqa: F811
    define, body = HANGS[hang]
    more = ALONE + HANG.format(define=define, body=textwrap.indent(body, " " * 8))
    run = make(f"return await runbook.execute_activity(hang, {QUICK})", more, effects={"hang": "idempotent"})
    assert run.drive() == "Succeeded"
    assert run.result() is True
    assert [e["error"]["type"] for e in run.entries("activityAttemptFailed")] == ["TimeoutError"]
    assert run.effect_counts() == {"hang": 2, **({"cancelled": 1} if "cancelled" in hang else {})}


def test_a_coroutine_that_takes_too_long_may_clean_up(make: Make) -> None:  # noqa: F811
    more = """
    @activity.defn
    async def hang() -> int:
        if effect("hang") == 1:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.1)
                effect("cleaned")
        return os.getpid()

    @activity.defn
    def pid() -> int:
        return os.getpid()
    """
    body = f"return [await runbook.execute_activity(pid), await runbook.execute_activity(hang, {QUICK})]"
    run = make(body, more, effects={"hang": "none", "pid": "none"})
    assert run.drive() == "Succeeded"
    assert run.effect_counts() == {"hang": 2, "cleaned": 1}
    # Nobody was killed: one worker ran everything.
    assert len(set(run.result())) == 1


def test_a_plain_function_that_is_not_wanted_any_more_is_killed(make: Make) -> None:  # noqa: F811
    more = f"""
{ALONE}

@activity.defn
def hang() -> None:
    alone()
    effect("begun")
    time.sleep(60)

@activity.defn
def begun() -> None:
    while "begun" not in open(os.environ["STUB_EFFECTS"]).read():
        time.sleep(0.01)

@activity.defn
def ended() -> bool:
    until = time.monotonic() + 20
    while not alone() and time.monotonic() < until:
        time.sleep(0.01)
    return time.monotonic() < until
"""
    body = """
    hanging = asyncio.ensure_future(runbook.execute_activity(hang))
    await runbook.execute_activity(begun)
    hanging.cancel()
    return await runbook.execute_activity(ended)
    """
    run = make(body, more, effects={"hang": "none", "begun": "none", "ended": "none"})
    assert run.drive() == "Succeeded"
    assert run.result() is True


BEATS = """
from temporalio.activity import heartbeat

@activity.defn
{define} post(beats: int) -> int:
    n = effect("post")
    if n > 1:
        return n
    for _ in range(beats):
        {pause}(0.1)
        heartbeat("detail", 1)
    if beats == 1:
        {pause}(60)
    return n
"""
PAUSES = {"def": "time.sleep", "async def": "await asyncio.sleep"}
SILENCE = "took longer than heartbeat_timeout without a heartbeat"


@pytest.mark.parametrize("define", PAUSES)
@pytest.mark.parametrize("effect", ["idempotent", "external"])
def test_an_attempt_may_take_as_long_as_it_says_that_it_goes_on(make: Make, define: str, effect: str) -> None:  # noqa: F811
    body = "return await runbook.execute_activity(post, 25, heartbeat_timeout=timedelta(seconds=2))"
    run = make(body, BEATS.format(define=define, pause=PAUSES[define]), effects={"post": effect})
    assert run.drive() == "Succeeded"
    assert run.result() == 1


@pytest.mark.parametrize("define", PAUSES)
def test_an_attempt_that_falls_silent_has_taken_too_long(make: Make, define: str) -> None:  # noqa: F811
    policy = "retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1))"
    body = f"return await runbook.execute_activity(post, 1, heartbeat_timeout=timedelta(seconds=2), {policy})"
    run = make(body, BEATS.format(define=define, pause=PAUSES[define]), effects={"post": "idempotent"})
    assert run.drive() == "Succeeded"
    assert run.result() == 2
    (failed,) = run.entries("activityAttemptFailed")
    assert run.payload(failed["detail"])["message"] == f"the attempt {SILENCE}"


def test_an_effect_that_falls_silent_and_must_not_be_repeated_is_unknown(make: Make) -> None:  # noqa: F811
    body = "return await runbook.execute_activity(post, 1, heartbeat_timeout=timedelta(seconds=0.3))"
    run = make(body, BEATS.format(define="def", pause="time.sleep"), effects={"post": "external"})
    assert_blocked(
        run, "EffectUnknown", f"attempt 1 of activity 'post' (command 0) {SILENCE} and may have its effect yet", "runbook.execute"
    )


LEAVES = """
@activity.defn
def leave(fails: bool) -> bool:
    if not alone():
        return False
    if effect("leave") == 1:
        threading.Thread(target=time.sleep, args=[60]).start()
        if fails:
            raise RuntimeError
    return True

@activity.defn
def look() -> bool:
    return alone()
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_does_not_outlive_the_attempt_that_has_left_it(make: Make, fails: bool) -> None:  # noqa: F811
    policy = "retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1))"
    body = f"""
    left = await runbook.execute_activity(leave, {fails}, {policy})
    return [left, await runbook.execute_activity(look)]
    """
    # A second attempt keeps the lock itself.
    run = make(body, "import threading\n" + ALONE + LEAVES, effects={"leave": "idempotent", "look": "none"})
    assert run.drive() == "Succeeded"
    assert run.result() == [True, not fails]
    assert run.effect_counts() == {"leave": 2 if fails else 1}


def test_tasks_and_what_they_gave_to_threads_end_with_their_attempt(make: Make) -> None:  # noqa: F811
    more = (
        ALONE
        + """
def work() -> None:
    time.sleep(0.3)
    effect("worked")

async def hold() -> None:
    try:
        alone()
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        locks.pop().close()
        effect("cleaned")

async def generate():
    try:
        yield 1
    finally:
        effect("closed")

@activity.defn
async def leave() -> int:
    held = asyncio.create_task(hold()), asyncio.create_task(asyncio.to_thread(work))
    async for _ in generate():
        break
    await asyncio.sleep(0.05)
    return os.getpid()

@activity.defn
async def look() -> list[int]:
    seen = open(os.environ["STUB_EFFECTS"]).read().split()
    return [os.getpid(), alone(), len(asyncio.all_tasks()), *map(seen.count, ["worked", "cleaned", "closed"])]

@activity.defn
def plain() -> str:
    asyncio.get_event_loop_policy().get_event_loop().close()
    return "has a loop"
"""
    )
    run = make(
        "return [await runbook.execute_activity(each) for each in (leave, look, plain)]",
        more,
        effects={"leave": "external", "look": "none", "plain": "none"},
    )
    assert run.drive() == "Succeeded"
    left, found, _ = run.result()
    # Nothing is left that would be a reason to end the worker.
    assert found == [left, True, 1, 1, 1, 1]


@pytest.mark.parametrize("yields", [False, True])
def test_a_task_that_does_not_end_wears_its_worker_out(monkeypatch: pytest.MonkeyPatch, yields: bool) -> None:
    monkeypatch.setattr(left_behind, "_GRACE_S", 0.1)
    stuck: list[bool] = []
    kept: list[asyncio.Task[None]] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if yields:
                    raise

    async def leave() -> None:
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    with left_behind.attempt_loop(lambda: stuck.append(True)) as loop:
        loop.run_until_complete(leave())
    assert stuck == ([] if yields else [True])


@pytest.mark.parametrize("how", DEATHS)
def test_a_worker_that_dies_fails_its_attempt_and_no_other(make: Make, how: str) -> None:  # noqa: F811
    body = """
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=1))
    both = runbook.execute_activity(late), runbook.execute_activity(die, args=[HOW], retry_policy=policy)
    return await asyncio.gather(*both)
    """
    run = make(body.replace("HOW", repr(how)), DIES, effects={"die": "idempotent", "late": "external"})
    assert run.drive() == "Succeeded"
    assert run.result() == ["late", "alive"]
    assert len(run.exits) == 1
    (failed,) = run.entries("activityAttemptFailed")
    assert failed["error"]["type"] == "WorkerDied"
    assert run.payload(failed["detail"])["message"] == f"the process of the attempt {DEATHS[how]}"
    assert run.effect_counts() == {"die": 2, "late": 1, "ended": 1}


@pytest.mark.parametrize("effect", ["external", "undeclared"])
def test_an_effect_whose_worker_died_is_unknown(make: Make, effect: str) -> None:  # noqa: F811
    body = "return await runbook.execute_activity(die, args=['os._exit(3)'], retry_policy=RetryPolicy(maximum_attempts=3))"
    run = make(body, DIES, effects={} if effect == "undeclared" else {"die": effect})
    assert_blocked(run, "EffectUnknown", "ended with exit code 3; activity 'die' (command 0) may have had its effect", "runbook.execute")
    assert run.effect_counts() == {"die": 1}
    assert run.server.ask("retry", run=run.id)["reason"] == "EffectUnknown"
    assert run.server.ask("retry", run=run.id, repeatEffects=[0])["outcome"] == "Applied"
    assert run.drive() == "Succeeded"
    assert run.result() == "alive"


def test_only_what_has_begun_is_unknown(make: Make) -> None:  # noqa: F811
    more = """
    @activity.defn
    def post(n: int) -> int:
        if effect(f"post-{n}") == 1 and n == 5:
            os.kill(os.getppid(), 9)  # and with it all that is under way
        return n
    """
    body = "return await asyncio.gather(*(runbook.execute_activity(post, args=[n]) for n in range(200)))"
    run = make(body, more, effects={"post": "external"})
    assert run.drive() == "Blocked"
    assert run.blocked()[0] == "EffectUnknown"
    states = [it["state"] for it in run.state()["activities"]]
    assert 1 <= states.count("Running") <= 16
    begun = {it["command"] for it in run.state()["activities"] if it["attempt"] > 0}
    assert len(begun) < 100
    unknown = [it["command"] for it in run.state()["activities"] if it["state"] == "Running"]
    assert run.server.ask("retry", run=run.id, repeatEffects=unknown)["outcome"] == "Applied"
    assert run.drive() == "Succeeded"
    assert run.result() == list(range(200))
    assert {n for n in range(200) if run.effect_counts()[f"post-{n}"] > 1} <= set(unknown)
    retried = [e for e in run.entries("activityStarted") if e["attempt"] > 1]
    assert [(e["target"], e["cause"]) for e in retried] == [(target, "crash") for target in unknown]


def test_a_burst_is_run_by_sixteen_workers(make: Make) -> None:  # noqa: F811
    more = """
    @activity.defn
    def pid(n: int) -> int:
        time.sleep(0.02)
        return os.getpid()
    """
    body = "return await asyncio.gather(*(runbook.execute_activity(pid, args=[n]) for n in range(50)))"
    run = make(body, more, effects={"pid": "none"})
    assert run.drive() == "Succeeded"
    assert 1 < len(set(run.result())) <= 16


def test_what_an_activity_reports_of_its_failure_arrives(make: Make) -> None:  # noqa: F811
    more = """
    class OwnError(ApplicationError):
        pass

    @activity.defn
    def fail() -> None:
        if effect("fail") == 1:
            raise OwnError("later", {"n": 1}, type="Busy", next_retry_delay=timedelta(milliseconds=1500))
        raise LookupError("\\ud800 no such thing")  # here

    """
    body = """
    try:
        await runbook.execute_activity(fail, retry_policy=RetryPolicy(non_retryable_error_types=["LookupError"]))
    except ActivityError as error:
        return [error.cause.type, error.cause.message]
    """
    run = make(body, more, effects={"fail": "none"})
    assert run.drive() == "Succeeded"
    (attempt,) = run.entries("activityAttemptFailed")
    assert (attempt["error"]["type"], attempt["retryAfterMs"]) == ("Busy", 1500)
    detail = run.payload(run.entries("activityFailed")[0]["detail"])
    text = (run.bundle / "templates" / "workflow.py").read_text().splitlines()
    assert "# here" in text[int(detail["site"].removeprefix("templates/workflow.py:")) - 1]
    assert run.result()[0] == "LookupError"


RUDE = """
@activity.defn
def forks() -> str:
    effect("forks")
    if os.fork() == 0:
        sys.exit(0) if effect("fork") == 1 else None
        return "the fork"
    time.sleep(0.5)
    return "the worker"

@activity.defn
def closes() -> str:
    sys.stdout.close()
    logging.getLogger().addHandler(logging.StreamHandler(open(os.devnull)))
    return "closed"
"""


@pytest.mark.parametrize("returns", [False, True])
def test_a_fork_that_an_activity_has_made_reports_nothing(make: Make, returns: bool) -> None:  # noqa: F811
    definitions = "import sys, logging\n" + RUDE
    if returns:
        definitions = definitions.replace('sys.exit(0) if effect("fork") == 1 else None', "pass")
    run = make("return [await runbook.execute_activity(forks) for _ in range(2)]", definitions, effects={"forks": "external"})
    assert run.drive() == "Succeeded"
    assert run.result() == ["the worker", "the worker"]
    assert run.effect_counts()["forks"] == 2


def test_streams_that_an_activity_has_closed_lose_no_completion(make: Make) -> None:  # noqa: F811
    run = make("return await runbook.execute_activity(closes)", "import sys, logging\n" + RUDE, effects={"closes": "external"})
    assert run.drive() == "Succeeded"
    assert run.result() == "closed"


def test_an_effect_that_nobody_wants_any_more_is_not_cut_short_when_the_run_parks(make: Make) -> None:  # noqa: F811
    definitions = """
    @activity.defn
    def slow() -> None:
        effect("begun")
        time.sleep(0.5)
        effect("ended")
    """
    run = make(abandoned("slow"), "import time\n" + textwrap.dedent(definitions), effects={"slow": "external", "echo": "none"})
    assert run.drive() == "Succeeded"
    counts = run.effect_counts()
    assert (counts["begun"], counts["ended"]) == (1, 1)
    # Its end is known as well, although nobody waits for it.
    assert sorted(entry["target"] for entry in run.entries("activityCompleted")) == [0, 1]


# -- effects that the code gave up ---------------------------------------------------------------------

GIVEN_UP = """
posts = [asyncio.ensure_future(runbook.execute_activity(post, args=[{seconds}]{options})) for _ in range({count})]
await asyncio.sleep(0.01)
for each in posts:
    each.cancel()
{then}
"""


def time_passes_after(begun: int) -> Callable[[Run], None]:
    """So many effects have begun when the code gives them up."""

    def look(run: Run) -> None:
        if run.effect_counts().get("post", 0) == begun:
            run.server.ask("advance", ms=10)

    return look


def test_an_effect_that_the_code_gave_up_asks_nobody_when_it_takes_too_long(make: Make) -> None:  # noqa: F811
    options = ", start_to_close_timeout=timedelta(seconds=0.1)"
    body = GIVEN_UP.format(seconds=1.0, options=options, count=1, then="await asyncio.gather(*posts, return_exceptions=True)\nreturn 7")
    run = make(body, POSTING, effects={"post": "external"}, meanwhile=time_passes_after(1))
    assert run.drive() == "Succeeded"
    assert run.effect_counts()["post"] == 1


def test_effects_that_the_code_gave_up_take_no_places(make: Make) -> None:  # noqa: F811
    body = GIVEN_UP.format(seconds=4.0, options="", count=16, then="return await runbook.execute_activity(echo, args=[7])")
    more = "@activity.defn\ndef post(seconds: float) -> int:\n    effect('post')\n    time.sleep(seconds)\n    return effect('posted')\n"
    run = make(body, more, effects={"post": "external"}, meanwhile=time_passes_after(16))
    assert run.drive() == "Succeeded"
    kinds = [(e["type"], e["target"]) for e in run.entries("activityCompleted")]
    echo = run.entries("activityScheduled")[-1]["command"]
    assert kinds[0][1] == echo, "before any of those that were given up"
    assert run.effect_counts() == {"post": 16, "posted": 16}


def test_how_an_effect_failed_that_the_code_gave_up_is_recorded(make: Make) -> None:  # noqa: F811
    more = "@activity.defn\ndef post(seconds: float) -> int:\n    effect('post')\n    time.sleep(0.3)\n    raise ApplicationError('no')\n"
    body = GIVEN_UP.format(seconds=1.0, options="", count=1, then="await asyncio.gather(*posts, return_exceptions=True)\nreturn 7")
    run = make(body, more, effects={"post": "external"}, meanwhile=time_passes_after(1))
    assert run.drive() == "Succeeded"
    assert len(run.entries("activityFailed")) == 1
