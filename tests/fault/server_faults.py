"""What the workers and the API lean on: Redis, Postgres, the store, the disk, Ollama."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fault.catalogue import fault
from tests.fault.proxy import Proxy, Weather
from tests.fault.servers import CLUSTER, MACHINE
from tests.fault.world import World
from tests.wire import Said
from tests.wire_llm import cut, instead
from voxqueue.stages import Stage

_OUTAGE_S = 3.0
_REFUSAL = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nContent-Length: 56\r\n"
    b"Connection: close\r\n\r\n<Error><Code>InternalError</Code><Message>x</Message></Error>"
)


# --- Redis ------------------------------------------------------------------------------------------------------------


@fault("kill -9 of Redis", "while jobs run", CLUSTER, telling=True)
def kill_redis(world: World) -> None:
    restart = world.server_restarts("redis")
    with world.hooks.gate(Stage.LLM) as gate:
        world.book.send_load()
        gate.wait()
        world.kill(restart.pid)
        world.book.send_load()
    restart.wait()


@fault("Redis flushed", "while jobs wait", CLUSTER, telling=True)
def flush_redis(world: World) -> None:
    with world.points.closed("claim") as closed:
        world.book.send_load(2)
        closed.wait()
        world.redis_client.flushall()
        closed.make()
    world.book.send_load()


@fault("SIGSTOP of Redis, then SIGCONT", "while jobs run", CLUSTER)
def stop_redis(world: World) -> None:
    pid = world.servers.pid("redis")
    with world.hooks.gate(Stage.LLM) as gate:
        world.book.send_load()
        gate.wait()
        os.kill(pid, signal.SIGSTOP)
    try:
        world.book.send_load()
        time.sleep(_OUTAGE_S)
    finally:
        os.kill(pid, signal.SIGCONT)


@fault("every connection to Redis broken", "while jobs run", CLUSTER)
def break_redis(world: World) -> None:
    for _ in range(3):
        world.book.send_load()
        world.redis.break_all()


@fault("Redis not reachable", "from acceptance on", CLUSTER)
def cut_redis(world: World) -> None:
    with world.redis.weather(Weather(cut=True)):
        world.book.send_load()
        time.sleep(_OUTAGE_S)


@fault("Redis slow", "from acceptance on", CLUSTER)
def slow_redis(world: World) -> None:
    with world.redis.weather(Weather(delay_s=0.1)):
        world.book.send_load()


# --- Postgres ---------------------------------------------------------------------------------------------------------


@fault("kill -9 of Postgres", "in the model call of llm", CLUSTER, telling=True)
def kill_postgres(world: World) -> None:
    restart = world.server_restarts("postgres")
    with world.hooks.gate(Stage.LLM) as gate:
        world.book.send_load()
        gate.wait()
        world.kill(restart.pid)
        world.book.send_load()
        restart.wait()


@fault("kill -9 of Postgres", "at the commit of a job's end", CLUSTER)
def kill_postgres_at_commit(world: World) -> None:
    restart = world.server_restarts("postgres")
    with world.points.closed("end") as closed:
        world.book.send_load()
        closed.wait()
        world.kill(restart.pid)
        restart.wait()


@fault("Postgres restarted", "while jobs run", CLUSTER)
def restart_postgres(world: World) -> None:
    restart = world.server_restarts("postgres")
    with world.book.sending(3):
        time.sleep(0.1)
        os.kill(restart.pid, signal.SIGINT)
        restart.wait()


@fault("every connection to Postgres broken", "while jobs run", CLUSTER)
def break_postgres(world: World) -> None:
    for _ in range(3):
        world.book.send_load()
        world.database.break_all()


@fault("Postgres frozen for longer than a lease", "in the model call of llm", CLUSTER)
def freeze_postgres(world: World) -> None:
    with world.hooks.gate(Stage.LLM) as gate:
        world.book.send_load()
        gate.wait()
        with world.book.sending(), world.database.weather(Weather(frozen=True)):
            time.sleep(2 * _OUTAGE_S)


@fault("Postgres slow", "from acceptance on", CLUSTER)
def slow_postgres(world: World) -> None:
    with world.database.weather(Weather(delay_s=0.03)):
        world.book.send_load()


@fault("an answer of Postgres cut short", "while jobs run", CLUSTER)
def truncate_postgres(world: World) -> None:
    with world.book.sending(2), world.database.weather(Weather(truncate=20)):
        time.sleep(1)


# --- the store --------------------------------------------------------------------------------------------------------


def _store_fault(world: World, weather: Weather) -> None:
    """The store goes wrong for recordings that are to be fetched, speech that is to be put, and notes that come in."""
    assert world.store
    with world.hooks.gate(Stage.TTS) as speaking:
        world.book.send_load()
        speaking.wait()
        with world.points.closed("claim") as claim:
            world.book.send_load()
            claim.wait()
            with ThreadPoolExecutor(1) as pool:
                with world.store.weather(weather):
                    claim.make()
                    sent = pool.submit(world.book.send_load)  # which may have to wait for the end of it
                    time.sleep(_OUTAGE_S)
                sent.result()


@fault("the store answers 500", "get and put", CLUSTER, telling=True)
def store_refuses(world: World) -> None:
    _store_fault(world, Weather(answer=_REFUSAL))


@fault("the store's answers are cut short", "get and put", CLUSTER)
def store_truncates(world: World) -> None:
    _store_fault(world, Weather(truncate=700))


@fault("the store is slow", "get and put", CLUSTER)
def store_is_slow(world: World) -> None:
    _store_fault(world, Weather(delay_s=0.3))


@fault("the store is not reachable", "get and put", CLUSTER)
def store_is_away(world: World) -> None:
    _store_fault(world, Weather(cut=True))


@fault("the store is silent", "get and put", CLUSTER)
def store_is_silent(world: World) -> None:
    _store_fault(world, Weather(frozen=True))


@fault("the disk is full", "put", MACHINE, telling=True)
def disk_full(world: World) -> None:
    assert world.disk
    with world.hooks.gate(Stage.TTS) as gate:
        world.book.send_load()
        gate.wait()
        ballast = world.disk / ".ballast"
        _fill(ballast)
    try:
        world.book.send_load()
        time.sleep(_OUTAGE_S)
    finally:
        ballast.unlink()


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


# --- Ollama -----------------------------------------------------------------------------------------------------------


def _llm_proxy(world: World) -> Proxy:
    assert world.llm
    return world.llm


@fault("Ollama hangs", "in a chat", MACHINE)
def ollama_hangs(world: World) -> None:
    assert world.ollama
    world.ollama.gate.clear()
    try:
        world.book.send_load()
        world.ollama.wait_for_chats(1)
        time.sleep(_OUTAGE_S)
    finally:
        world.ollama.gate.set()


@fault("Ollama dies and comes back", "in a chat", MACHINE, telling=True)
def ollama_dies(world: World) -> None:
    assert world.ollama
    world.ollama.gate.clear()
    world.book.send_load()
    world.ollama.wait_for_chats(1)
    with _llm_proxy(world).weather(Weather(cut=True)):
        world.ollama.gate.set()
        time.sleep(_OUTAGE_S)


@fault("Ollama answers garbage", "in a chat", MACHINE)
def ollama_babbles(world: World) -> None:
    assert world.ollama
    world.ollama.faults.extend([instead(Said(body=b"<html>not what you think</html>"))] * 2)
    world.book.send_load()


@fault("Ollama's answer breaks off", "in a chat", MACHINE)
def ollama_breaks_off(world: World) -> None:
    assert world.ollama
    world.ollama.faults.extend([cut] * 2)
    world.book.send_load()


@fault("Ollama answers 503", "in a chat", MACHINE)
def ollama_refuses(world: World) -> None:
    assert world.ollama
    world.ollama.faults.extend([instead(Said.json({"error": "server busy"}, 503))] * 2)
    world.book.send_load()


@fault("kill -9 of the worker", "Ollama writes", MACHINE)
def kill_while_ollama_writes(world: World) -> None:
    assert world.ollama
    world.ollama.gate.clear()
    try:
        world.book.send_load()
        world.ollama.wait_for_chats(1)
        world.kill(world.stack.process("worker-1"))
    finally:
        world.ollama.gate.set()
