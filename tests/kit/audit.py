"""Who wrote what, by the API server's audit log (`tests/cluster/audit-policy.yaml`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit.people import OPERATOR

WRITES = ("create", "update", "patch", "delete", "deletecollection")
# Leases are heartbeats, the others are questions that are asked with "create".
NOT_COUNTED = ("leases", "tokenreviews", "selfsubjectaccessreviews")


def operator_writes(since: str = "") -> Iterator[dict[str, Any]]:
    """Events of the operator's own writes, from the time `since` on (RFC 3339)."""
    with Path(os.environ["NTRO_AUDIT_LOG"]).open() as log:
        for line in log:
            # Most lines are of somebody else, or reads: they are not worth parsing.
            if OPERATOR.name not in line or '"verb":"get"' in line or '"verb":"list"' in line or '"verb":"watch"' in line:
                continue
            event = json.loads(line)
            resource = event.get("objectRef", {}).get("resource", "")
            own = event["user"]["username"] == OPERATOR.name and event["verb"] in WRITES
            if own and resource not in NOT_COUNTED and event["requestReceivedTimestamp"] >= since:
                yield event
