"""Proves again and again that warm engines still work: by a tiny request through the production path, while idle.

A proof waits for nobody's jobs and takes part in no batch; work that comes in while it has not begun pushes it aside.
"""

import logging
import threading
import time

from voxqueue.errors import VoxqueueError
from voxqueue.stages import Stage
from workers.serving import Served
from workers.warmup import Warmup

log = logging.getLogger(__name__)

LOOK_S = 1.0
_AGAIN_S = 5.0  # after a proof that failed
_PATIENCE_S = 10.0


class Prover:
    """Says of an engine that it has failed when it does not answer, and takes that back once it does. Call it often.

    Args:
        warmup: Has the engines, and tells the fleet.
        prove_s: How long an engine must have been idle.
        patience_s: How long an answer may take, or as long as all of its warm-up took. While another engine has the
            processor, no time passes.
    """

    def __init__(self, warmup: Warmup, prove_s: float, patience_s: float = _PATIENCE_S) -> None:
        self._warmup = warmup
        self._prove_s = prove_s
        self._patience_s = patience_s
        self._began_at: dict[Stage, float] = {}
        self._doubted_at: dict[Stage, float] = {}
        self._held_up_at: dict[Stage, float] = {}  # when it was last seen to wait for another engine's batch

    def __call__(self) -> None:
        for stage, served in list(self._warmup.served.items()):
            if stage in self._doubted_at and served.answered_at > self._doubted_at[stage]:
                self._trust(stage, served)
            pause_s = min(_AGAIN_S, self._prove_s) if stage in self._doubted_at else self._prove_s
            if stage in self._began_at:
                self._check_in_time(stage, served)
            elif served.idle_s >= pause_s:
                self._began_at[stage] = time.monotonic()
                name = f"proof-{stage}"
                threading.Thread(target=self._prove, args=(stage, served), name=name, daemon=True).start()

    def _prove(self, stage: Stage, served: Served) -> None:
        try:
            served.prove()
        except VoxqueueError as error:
            self._doubt(stage, f"{served.engine.name} could not answer a tiny request: {error.detail}")
        except BaseException as error:  # the panics of a runtime written in Rust are no Exceptions
            log.exception("a proof of %s failed", served.engine.name)
            self._doubt(stage, f"{served.engine.name} could not answer a tiny request: {type(error).__name__}: {error}")
        finally:
            self._began_at.pop(stage, None)

    def _check_in_time(self, stage: Stage, served: Served) -> None:
        began_at = self._began_at.get(stage)
        if began_at is None or stage in self._doubted_at:
            return
        now, patience_s = time.monotonic(), max(self._patience_s, served.warmup_s)
        if served.batcher.is_held_up:
            self._held_up_at[stage] = now
        if now - max(began_at, self._held_up_at.get(stage, 0.0)) <= patience_s:
            return
        self._doubt(
            stage,
            f"{served.engine.name} has not answered a tiny request for {patience_s:.0f} s, with nothing else to do. "
            "Look at what it runs on, and restart the worker if that lasts.",
        )

    def _doubt(self, stage: Stage, why: str) -> None:
        if stage not in self._doubted_at:
            log.error("%s counts as failed: %s", stage, why)
        self._doubted_at[stage] = time.monotonic()
        self._warmup.doubt(stage, why)

    def _trust(self, stage: Stage, served: Served) -> None:
        log.info("%s answers again", served.engine.name)
        del self._doubted_at[stage]
        self._warmup.doubt(stage, None)
