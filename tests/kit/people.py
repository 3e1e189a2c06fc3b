"""Who sends a request: persons, ServiceAccounts and components of Kubernetes, impersonated by name and groups."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = "ntro-system"


@dataclass(frozen=True)
class Person:
    """A user as the API server would know it; everybody it knows is also in `system:authenticated`."""

    name: str
    groups: tuple[str, ...] = ()

    def flags(self) -> list[str]:
        """The same for kubectl and ntro."""
        groups = ("system:authenticated", *self.groups)
        return ["--as", self.name, *(f for g in groups for f in ("--as-group", g))]


def service_account(namespace: str, name: str) -> Person:
    return Person(f"system:serviceaccount:{namespace}:{name}", ("system:serviceaccounts",))


OPERATOR = service_account(SYSTEM, "ntro")
JOB_CONTROLLER = service_account("kube-system", "job-controller")
REPLICASET_CONTROLLER = service_account("kube-system", "replicaset-controller")
GARBAGE_COLLECTOR = service_account("kube-system", "generic-garbage-collector")
ADMIN = Person("root@example.com", ("system:masters",))

# One of each role of a tenant, and one without any.
VIEWER = Person("vera@example.com")
APPROVER = Person("ada@example.com", ("board",))
RUNNER = Person("rob@example.com")
NOBODY = Person("nina@example.com")
