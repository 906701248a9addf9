"""The lifecycle of jobs beside a small model of it: whatever is asked for in whatever order, both say the same.

The model knows neither SQL nor time; it is what the documentation promises. What must hold of any lifecycle is checked
apart from it, from what was there before each step and is there afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, text

from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle, submission
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.lifecycle import Move, Moved, Outcome
from voxqueue.jobs.models import Job
from voxqueue.jobs.states import TRANSITIONS, JobState, RunState
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import Caller
from voxqueue.stages import Stage
from voxqueue.webhooks.events import JOB_EVENTS
from voxqueue.webhooks.models import WebhookEndpoint

pytestmark = pytest.mark.integration

_LEASE_S = 3600.0
_ERROR = {"detail": "it broke"}
_OPEN_RUNS = (RunState.PENDING, RunState.RUNNING)

Told = tuple[str, str, str, int, int]
"""An event: its type, stage, state and attempt, and to how many it is owed."""


# --- the model --------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One stage of a job. `begun` is what says that a worker's death may be its fault."""

    state: RunState = RunState.PENDING
    result: dict[str, Any] | None = None
    failures: int = 0
    begun: bool = False


@dataclass(frozen=True)
class Wish:
    """What somebody asks of a job: which move, under which attempt, and for which stage. `yes` is what else there is to
    choose."""

    name: str
    number: int
    attempt: int
    at: Stage
    yes: bool


@dataclass
class Twin:
    """What a job should be."""

    kind: Kind
    subscribed: frozenset[str]
    endpoints: Sequence[frozenset[str]]
    stage: Stage
    runs: dict[Stage, Run]
    state: JobState = JobState.QUEUED
    attempt: int = 0
    lost: int = 0
    started: bool = False
    lease_over: bool = False
    is_due: bool = True
    told: list[Told] = field(default_factory=list)

    def grant(self, wish: Wish) -> bool:
        """Do what is wished for, if that is allowed."""
        granted: bool = getattr(self, wish.name)(wish)
        return granted

    def claim(self, wish: Wish) -> bool:
        if self.state is not JobState.QUEUED or not self.is_due or not (wish.yes or wish.at is self.stage):
            return False
        self.state, self.attempt, self.lease_over = JobState.RUNNING, self.attempt + 1, False
        self._run_begins(self.stage)
        if not self.started:
            self._tell("job.started", self.stage)
        self.started = True
        return True

    def begin(self, wish: Wish) -> bool:
        if not self._is_held(wish, at=wish.at):
            return False
        self.runs[self.stage].begun, self.lease_over = True, False
        return True

    def proceed(self, wish: Wish) -> bool:
        if not self._is_held(wish, at=wish.at):
            return False
        self._commit(wish)
        self.stage = following(self.kind, wish.at)[0]
        self._run_begins(self.stage)
        self.lease_over = False
        return True

    def hand_over(self, wish: Wish) -> bool:
        if not self._is_held(wish, at=wish.at):
            return False
        self._commit(wish)
        self.stage = following(self.kind, wish.at)[0]
        self._wait()
        return True

    def succeed(self, wish: Wish) -> bool:
        if not self._is_held(wish, at=wish.at):
            return False
        self.state = JobState.SUCCEEDED
        self._commit(wish)
        for stage in following(self.kind, wish.at):
            self.runs[stage].state = RunState.SKIPPED
        self._tell("job.succeeded", self.stage)
        return True

    def fail(self, wish: Wish) -> bool:
        if not self._is_held(wish, at=wish.at):
            return False
        self.runs[self.stage].failures += 1
        self._fail()
        return True

    def put_back(self, wish: Wish) -> bool:
        if not self._is_held(wish):
            return False
        self._wait()
        return True

    def try_again(self, wish: Wish) -> bool:
        if not self._is_held(wish, at=wish.at):
            return False
        self.runs[self.stage].failures += wish.yes
        self._wait()
        self.is_due = not wish.yes
        return True

    def lose_lease(self, wish: Wish) -> bool:
        if not self._is_held(wish) or not self.lease_over:
            return False
        self.lost += self.runs[self.stage].begun
        self._wait()
        return True

    def give_up(self, wish: Wish) -> bool:
        if not self._is_held(wish) or not self.lease_over:
            return False
        self.lost += self.runs[self.stage].begun
        self._fail()
        return True

    def expire(self, wish: Wish) -> bool:
        if self.state is not JobState.QUEUED or self.attempt != wish.attempt:
            return False
        self._fail()
        return True

    def cancel(self, wish: Wish) -> bool:
        if self.state.is_terminal or not wish.yes:
            return False
        self.state = JobState.CANCELED
        self._close()
        self._tell("job.canceled", self.stage)
        return True

    def retry(self, wish: Wish) -> bool:
        if self.state not in (JobState.FAILED, JobState.CANCELED) or not wish.yes:
            return False
        self.lost, self.started = 0, False
        for run in self.runs.values():
            if run.state is not RunState.SUCCEEDED:
                run.state, run.failures, run.begun = RunState.PENDING, 0, False
        self._wait()
        return True

    def _is_held(self, wish: Wish, at: Stage | None = None) -> bool:
        return self.state is JobState.RUNNING and self.attempt == wish.attempt and at in (None, self.stage)

    def _run_begins(self, stage: Stage) -> None:
        self.runs[stage].state, self.runs[stage].begun = RunState.RUNNING, self.lost == 0

    def _wait(self) -> None:
        self.state, self.is_due, self.lease_over = JobState.QUEUED, True, False
        self.runs[self.stage].state, self.runs[self.stage].begun = RunState.PENDING, False

    def _commit(self, wish: Wish) -> None:
        run = self.runs[self.stage]
        run.state, run.result = RunState.SUCCEEDED, result_of(wish)
        after = self.state if self.state is JobState.SUCCEEDED else state_after(wish)
        self._tell("job.stage_completed", self.stage, after)

    def _fail(self) -> None:
        self.state = JobState.FAILED
        self.runs[self.stage].state = RunState.FAILED
        self._close()
        self._tell("job.failed", self.stage)

    def _close(self) -> None:
        for run in self.runs.values():
            if run.state in _OPEN_RUNS:
                run.state = RunState.CANCELED

    def _tell(self, event: str, stage: Stage, state: JobState | None = None) -> None:
        receivers = (event in self.subscribed) + sum(event in events for events in self.endpoints)
        if receivers:
            self.told.append((event, stage.value, (state or self.state).value, self.attempt, receivers))


