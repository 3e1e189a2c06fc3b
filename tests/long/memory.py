"""The operator's binary in 512 MiB, with more on its volume than that by far, and without a cluster.

On a volume of 10 GiB: RUNS runs with journals of 1 MB, FULL at the limit of theirs, and BLOBS blobs of 100 MB that move at
once; the operator is killed while they do. The API server is a stand-in (`kit/stub_api.py`), the pods are connections of this
process that speak the pods' protocol over TLS. At the end every run has completed, or says why it cannot: the operator's
memory, less page cache, has stayed below the limit. Needs root, for the cgroup and the volume.

    memory.py [RUNS [FULL [BLOBS]]]
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kit.api import say
from kit.cgroup import MemoryCgroup
from kit.figures import print_figure
from kit.stub_api import Object, StubApi, pod_token

LIMIT = 512 << 20
VOLUME = 10 << 30
JOURNAL = 1_000_000
BLOB = 100_000_000
TENANTS = 4
# Of one entry: what is longer is a blob.
RESULT = "x" * 4_000
TOGETHER = 20
PATIENCE = 600.0
VERSIONS = {"runtime": "1", "protocolMin": 1, "protocolMax": 1, "python": "3.11", "sdk": "0"}
DIGEST = "sha256:" + "a" * 64


def pin(tenant: str) -> Object:
    """What such a run is fixed to, as the operator journals it."""
    runbook = {"name": "memory", "version": "1.0.0", "digest": DIGEST, "layerDigest": DIGEST, "repository": "oci://example.invalid/memory"}
    image = f"example.invalid/runner@{DIGEST}"
    whole = {
        "runbook": runbook,
        "workflowUid": "workflow-uid",
        "tenant": tenant,
        "entity": "spv1",
        "image": image,
        "serviceAccountName": "ntro-runner",
        "config": {},
    }
    return {"runbook": runbook, "layerDigest": DIGEST, "image": image, "activities": {}, "whole": json.dumps(whole)}


class Volume:
    """A file system of its own in a sparse file."""

    def __init__(self, size: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ntro-memory-", dir="/var/tmp"))
        self.image, self.path = self.directory / "image", self.directory / "data"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)

    def remove(self) -> None:
        subprocess.run(["umount", self.path], check=True)
        subprocess.run(["rm", "-rf", self.directory], check=True)


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return int(it.getsockname()[1])


class Operator:
    """The binary, in the cgroup."""

    def __init__(self, volume: Volume, cgroup: MemoryCgroup, stub: StubApi) -> None:
        self.data, self.cgroup, self.port = volume.path, cgroup, free_port()
        self.log = volume.directory / "operator.log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(stub.kubeconfig(volume.directory / "kubeconfig")),
            "NTRO_DATA_DIR": str(self.data),
            "NTRO_NAMESPACE": "ntro-system",
            "NTRO_API_ADDR": f"127.0.0.1:{self.port}",
            "NTRO_HEALTH_ADDR": f"127.0.0.1:{free_port()}",
            "NTRO_RUNNER_IMAGE": pin("")["image"],
            # All pods are this process: on a small machine one of them can wait for its turn for minutes.
            "NTRO_LEASE_MS": "900000",
            "NTRO_LOG": "warn",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = os.environ.get("NTRO_OPERATOR_BIN") or str(Path(os.environ["NTRO_BIN"]) / "ntro-operator")
        command = ["sh", "-c", f'echo $$ >{self.cgroup.procs}; exec "$0" run', binary]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def stop(self, how: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait()

    def last_words(self) -> None:
        if self.log.exists():
            sys.stderr.write("".join(self.log.read_text().splitlines(keepends=True)[-20:]))

    @cached_property
    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.data / "tls/ca.crt"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def create_runs(volume: Volume, count: int) -> list[tuple[str, str]]:
    """Begins the runs while there is no operator; gives their tenants and identities."""
    server = Path(os.environ["NTRO_BIN"]) / "journal-testserver"
    path = volume.directory / "socket"
    (volume.path / "journal").mkdir()
    process = subprocess.Popen([server, path, volume.path / "journal"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    runs = []
    with socket.socket(socket.AF_UNIX) as it:
        it.connect(str(path))
        with it.makefile("rw") as lines:
            for n in range(count):
                tenant, run = f"t{n % TENANTS}", str(uuid.uuid4())
                what = {"namespace": tenant, "name": f"run-{n:05}", "workflow": "memory", "pin": pin(tenant), "input": {}, "run": run}
                lines.write(json.dumps({"op": "create", "id": n, **what}) + "\n")
                lines.flush()
                assert "ok" in json.loads(lines.readline())
                runs.append((tenant, run))
    process.terminate()
    process.wait()
    return runs


@dataclass
class Answer:
    """What the operator said."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}

    @property
    def code(self) -> str:
        return str(self.json.get("code", "")) if self.status >= 400 else ""


