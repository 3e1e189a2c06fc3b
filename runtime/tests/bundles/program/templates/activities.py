"""Each waits at its door, which the test opens, and leaves one line when it has its effect. None tells how often it was attempted."""

import fcntl
import os

from ntro.workflow import activity

from temporalio.exceptions import ApplicationError

from . import state


def behind_the_door():
    """What the module held before, so that the result shows what workflow code has left there."""
    info = activity.info()
    with open(os.path.join(os.environ["STUB_DOORS"], info.activity_id)) as door:
        fcntl.flock(door, fcntl.LOCK_SH)
    fd = os.open(os.environ["STUB_EFFECTS"], os.O_WRONLY | os.O_APPEND)
    os.write(fd, f"{info.activity_type} {info.activity_id}\n".encode())
    os.close(fd)
    mark = state.MARK
    state.COUNT += 100
    state.SEEN.append(info.activity_id)
    state.TABLE[info.activity_id] = info.activity_type
    return mark


@activity.defn(name="program.look")
def look(n: int) -> list:
    return [n, behind_the_door()]


@activity.defn(name="program.sum")
def total(ns: list[int]) -> list:
    return [sum(ns), behind_the_door()]


@activity.defn(name="program.flaky")
def flaky(n: int) -> list:
    mark = behind_the_door()
    if activity.info().attempt == 1:
        raise ValueError("the first attempt")
    return [n, mark]


@activity.defn(name="program.fails")
def fails(n: int) -> list:
    raise ApplicationError(f"{n} {behind_the_door()}", type="Fails", non_retryable=True)


@activity.defn(name="program.post")
def post(n: int) -> list:
    return [n, behind_the_door()]


@activity.defn(name="program.again")
def again(n: int) -> list:
    return flaky(n)


@activity.defn(name="program.settle")
def settle(n: int) -> list:
    return [n, behind_the_door()]
