"""Effects that the outside world records."""

import json
import urllib.request

from ntro.capabilities import storage
from ntro.workflow import activity


def call(url: str, method: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=600):
        pass


@activity.defn(name="probe.prepare")
async def prepare(config: dict) -> dict:
    call(f"{config['url']}/effects/{config['key']}/prepare", "POST")
    if config["hold_prepare"]:
        call(f"{config['url']}/hold/{config['hold_prepare']}", "GET")
    return {"amount": "1250.00"}


@activity.defn(name="probe.post")
async def post(config: dict, amount: str) -> str:
    if config["hold_post"]:
        call(f"{config['url']}/hold/{config['hold_post']}", "GET")
    call(f"{config['url']}/effects/{config['key']}/post", "POST")
    receipt = json.dumps({"posted": amount}).encode()
    await storage.write(path="receipt.json", content=receipt, content_type="application/json")
    return "posted"
