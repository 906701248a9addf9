"""Hears what is announced, in place of Redis."""

from uuid import UUID

from voxqueue.jobs.changes import Announcer
from voxqueue.jobs.states import JobState


class Ears(Announcer):
    def __init__(self) -> None:
        self.heard: list[tuple[UUID, JobState]] = []

    def announce(self, job_id: UUID, state: JobState) -> None:
        self.heard.append((job_id, state))
