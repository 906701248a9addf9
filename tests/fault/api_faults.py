"""The API: killed and asked to go at each step of an upload, and a client that insists."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from tests.fault.catalogue import fault
from tests.fault.servers import BUCKET, CLUSTER
from tests.fault.world import World
from voxqueue.jobs.kinds import Kind

_KILL = "kill -9 of the API"
_PUT = f"PUT /{BUCKET}/notes/".encode()


@fault(_KILL, "put of a note, before the store has it", CLUSTER)
def kill_api_before_put(world: World) -> None:
    assert world.store
    with world.store.hold(_PUT) as held, world.book.sending():
        world.kill(held.wait())


@fault(_KILL, "put of a note, stored and not yet known", CLUSTER, telling=True)
def kill_api_after_put(world: World) -> None:
    assert world.store
    with world.store.hold(_PUT, "answered") as held, world.book.sending():
        world.kill(held.wait())


@fault(_KILL, "commit of a job, never written", CLUSTER)
def kill_api_at_commit(world: World) -> None:
    with world.points.closed("accept") as closed, world.book.sending():
        world.kill(closed.wait())
        closed.void()


@fault(_KILL, "commit of a job, written all the same", CLUSTER)
def kill_api_after_commit(world: World) -> None:
    with world.points.closed("accept") as closed, world.book.sending():
        world.kill(closed.wait())
        closed.make()


@fault(_KILL, "hint", CLUSTER)
def kill_api_at_hint(world: World) -> None:
    with world.redis.hold(b"voxqueue.stt") as held, world.book.sending():
        pid = held.wait()
        assert world.stack.process("api") == pid
        world.kill(pid)


@fault("SIGTERM of the API", "commit of a job", CLUSTER)
def end_api_at_commit(world: World) -> None:
    with world.points.closed("accept") as closed, world.book.sending():
        os.kill(closed.wait(), signal.SIGTERM)
        closed.make()


@fault(_KILL, "commit, and the client sends it again with its Idempotency-Key", CLUSTER, telling=True)
def send_again(world: World) -> None:
    key = uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        with world.points.closed("accept") as closed:
            sending = pool.submit(world.book.insist, Kind.CHAT, key)
            world.kill(closed.wait())
            closed.make()
        first = sending.result()
    with world.points.connect() as database:
        [(jobs,)] = database.execute(
            "SELECT count(*) FROM idempotency_keys WHERE key = %s AND job_id = %s", (key, first)
        )
        assert jobs == 1, "the key does not lead to the job"