class Connection:
    """HTTP over one TLS connection, which is made again when it breaks."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def once(self, method: str, path: str, token: str, body: Iterable[bytes], length: int) -> Answer:
        if not self.writer:
            name = "ntro.ntro-system.svc"
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self.operator.port, ssl=self.operator.tls, server_hostname=name
            )
        assert self.reader
        head = f"{method} {path} HTTP/1.1\r\nHost: ntro\r\nAuthorization: Bearer {token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        self.writer.write(head.encode())
        for piece in body:
            if self.writer.is_closing():
                raise ConnectionResetError
            self.writer.write(piece)
            await self.writer.drain()
        status = int((await self.reader.readline()).split()[1])
        size = 0
        while (line := await self.reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            size = int(value) if name.lower() == "content-length" else size
        return Answer(status, await self.reader.readexactly(size))

    async def ask(self, method: str, path: str, token: str, body: Callable[[], Iterable[bytes]], length: int) -> Answer:
        """As pods do: an operator that does not answer is waited for."""
        deadline, failure = time.monotonic() + PATIENCE, "nothing"
        while time.monotonic() < deadline:
            try:
                answer = await asyncio.wait_for(self.once(method, path, token, body(), length), PATIENCE)
                if answer.status < 500:
                    return answer
                failure = answer.code or str(answer.status)
            except (OSError, IndexError, asyncio.IncompleteReadError, ssl.SSLError) as raised:
                failure = repr(raised)
                self.close()
            await asyncio.sleep(0.5)
        raise RuntimeError(f"{method} {path}: not answered in {PATIENCE:.0f} s: {failure}")

    def close(self) -> None:
        if self.writer:
            self.writer.transport.abort()
        self.reader = self.writer = None


def pieces(n: int, size: int) -> Iterator[bytes]:
    """The bytes of blob `n`."""
    block = hashlib.sha256(str(n).encode()).digest() * 8192
    while size > 0:
        yield block[:size]
        size -= len(block)


@dataclass
class Pod:
    """A pod of a run, and what it knows."""

    operator: Operator
    tenant: str
    run: str
    name: str
    uid: str
    session: str = ""
    epoch: int = 0
    head: int = 0
    delivered: int = 0
    command: int = 0
    bytes: int = 0
    why: str = ""
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection(self.operator)

    async def post(self, op: str, body: Any, token: str = "") -> Answer:
        text = json.dumps(body).encode()
        return await self.connection.ask("POST", f"/v1/pod/{op}", token or self.session, lambda: [text], len(text))

    def take(self, entries: list[Object]) -> None:
        for entry in entries:
            self.head = entry["seq"]
            self.delivered = self.head if entry["type"] in ("activityCompleted", "activityFailed") else self.delivered
            self.command = max(self.command, entry.get("command", -1) + 1)

    async def attach(self) -> None:
        """Reads the whole journal, page by page."""
        answer = await self.post("attach", {"versions": VERSIONS}, pod_token(self.tenant, self.name, self.uid))
        assert answer.status == 200, (answer.status, answer.body[:500])
        reply = answer.json
        self.session, self.epoch = reply["session"], reply["epoch"]
        self.take(reply["entries"])
        while reply.get("more"):
            reply = (await self.post("poll", {"epoch": self.epoch, "head": self.head, "waitMs": 0})).json
            self.take(reply["entries"])

    async def append(self, entries: list[Object]) -> bool:
        answer = await self.post("append", {"epoch": self.epoch, "head": self.head, "entries": entries})
        if answer.status != 200:
            self.why = answer.code or str(answer.status)
            return False
        self.take(answer.json["entries"])
        return True

    def activity(self, command: int, result: Object) -> list[Object]:
        seen = {"command": command, "seenUpto": self.delivered}
        return [
            {"type": "activityScheduled", **seen, "activity": "work", "args": {"inline": "[]"}},
            {"type": "activityStarted", "target": command, "attempt": 1},
            {"type": "activityCompleted", "target": command, "attempt": 1, "result": result},
        ]

    async def fill(self, size: int) -> None:
        """Writes entries until there are so many bytes, or the operator takes no more."""
        while self.bytes < size:
            result = {"inline": json.dumps(RESULT)}
            entries = [e for n in range(TOGETHER) for e in self.activity(self.command + n, result)]
            if not await self.append(entries):
                return
            self.bytes += len(json.dumps(entries))

    async def put_blob(self, n: int) -> str:
        digest = hashlib.sha256()
        for piece in pieces(n, BLOB):
            digest.update(piece)
        name = f"sha256:{digest.hexdigest()}"
        answer = await self.connection.ask("PUT", f"/v1/pod/blobs/{name}", self.session, lambda: pieces(n, BLOB), BLOB)
        assert answer.status == 200, (answer.status, answer.body[:500])
        assert await self.append(self.activity(self.command, {"blob": name, "size": BLOB})), self.why
        return name

    async def get_blob(self, name: str) -> None:
        answer = await self.connection.ask("GET", f"/v1/pod/blobs/{name}", self.session, lambda: [], 0)
        assert f"sha256:{hashlib.sha256(answer.body).hexdigest()}" == name, answer.status

    async def finish(self) -> None:
        done = {"type": "runCompleted", "command": self.command, "seenUpto": self.delivered, "result": {"inline": "{}"}}
        if await self.append([done, {"type": "released", "cause": "finished"}]):
            self.why = "Completed"


class World:
    """Everything together."""

    def __init__(self, runs: int, full: int, blobs: int) -> None:
        self.full, self.blobs, self.count = full, blobs, runs + full
        self.volume, self.cgroup = Volume(VOLUME), MemoryCgroup(f"ntro-memory-{os.getpid()}", LIMIT)
        self.stub = StubApi()
        self.operator = Operator(self.volume, self.cgroup, self.stub)
        self.pods: dict[str, Pod] = {}

    def see(self, pod: Object) -> None:
        meta = pod["metadata"]
        run = meta["labels"]["ntro.dev/run-id"]
        self.pods[run] = Pod(self.operator, meta["namespace"], run, meta["name"], meta["uid"])

    async def all(self, what: str, work: Iterable[Awaitable[Any]]) -> list[Any]:
        began = time.monotonic()
        done = await asyncio.gather(*work)
        say(f"{what}: {time.monotonic() - began:.0f} s, {self.cgroup.peak / 2**20:.0f} MiB at most until now")
        return done

    async def go(self) -> dict[str, int]:
        for n in range(TENANTS):
            self.stub.namespace(f"t{n}")
        created = create_runs(self.volume, self.count)
        self.stub.on_pod = self.see
        self.operator.start()
        deadline = time.monotonic() + PATIENCE
        while len(self.pods) < self.count:
            assert time.monotonic() < deadline, f"{len(self.pods)} of {self.count} runs have a pod"
            await asyncio.sleep(0.2)
        say(f"{self.count} runs have a pod")
        pods = [self.pods[run] for _, run in created]
        full, ordinary = pods[: self.full], pods[self.full :]
        await self.all("attached", (pod.attach() for pod in pods))
        await self.fill(full, ordinary)
        names = await self.move(ordinary[: self.blobs])
        await self.all("blobs read", (pod.get_blob(name) for pod, name in zip(ordinary, names, strict=False)))
        await self.all("journals read again", (pod.attach() for pod in pods))
        await self.all("finished", (pod.finish() for pod in pods))
        return dict(Counter(pod.why for pod in pods))

    async def fill(self, full: list[Pod], ordinary: list[Pod]) -> None:
        turns = asyncio.Semaphore(32)

        async def one(pod: Pod, size: int) -> None:
            async with turns:
                await pod.fill(size)

        work = [one(pod, 1 << 40) for pod in full] + [one(pod, JOURNAL) for pod in ordinary]
        await self.all("journals written", work)

    async def move(self, pods: list[Pod]) -> list[str]:
        """Blobs to the operator, which dies meanwhile."""

        async def die() -> None:
            half = self.free() - len(pods) * BLOB // 2
            while self.free() > half:
                await asyncio.sleep(0.1)
            self.operator.stop(signal.SIGKILL)
            say("killed, while blobs move; it comes back")
            self.operator.start()

        *names, _ = await self.all("blobs written", [*(pod.put_blob(n) for n, pod in enumerate(pods)), die()])
        return names

    def free(self) -> int:
        found = os.statvfs(self.volume.path)
        return found.f_bavail * found.f_frsize

    def remove(self) -> None:
        self.operator.stop(signal.SIGKILL)
        self.stub.server.shutdown()
        self.volume.remove()
        time.sleep(0.2)
        self.cgroup.remove()


def main() -> None:
    runs, full, blobs = (int(text) for text in [*sys.argv[1:], *["1000", "10", "50"][len(sys.argv) - 1 :]])
    world = World(runs, full, blobs)
    ends, passed = {}, False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    try:
        ends = asyncio.run(world.go())
        peak, kills = world.cgroup.peak, world.cgroup.oom_kills()
        passed = Counter(ends) == +Counter(Completed=runs, TooLarge=full) and peak < LIMIT and kills == 0
        print(json.dumps({"long": "memory", "ends": ends, "oomKills": kills, "limit": LIMIT, "passed": passed}))
        print_figure("memory", f"{runs} journals of 1 MB, {full} full, {blobs} blobs of 100 MB: peak less page cache", peak, LIMIT)
    finally:
        if not passed:
            say(f"peak {world.cgroup.peak}, {world.cgroup.oom_kills()} kills")
            world.operator.last_words()
        world.remove()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
