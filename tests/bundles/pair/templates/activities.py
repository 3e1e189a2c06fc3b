"""One activity that needs an approval."""

from ntro.workflow import activity


@activity.defn(name="pair.guarded")
async def guarded() -> str:
    return "done"
