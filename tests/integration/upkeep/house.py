"""What upkeep works on: rows in Postgres and a folder of blobs, which tests make older than they are."""

import io
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import Engine, select, text

from tests.ears import Ears
from tests.moves import claim, done, move
from voxqueue.database.base import new_id
from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle, repository, submission
from voxqueue.jobs.blobs import note_key, speech_key
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.models import Job, Note
from voxqueue.jobs.submission import Wishes
from voxqueue.keys.caller import ANYBODY, DEFAULT_TENANT
from voxqueue.queue import JobQueue
from voxqueue.settings import JobsSettings
from voxqueue.stages import Stage
from voxqueue.storage import DiskStore
from workers.upkeep.blobs import OrphanBlobs

WAIT_S = 20
HOUR_S = 3600.0


@dataclass
class House:
    """What upkeep works on."""

    sessions: Sessions
    engine: Engine
    store: DiskStore
    queue: JobQueue
    ears: Ears = field(default_factory=Ears)
    settings: JobsSettings = field(default_factory=lambda: JobsSettings(lease_s=0.1))

    def submit(self, kind: Kind = Kind.CHAT, **more: object) -> UUID:
        with self.sessions.begin() as session:
            wishes = replace(Wishes(kind=kind, text="hi"), **more)  # type: ignore[arg-type]
            return submission.submit(session, ANYBODY, wishes, self._note() if kind.takes_note else None).id

    def _note(self) -> Note:
        note_id = new_id()
        key = note_key(note_id, "ogg")
        self.put(key)
        about = {"media_type": "audio/ogg", "container": "ogg", "codec": "opus", "sample_rate": 16_000, "channels": 1}
        return Note(id=note_id, key=key, seconds=1.0, size=5, sha256="ab" * 32, **about)

    def put(self, key: str) -> str:
        self.store.put(key, io.BytesIO(b"sound"), media_type="audio/ogg")
        return key

    def stored(self) -> set[str]:
        return {listed.key for listed in self.store.list()}

    def job(self, job_id: UUID) -> Job:
        with self.sessions() as session:
            return repository.get(session, job_id, DEFAULT_TENANT)

    def ids(self) -> set[UUID]:
        with self.sessions() as session:
            return set(session.scalars(select(Job.id)))

    def count(self, *tables: str) -> list[int]:
        with self.sessions() as session:
            return [session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]  # noqa: S608

    def let_pass(self, table: str, column: str, days: float, **which: object) -> None:
        """Make it that much longer ago."""
        only = "".join(f" AND {name} = :{name}" for name in which)
        with self.sessions.begin() as session:
            session.execute(
                text(f"UPDATE {table} SET {column} = {column} - make_interval(secs => :s) WHERE true{only}"),  # noqa: S608
                {"s": days * 86_400, **which},
            )

    def lose_lease(self, job_id: UUID) -> None:
        """Take the job, and the lease is over."""
        claim(self.sessions, str(job_id))
        self.let_pass("jobs", "lease_until", 1, id=job_id)

    def speak(self, job_id: UUID) -> str:
        """Finish a job of kind speech; returns the key of its speech, which is stored."""
        attempt = claim(self.sessions, str(job_id))
        key = self.put(speech_key(job_id, attempt, "ogg"))
        move(self.sessions, lifecycle.succeed(job_id, attempt, done(Stage.TTS, {"key": key})))
        return key

    def orphans(self, store: DiskStore | None = None, orphan_s: float = HOUR_S) -> OrphanBlobs:
        return OrphanBlobs(self.engine, store or self.store, orphan_s)