def following(kind: Kind, stage: Stage) -> tuple[Stage, ...]:
    return kind.stages[kind.stages.index(stage) + 1 :]


def result_of(wish: Wish) -> dict[str, Any]:
    """Another result for each who writes one, so that one that was written over would show."""
    return {"text": f"{wish.name} {wish.attempt}"}


def state_after(wish: Wish) -> JobState:
    return JobState.RUNNING if wish.name == "proceed" else JobState.QUEUED


# --- the same for the real one ----------------------------------------------------------------------------------------


def move_of(wish: Wish, job_id: UUID, kind: Kind, tenant: str) -> Move:
    done = Outcome(stage=wish.at, state=RunState.SUCCEEDED, result=result_of(wish))
    failed = Outcome(stage=wish.at, state=RunState.FAILED, reason="broke", failed_try=True)
    owner = tenant if wish.yes else "a stranger"
    held = job_id, wish.attempt
    makers: dict[str, Callable[[], Move]] = {
        "claim": lambda: lifecycle.claim(
            job_id, worker="w", stages=tuple(Stage) if wish.yes else (wish.at,), lease_s=_LEASE_S
        ),
        "begin": lambda: lifecycle.begin(*held, wish.at, lease_s=_LEASE_S),
        "proceed": lambda: lifecycle.proceed(*held, done, following(kind, wish.at)[0], lease_s=_LEASE_S),
        "hand_over": lambda: lifecycle.hand_over(*held, done, following(kind, wish.at)[0]),
        "succeed": lambda: lifecycle.succeed(
            *held, done, tuple(Outcome(stage=one, state=RunState.SKIPPED) for one in following(kind, wish.at))
        ),
        "fail": lambda: lifecycle.fail(*held, failed, _ERROR),
        "put_back": lambda: lifecycle.put_back(*held),
        "try_again": lambda: lifecycle.try_again(
            *held, wish.at, "broke", due_in_s=_LEASE_S * wish.yes, counts=wish.yes
        ),
        "lose_lease": lambda: lifecycle.lose_lease(*held),
        "give_up": lambda: lifecycle.give_up(*held, _ERROR),
        "expire": lambda: lifecycle.expire(*held, _ERROR),
        "cancel": lambda: lifecycle.cancel(job_id, owner),
        "retry": lambda: lifecycle.retry(job_id, owner),
    }
    return makers[wish.name]()


