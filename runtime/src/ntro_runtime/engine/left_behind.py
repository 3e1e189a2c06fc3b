"""What an attempt leaves behind in its process: tasks and threads. It ends with them, or they with the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_GRACE_S = 30.0
"""For tasks that were not awaited, and for what was given to the loop's threads: it may be an effect in its middle."""
_ON_THEIR_WAY_S = 0.1
"""For other threads: one that has been told to end does so in this time, and one that serves a library never does."""
_POOL = "ntro-attempt"


@contextmanager
def attempt_loop(on_stuck: Callable[[], None]) -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of one attempt, and of no other: what it leaves there is cancelled, and given a while to end.

    `on_stuck` is called if a task does not let itself be cancelled. `asyncio.Runner` waits for it without a bound, and makes later plain
    functions find no event loop.
    """
    loop = asyncio.new_event_loop()
    pool = ThreadPoolExecutor(thread_name_prefix=_POOL)
    loop.set_default_executor(pool)
    try:
        yield loop
    finally:
        until = time.monotonic() + _GRACE_S
        if not loop.run_until_complete(_end_tasks(until)):
            on_stuck()
        pool.shutdown(wait=False, cancel_futures=True)
        _join([thread for thread in threading.enumerate() if thread.name.startswith(_POOL)], until)
        loop.close()


async def _end_tasks(until: float) -> bool:
    """False if one does not end."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    left.add(asyncio.create_task(asyncio.get_running_loop().shutdown_asyncgens()))
    _, stuck = await asyncio.wait(left, timeout=max(0.0, until - time.monotonic()))
    return not stuck


def threads_remain() -> bool:
    """Whether code of an attempt that has ended runs on beside what comes next."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    _join(others, time.monotonic() + _ON_THEIR_WAY_S)
    return any(thread.is_alive() for thread in others)


def _join(threads: list[threading.Thread], until: float) -> None:
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
