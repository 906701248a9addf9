"""Workers and the courier: killed, stopped and asked to go at each step of a job, with a wrong clock, by poison."""

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from tests.fault.catalogue import fault
from tests.fault.servers import BUCKET, CLUSTER, MACHINE, Layout
from tests.fault.world import LEASE_S, World, until
from voxqueue.jobs.kinds import Kind, Priority
from voxqueue.jobs.repository import Hint
from voxqueue.queue import JobQueue
from voxqueue.settings import RedisSettings, Settings
from voxqueue.stages import Stage

_KILL = "kill -9 of a worker"
_SPEECH = f"PUT /{BUCKET}/speech/".encode()
_NOTE = f"GET /{BUCKET}/notes/".encode()


def _kill_at(world: World, point: str, *, made: bool) -> None:
    """Kill whoever comes to a point in Postgres; its statement is carried out all the same, or never was."""
    with world.points.closed(point) as closed:
        world.book.send_load()
        world.kill(closed.wait())
        closed.make() if made else closed.void()


def _enter_kills(layout: Layout, *telling: str) -> None:
    """Each write of a worker, in both outcomes that a killed writer leaves behind."""
    for point, words in (
        ("claim", "claim"),
        ("stt", "checkpoint of stt"),
        ("llm", "checkpoint of llm"),
        ("tts", "checkpoint of tts"),
        ("end", "commit of the end"),
    ):
        for made, outcome in ((False, "never written"), (True, "written all the same")):

            def kill(world: World, point: str = point, made: bool = made) -> None:
                _kill_at(world, point, made=made)

            name = f"{words}, {outcome}"
            fault(_KILL, f"{name} ({layout.name})", layout, telling=name in telling)(kill)


_enter_kills(CLUSTER, "claim, never written", "commit of the end, written all the same")
_enter_kills(MACHINE)


@fault(_KILL, "fetch", CLUSTER)
def kill_at_fetch(world: World) -> None:
    assert world.store
    with world.store.hold(_NOTE) as held:
        world.book.send_load()
        world.kill(held.wait())


def _enter_engine_kills() -> None:
    for stage in Stage:

        def kill(world: World, stage: Stage = stage) -> None:
            with world.hooks.gate(stage) as gate:
                world.book.send_load(2)
                world.kill(gate.wait())

        fault(_KILL, f"in the model call of {stage}", CLUSTER, telling=stage is Stage.STT)(kill)


_enter_engine_kills()


@fault(_KILL, "put, before the store has it", CLUSTER)
def kill_before_put(world: World) -> None:
    assert world.store
    with world.store.hold(_SPEECH) as held:
        world.book.send_load()
        world.kill(held.wait())


@fault(_KILL, "put, stored and not yet known", CLUSTER, telling=True)
def kill_after_put(world: World) -> None:
    assert world.store
    with world.store.hold(_SPEECH, "answered") as held:
        world.book.send_load()
        world.kill(held.wait())


@fault(_KILL, "hint to the next stage", CLUSTER)
def kill_at_hint(world: World) -> None:
    with world.points.closed("stt") as checkpoint:
        for _ in range(4):  # notes only: of texts, the API itself says that llm should look
            world.book.send(Kind.VOICE_NOTE)
        checkpoint.wait()
        with world.redis.hold(b"voxqueue.llm") as held:
            checkpoint.make()
            pid = held.wait()
            assert world.stack.process("worker-1") == pid
            world.kill(pid)


@fault("kill -9 of the sweeper", "lost lease, never written", CLUSTER)
def kill_sweeper(world: World) -> None:
    _kill_sweeper(world, made=False)


@fault("kill -9 of the sweeper", "lost lease, returned all the same", CLUSTER)
def kill_sweeper_made(world: World) -> None:
    _kill_sweeper(world, made=True)


def _kill_sweeper(world: World, *, made: bool) -> None:
    """Whichever process sweeps then: all of them do, one at a time."""
    with world.points.closed("lost lease") as closed:
        with world.hooks.gate(Stage.LLM) as gate:
            world.book.send_load()
            world.kill(gate.wait())
        world.kill(closed.wait())
        closed.make() if made else closed.void()


@fault("kill -9 of the sweeper", "a doomed blob is removed, its row is not", CLUSTER)
def kill_at_forget(world: World) -> None:
    done = world.book.send(Kind.VOICE_NOTE)
    assert done
    _wait_for_success(world, done)
    with world.points.closed("forget") as closed:
        world.book.delete(done)
        world.kill(closed.wait())
        closed.void()


@fault("SIGSTOP of a worker past its lease, then SIGCONT", "in the model call of llm", CLUSTER, telling=True)
def stop_and_go_on(world: World) -> None:
    _stop_past_lease(world, Stage.LLM)


@fault("SIGSTOP of a worker past its lease, then SIGCONT", "in the model call of tts", CLUSTER)
def stop_and_speak_late(world: World) -> None:
    _stop_past_lease(world, Stage.TTS)


def _stop_past_lease(world: World, stage: Stage) -> None:
    with world.hooks.gate(stage) as gate:
        world.book.send_load()
        pid = gate.wait()
        os.kill(pid, signal.SIGSTOP)
        world.frozen.add(pid)
    time.sleep(LEASE_S + 2)  # the fault itself: it sleeps for longer than its lease
    os.kill(pid, signal.SIGCONT)


@fault("SIGTERM of a worker", "in the model call of llm", CLUSTER)
def ask_to_go(world: World) -> None:
    with world.hooks.gate(Stage.LLM) as gate:
        world.book.send_load(2)
        pid = gate.wait()
        os.kill(pid, signal.SIGTERM)


