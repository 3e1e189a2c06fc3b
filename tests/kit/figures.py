"""What a benchmark prints: one JSON object for each figure, the one that matters last."""

from __future__ import annotations

import json


def print_figure(bench: str, case: str, ours: float, rival: float | None = None) -> None:
    """`rival` is None where there is none. The ratio is ours to the rival's: below 1 is better."""
    ratio = round(ours / rival, 3) if rival else None
    print(json.dumps({"bench": bench, "case": case, "ours": ours, "rival": rival, "ratio": ratio}))
