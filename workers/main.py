"""What a worker process is made of: a worker runs stages, a courier does the light work that needs no model."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis
from sqlalchemy import Engine

from voxqueue import machine
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.fleet import EngineStatus, Fleet, WorkerReport
from voxqueue.jobs.changes import Announcer
from voxqueue.metrics import jobs as metrics
from voxqueue.metrics.exposition import Exposition, open_port
from voxqueue.metrics.gpu import GpuCollector
from voxqueue.queue import UPKEEP_QUEUE, JobQueue
from voxqueue.settings import Settings, settings
from voxqueue.settings.variables import log_unknown_variables
from voxqueue.stages import Stage
from voxqueue.storage import BlobStore, open_store
from voxqueue.telemetry import set_up_logging
from voxqueue.tracing import end_tracing, set_up_tracing
from workers.celery_app import create_app, serve
from workers.delivery import Deliverer
from workers.heartbeat import Beat, FleetBeat, LeaseBeat, Watchdog
from workers.ledger import Ledger
from workers.naming import node_name, worker_name
from workers.outbound import Outbound
from workers.past import Memory, Past
from workers.proving import LOOK_S, Prover
from workers.pulse import Pulse
from workers.runner import Runner
from workers.steps import create_steps
from workers.tasks import register_jobs, register_upkeep
from workers.upkeep.sweeps import cleaning_sweep, jobs_sweep
from workers.warmup import Warmup, in_trouble

log = logging.getLogger(__name__)

_ASK_S = 60.0
_RETRY_S = 15.0  # pause before an engine that could not be warmed is tried again
_HANGS_BEATS, _HANGS_S = 5, 5.0  # heartbeats, and seconds, after which a consumer that does not turn has hung


@dataclass(frozen=True, slots=True)
class Ground:
    """What every kind of worker stands on."""

    settings: Settings
    engine: Engine
    sessions: Sessions
    store: BlobStore
    queue: JobQueue
    announcer: Announcer
    fleet: Fleet

    def sweeper(self) -> Beat:
        jobs = self.settings.jobs
        sweep = jobs_sweep(self.engine, self.sessions, self.queue, self.announcer, jobs)
        return Beat("sweeper", jobs.sweep_s, sweep)

    def cleaner(self) -> Beat:
        """Beside the sweeper, in a thread of its own: no job waits until a slow store has answered."""
        jobs = self.settings.jobs
        return Beat("cleaner", jobs.sweep_s, cleaning_sweep(self.engine, self.sessions, self.store, jobs))


def run_worker(stages: Sequence[Stage], name: str | None = None) -> int:
    """Load and warm the engines of these stages, then run jobs until told to stop. Returns the exit code."""
    node = node_name(name or worker_name(stages, settings()))
    ground = _ground("worker", node)
    open_port(ground.settings.metrics, Exposition(GpuCollector()))
    for stage in stages:
        metrics.expect(stage)
    return _Worker(ground, stages, node).run()


def run_courier(name: str | None = None) -> int:
    """Do upkeep and deliver webhooks until told to stop. Returns the exit code."""
    node = node_name(name or "courier")
    ground = _ground("courier", node)
    open_port(ground.settings.metrics, Exposition())
    app = create_app(ground.settings)
    sweeper, cleaner = ground.sweeper(), ground.cleaner()
    webhooks = ground.settings.webhooks
    deliverer = Deliverer(ground.sessions, Outbound(webhooks), webhooks)
    report = WorkerReport(worker=node, host=socket.gethostname(), pid=os.getpid())
    beat = Beat("heartbeat", ground.settings.worker.heartbeat_s, FleetBeat(lambda: report, ground.fleet))
    register_upkeep(app, cleaner.nudge, deliverer.nudge)
    beat.start()
    sweeper.start()
    cleaner.start()
    deliverer.start()
    code = serve(
        app,
        name=node,
        queues=[UPKEEP_QUEUE],
        threads=1,
        warm=lambda open_queue: open_queue(UPKEEP_QUEUE),
        stop=lambda: None,
    )
    deliverer.stop(ground.settings.worker.grace_s)
    cleaner.stop()
    sweeper.stop()
    beat.stop()
    _leave(ground, node)
    end_tracing()
    return code


class _Worker:
    """A worker that runs stages, put together."""

    def __init__(self, ground: Ground, stages: Sequence[Stage], node: str) -> None:
        self._ground = ground
        self._node = node
        self._stages = stages
        self._began = time.monotonic()
        self._startup_ms: float | None = None
        self._warm_now = threading.Event()
        config = ground.settings
        self._pulse = Pulse(patience_s=max(_HANGS_S, _HANGS_BEATS * config.worker.heartbeat_s))
        self._fleet_beat = Beat("heartbeat", config.worker.heartbeat_s, self._report_to(ground.fleet))
        past = Past(config)
        self._memory = Memory(ground.sessions, past, node, machine.look().host_class)
        self._warmup = Warmup(stages, config, self._fleet_beat.nudge, past, self._memory.note)
        # By a beat, since asking may take its time; how often it asks unasked hardly matters, since couriers look too.
        owing = Beat("owing", _ASK_S, ground.queue.ask_for_delivery)
        self._ledger = Ledger(ground.engine, ground.announcer, owing.nudge, is_crowded=lambda: self._runner.is_crowded)
        self._runner = Runner(
            worker=node,
            served=self._warmup.served,
            steps=create_steps(config, ground.store),
            ledger=self._ledger,
            queue=ground.queue,
            store=ground.store,
            settings=config.jobs,
        )
        leases = LeaseBeat(self._runner, ground.sessions, ground.announcer, config.jobs.lease_s)
        watchdog = Watchdog(self._runner, self._warmup, self._report_to(ground.fleet), config.worker.load_s)
        self._beats = [
            Beat("leases", leases.interval_s, leases),
            Beat("watchdog", 1.0, watchdog),
            *self._prover(),
            owing,
            ground.sweeper(),
            ground.cleaner(),
        ]
        self._stopped = threading.Event()

    def run(self) -> int:
        app = create_app(self._ground.settings)
        register_jobs(app, self._runner)
        self._memory.recall()
        for beat in (self._fleet_beat, *self._beats):
            beat.start()
        code = serve(
            app,
            name=self._node,
            queues=[stage.value for stage in self._stages],
            # For each stage, half of them gather meanwhile; a stage must not lack jobs since another has many.
            threads=2 * sum(self._at_once(stage) for stage in self._stages),
            warm=self._warm,
            stop=self._stop,
            pulse=self._pulse,
        )
        self._stopped.set()
        for beat in (*self._beats, self._fleet_beat):
            beat.stop()
        _leave(self._ground, self._node)
        self._ledger.stop()
        end_tracing()
        return code

    def _at_once(self, stage: Stage) -> int:
        """How many jobs a stage works on at the same time: its largest batch, or what its server runs in parallel."""
        config = self._ground.settings
        servers = {"ollama": config.ollama.parallel, "openai": config.openai.parallel}
        parallel = [servers[name] for name in config.engine_names(stage) if name in servers]
        return max([config.stage(stage).max_batch, *parallel])

    def _warm(self, open_queue: Callable[[str], None]) -> None:
        """Warm every stage before taking any job; go on trying the stages that could not be warmed."""
        cold = [stage for stage in self._stages if not self._warmup.warm(stage)]
        self._startup_ms = round((time.monotonic() - self._began) * 1000, 1)
        self._fleet_beat.nudge()
        for stage in self._stages:
            if stage not in cold:
                open_queue(stage.value)
        while cold:
            self._warm_now.wait(_RETRY_S)
            self._warm_now.clear()
            if self._stopped.is_set():
                return
            for stage in list(cold):
                if self._warmup.warm(stage):
                    cold.remove(stage)
                    open_queue(stage.value)

    def _stop(self) -> None:
        """Finish what runs, hand back the rest; what is not done within the grace period is handed back too."""
        self._runner.stop()
        if self._stopped.wait(self._ground.settings.worker.grace_s):
            return
        log.warning("grace period over; %d jobs go back to their queue", len(self._runner.held()))
        try:
            self._runner.put_back_all()
            _leave(self._ground, self._node)
            end_tracing()
        finally:
            os._exit(0)

    def _report_to(self, fleet: Fleet) -> FleetBeat:
        return FleetBeat(self._report, fleet, lambda: self._warmup.voices, self._warm_now.set)

    def _prover(self) -> list[Beat]:
        prove_s = self._ground.settings.worker.prove_s
        return [Beat("prover", min(LOOK_S, prove_s), Prover(self._warmup, prove_s))] if prove_s else []

    def _report(self) -> WorkerReport:
        self._pulse.feel()
        stages = self._warmup.snapshot()
        if trouble := self._pulse.trouble:
            warm = [stage for stage, it in stages.items() if it.status is EngineStatus.READY]
            stages |= {stage: in_trouble(stages[stage], trouble) for stage in warm}
        return WorkerReport(
            worker=self._node,
            host=socket.gethostname(),
            pid=os.getpid(),
            startup_time_ms=self._startup_ms,
            stages=stages,
            machine=machine.look(),
            versions=machine.versions(),
        )


def _ground(role: str, node: str) -> Ground:
    config = settings()
    set_up_logging(config, worker=node)
    log_unknown_variables()
    set_up_tracing(f"voxqueue-{role}", node)
    engine = open_engine(config.database)
    return Ground(
        settings=config,
        engine=engine,
        sessions=open_sessions(engine),
        store=open_store(config),
        queue=JobQueue(config),
        announcer=Announcer(config.redis),
        fleet=Fleet(config.redis, config.worker),
    )


def _leave(ground: Ground, node: str) -> None:
    try:
        ground.fleet.leave(node)
    except redis.RedisError as error:
        log.debug("not taken off the fleet, it will expire: %s", error)