@fault("kill -9 of all workers at once", "in the model call of llm", CLUSTER)
def kill_all(world: World) -> None:
    with world.hooks.gate(Stage.LLM) as gate:
        world.book.send_load(2)
        gate.wait()
        for number in (1, 2, 3):
            world.kill(world.stack.process(f"worker-{number}"))


@fault("kill -9 of the courier", "a receiver has been told and has not answered", CLUSTER, telling=True)
def kill_courier(world: World) -> None:
    with world.listener.silent() as silence:
        world.book.send_load()
        silence.wait()
        world.kill(world.stack.process("courier"))


@fault("kill -9 of the courier", "a receiver has answered, never written", CLUSTER)
def kill_courier_at_record(world: World) -> None:
    _kill_at(world, "delivered", made=False)


@fault("kill -9 of the courier", "a receiver has answered, written all the same", CLUSTER)
def kill_courier_after_record(world: World) -> None:
    _kill_at(world, "delivered", made=True)


@fault("a receiver answers 500", "every event of some jobs", CLUSTER)
def receiver_refuses(world: World) -> None:
    with world.listener.refusing():
        world.book.send_load()
        time.sleep(3)


@fault("a receiver hangs past the deadline", "every event of some jobs", CLUSTER)
def receiver_hangs(world: World) -> None:
    with world.listener.silent() as silence:
        world.book.send_load()
        silence.wait()
        time.sleep(4)


@fault("cancel", "its speech is being stored", CLUSTER, telling=True)
def cancel_at_put(world: World) -> None:
    assert world.store
    job_id = world.book.send(Kind.SPEECH)
    assert job_id
    _wait_for_success(world, job_id)
    with world.store.hold(_SPEECH, "answered") as held:
        job_id = world.book.send(Kind.SPEECH)
        assert job_id
        held.wait()
        world.book.cancel(job_id)


@fault("cancel, and kill -9 of its worker", "its speech is being stored", CLUSTER)
def cancel_and_kill(world: World) -> None:
    assert world.store
    with world.store.hold(_SPEECH, "answered") as held:
        job_id = world.book.send(Kind.SPEECH)
        assert job_id
        pid = held.wait()
        world.book.cancel(job_id)
        world.kill(pid)


@fault("the clock of a worker is an hour ahead", "it is killed in a model call and takes up jobs again", CLUSTER)
def hour_ahead(world: World) -> None:
    _wrong_clock(world, 3600)


@fault("the clock of a worker is an hour behind", "it is killed in a model call and takes up jobs again", CLUSTER)
def hour_behind(world: World) -> None:
    _wrong_clock(world, -3600)


def _wrong_clock(world: World, seconds: float) -> None:
    """The worker of llm runs jobs by the wrong clock, loses some, and sweeps, before it is replaced."""
    with world.hooks.wrong_clock("llm", seconds):
        world.kill(world.stack.process("worker-2"))
        world.wait_until_whole()
        with world.hooks.gate(Stage.LLM) as gate:
            world.book.send_load()
            pid = gate.wait()
            assert pid in world.hooks.wrong_clocks()
            time.sleep(LEASE_S + 1)  # its leases are renewed meanwhile
        with world.hooks.gate(Stage.LLM) as gate:
            world.book.send_load()
            world.kill(gate.wait())
        world.wait_until_whole()
        world.book.send_load()
        with world.hooks.gate(Stage.TTS) as gate:
            world.book.send_load()
            world.kill(gate.wait())  # whose lease the worker with the wrong clock may return
    world.kill(world.stack.process("worker-2"))


@fault("a poison text", "kills every worker that speaks it", CLUSTER)
def poison_text(world: World) -> None:
    world.book.send(Kind.SPEECH, "!die", ends="failed")
    world.book.send_load(2)


@fault("a poison note", "kills every worker that hears it", CLUSTER, telling=True)
def poison_note(world: World) -> None:
    world.book.send(Kind.VOICE_NOTE, "!die", ends="failed")
    world.book.send_load(2)


@fault("hints twice and out of order", "for jobs that wait, run, and are done", CLUSTER, telling=True)
def hints_again(world: World) -> None:
    queue = JobQueue(Settings(redis=RedisSettings(url=world.stack.env["VOXQUEUE_REDIS_URL"])))
    done = world.book.send_load()
    with world.hooks.gate(Stage.LLM) as gate:
        jobs = [*done, *world.book.send_load(2)]
        gate.wait()
        with world.points.connect() as database:
            rows = database.execute("SELECT id, attempt FROM jobs WHERE id = ANY(%s::uuid[])", (jobs,)).fetchall()
        hints = [
            Hint(job_id, stage, attempt, priority)
            for job_id, attempt in rows
            for stage in Stage
            for priority in Priority
        ]
        random.Random(4).shuffle(hints)
        assert queue.hint(hints)
    random.Random(5).shuffle(hints)
    assert queue.hint(hints)
    queue.close()


@fault("a burst of kill -9", "whoever is there, at any moment", CLUSTER)
def burst(world: World) -> None:
    """No named point: what we have not thought of."""
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(world.book.send_load, 6)
        for number in random.sample((1, 2, 3), 3):
            time.sleep(random.uniform(0.05, 0.4))
            world.kill(world.stack.process(f"worker-{number}"))
        sending.result()


def _wait_for_success(world: World, job_id: str) -> None:
    until(lambda: world.book.show(job_id)["state"] == "succeeded", f"job {job_id} to succeed", 40)