_HELD = ("begin", "proceed", "hand_over", "succeed", "fail", "put_back", "try_again", "lose_lease", "give_up", "cancel")
_SENSIBLE = {
    JobState.QUEUED: ("claim", "claim", "claim", "claim", "claim", "claim", "expire", "cancel"),
    JobState.RUNNING: (*_HELD, "lose_lease"),
    JobState.SUCCEEDED: ("retry", "claim", "cancel"),
    JobState.FAILED: ("retry",),
    JobState.CANCELED: ("retry",),
}
_ANYTHING = ("claim", *_HELD, "expire", "retry")
_KINDS = (Kind.VOICE_NOTE, Kind.VOICE_NOTE, Kind.CHAT, Kind.CHAT, Kind.REPLY)
_SOME_EVENTS = st.frozensets(st.sampled_from([event.value for event in JOB_EVENTS]))
_MOSTLY = st.sampled_from([True, True, True, True, True, False])


@dataclass
class Seen:
    """A job as the database has it."""

    state: JobState
    attempt: int
    finished: dict[Stage, Any]


class Lifecycle(RuleBasedStateMachine):
    """Up to three jobs of one tenant, and everything that workers, upkeep and callers may ask of them."""

    sessions: Sessions

    @initialize(
        jobs=st.lists(st.tuples(st.sampled_from(_KINDS), _SOME_EVENTS), min_size=2, max_size=3),
        endpoints=st.lists(_SOME_EVENTS, max_size=2),
    )
    def submit(self, jobs: list[tuple[Kind, frozenset[str]]], endpoints: list[frozenset[str]]) -> None:
        self.tenant = uuid4().hex
        self.ids: list[UUID] = []
        self.twins: list[Twin] = []
        self.before: list[Seen] = []
        with self.sessions.begin() as session:
            for events in endpoints:
                session.add(WebhookEndpoint(tenant=self.tenant, url="http://all/", events=sorted(events)))
            for kind, events in jobs:
                url = "http://one/" if events else None
                wishes = Wishes(kind=kind, text="hi", webhook_url=url, webhook_events=sorted(events) or None)
                self.ids.append(submission.submit(session, Caller(self.tenant, frozenset()), wishes).id)
                runs = {stage: Run() for stage in kind.stages}
                self.twins.append(Twin(kind, events, endpoints, kind.stages[0], runs))

    @rule(data=st.data(), size=st.sampled_from([1, 2, 3, 4, 5, 6]))
    def ask(self, data: st.DataObject, size: int) -> None:
        """Ask for one or several things in one statement, some of them out of date, or of the wrong stage."""
        wishes = [wish for _ in range(size) if (wish := self._wish(data.draw))]
        moves = [move_of(one, self.ids[one.number], self.twins[one.number].kind, self.tenant) for one in wishes]
        with self.sessions.begin() as session:
            made = lifecycle.move(session.connection(), moves)
        for wish, moved in zip(wishes, made, strict=True):
            twin = self.twins[wish.number]
            was = twin.state
            assert twin.grant(wish) == (moved is not None), wish
            if moved is not None:
                self._check_step(wish, was, moved)

    @invariant()
    def the_database_is_as_the_model(self) -> None:
        if not hasattr(self, "ids"):
            return
        now = []
        with self.sessions() as session:
            jobs = {job.id: job for job in session.scalars(select(Job).where(Job.tenant == self.tenant)).unique()}
            told = self._told(session.execute(_TOLD, {"tenant": self.tenant}).all())
        for job_id, twin in zip(self.ids, self.twins, strict=True):
            job = jobs[job_id]
            assert (job.state, job.stage, job.attempt) == (twin.state, twin.stage, twin.attempt)
            assert job.lost_leases == twin.lost
            assert (job.error is None) == (twin.state is not JobState.FAILED)
            assert {run.stage: (run.state, run.result, run.failures) for run in job.runs} == {
                stage: (run.state, run.result, run.failures) for stage, run in twin.runs.items()
            }
            assert told.get(job_id, []) == twin.told
            finished = {run.stage: run.result for run in job.runs if run.state is RunState.SUCCEEDED}
            now.append(Seen(job.state, job.attempt, finished))
            self._check_job(job)
        for was, seen in zip(self.before, now, strict=False):
            assert seen.attempt >= was.attempt, "an attempt that comes twice fences nobody off"
            assert was.finished.items() <= seen.finished.items(), "what is committed stays"
        self.before = now

    def _wish(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Wish | None:
        number = draw(st.sampled_from(range(len(self.twins))))
        twin = self.twins[number]
        sensible = draw(_MOSTLY)
        name = draw(st.sampled_from(_SENSIBLE[twin.state] if sensible else _ANYTHING))
        at = draw(st.sampled_from([*Stage])) if not draw(_MOSTLY) else twin.stage
        off = draw(st.sampled_from([-1, 1])) if not draw(_MOSTLY) else 0
        if at not in twin.kind.stages and name != "claim":
            return None  # nobody asks for a stage that the kind has not
        if name in ("proceed", "hand_over") and not following(twin.kind, at):
            name = "succeed"
        if name in ("lose_lease", "give_up") and sensible:
            self._let_pass("lease_until = now() - interval '1 s'", number, JobState.RUNNING)
            twin.lease_over = twin.lease_over or twin.state is JobState.RUNNING
        if name == "claim" and sensible and draw(st.booleans()):
            self._let_pass("due_at = now()", number, JobState.QUEUED)
            twin.is_due = twin.is_due or twin.state is JobState.QUEUED
        return Wish(name, number, twin.attempt + off, at, yes=draw(_MOSTLY))

    def _let_pass(self, change: str, number: int, state: JobState) -> None:
        which = {"id": self.ids[number], "state": state.value}
        with self.sessions.begin() as session:
            session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id AND state = :state"), which)  # noqa: S608

    @staticmethod
    def _check_step(wish: Wish, was: JobState, moved: Moved) -> None:
        assert moved.state in TRANSITIONS[was]
        assert not was.is_terminal or wish.name == "retry", "what has ended stays as it is"
        assert (moved.claimed is not None) == (wish.name == "claim")

    @staticmethod
    def _check_job(job: Job) -> None:
        """What must hold of every job, whatever has happened."""
        assert (job.lease_until is not None) == (job.state is JobState.RUNNING)
        assert (job.finished_at is not None) == job.state.is_terminal
        running = [run.stage for run in job.runs if run.state is RunState.RUNNING]
        assert running == ([job.stage] if job.state is JobState.RUNNING else [])
        if job.state.is_terminal:
            assert not any(run.state in _OPEN_RUNS for run in job.runs), "nothing is left open"
        if job.state is JobState.SUCCEEDED:
            assert {run.state for run in job.runs} <= {RunState.SUCCEEDED, RunState.SKIPPED}
        if job.state is JobState.QUEUED:
            assert job.run_of(job.stage).state is RunState.PENDING  # type: ignore[union-attr]

    @staticmethod
    def _told(rows: Sequence[Any]) -> dict[UUID, list[Told]]:
        told: dict[UUID, list[Told]] = {}
        for job_id, event, data, owed in rows:
            told.setdefault(job_id, []).append((event, data["stage"], data["state"], data["attempt"], owed))
        return told


_TOLD = text("""
    SELECT job_id, type, data, (SELECT count(*) FROM deliveries WHERE event_id = events.id AND state = 'pending')
    FROM events WHERE tenant = :tenant ORDER BY position
""")


def test_the_lifecycle_is_what_the_model_says(sessions: Sessions) -> None:
    class OnThisDatabase(Lifecycle):
        pass

    OnThisDatabase.sessions = sessions
    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
