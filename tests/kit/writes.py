"""Single writes to the API server, which are dry unless a test wants to keep the object."""

from __future__ import annotations

from kit.cluster import Done, kubectl
from kit.objects import Object, edit
from kit.people import Person

DRY = "--dry-run=server"


def create(thing: Object, person: Person, *, dry: bool = True) -> Done:
    """A dry run passes all of admission and leaves nothing behind."""
    return kubectl("create", *([DRY] if dry else []), "-f", "-", person=person, send=thing)


def replace(thing: Object, person: Person, *, status: bool = False, dry: bool = True) -> Done:
    flags = [*([DRY] if dry else []), *(["--subresource=status"] if status else [])]
    while True:
        done = kubectl("replace", *flags, "-f", "-", person=person, send=thing)
        if "the object has been modified" not in done.err:
            return done
        # An operator that runs here has written to the object: the row is about what comes after that.
        metadata = thing["metadata"]
        found = kubectl("-n", metadata["namespace"], "get", thing["kind"], metadata["name"], "-o", "json").json
        thing = edit(thing, {"metadata/resourceVersion": found["metadata"]["resourceVersion"]})


def apply(*things: Object) -> None:
    """Server-side, all at once, whoever else manages the fields."""
    documents = {"apiVersion": "v1", "kind": "List", "items": list(things)}
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", send=documents).ok()
