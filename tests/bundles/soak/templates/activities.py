"""Effects that the outside world records."""

import urllib.request

from ntro.workflow import activity


@activity.defn(name="soak.prepare")
async def prepare(url: str, task: str) -> dict:
    report(url, task, "prepare")
    return {"amount": "1250.00"}


@activity.defn(name="soak.undo")
async def undo(url: str, task: str) -> None:
    report(url, task, "undo")


@activity.defn(name="soak.post")
async def post(url: str, task: str) -> str:
    report(url, task, "post")
    return "posted"


def report(url: str, task: str, what: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"{url}/effects/{task}/{what}", method="POST"), timeout=60):
        pass
