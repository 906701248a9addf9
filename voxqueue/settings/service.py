"""The groups of the service: its servers, the API, jobs, webhooks, workers, what watches them."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from voxqueue.errors import MisconfiguredError
from voxqueue.settings.values import Names, Numbers, split
from voxqueue.stages import Stage


class DatabaseSettings(BaseModel):
    """Postgres, the truth."""

    url: str | None = Field(None, description="`postgresql://user:password@host:5432/name`")
    pool_size: int = Field(20, ge=8, description="Connections one process may hold; upkeep alone needs up to five")

    def require_url(self) -> str:
        from sqlalchemy import make_url  # noqa: PLC0415 - slow to import, and by its rules the address is read

        if not self.url:
            raise _unset("database", "VOXQUEUE_DATABASE_URL")
        scheme, _, rest = self.url.partition("://")
        # The first two are what hosting providers hand out; we speak through psycopg 3.
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise MisconfiguredError("VOXQUEUE_DATABASE_URL must begin with postgresql://: Postgres is all we speak.")
        url = f"postgresql+psycopg://{rest}"
        try:
            make_url(url)
        except (TypeError, ValueError):
            raise _unreadable("VOXQUEUE_DATABASE_URL") from None
        return url


class RedisSettings(BaseModel):
    """Redis: hints between processes, and heartbeats. Losing it costs latency, never a job."""

    url: str | None = Field(None, description="`redis://:password@host:6379/0`, or `rediss://` with TLS")
    prefix: str = Field("voxqueue", description="Begins every key and channel that is not Celery's")

    def require_url(self) -> str:
        if not self.url:
            raise _unset("Redis", "VOXQUEUE_REDIS_URL")
        if not self.url.startswith(("redis://", "rediss://")):
            raise MisconfiguredError("VOXQUEUE_REDIS_URL must begin with redis://, or rediss:// for TLS.")
        try:
            _ = urlsplit(self.url).port  # by the driver's rules
        except ValueError:
            raise _unreadable("VOXQUEUE_REDIS_URL") from None
        return self.url


def _unset(server: str, variable: str) -> MisconfiguredError:
    return MisconfiguredError(
        f"No {server}: set {variable}, or use `voxqueue up`, which brings its own. To use that of one that runs in "
        "this folder, enter `. .voxqueue/servers.env` first."
    )


def _unreadable(variable: str) -> MisconfiguredError:
    """Instead of the driver's words, which may quote a part of a password."""
    return MisconfiguredError(
        f"{variable} has no number where the port belongs. In a password, write %3A for :, %2F for /, %3F for ?, "
        "%23 for # and %40 for @."
    )


class StorageSettings(BaseModel):
    """Where recordings and speech lie when no S3 bucket is named."""

    dir: Path | None = Field(None, description="A folder that the API and every worker share")


class S3Settings(BaseModel):
    """Any S3-compatible object store. Naming a bucket turns it on."""

    bucket: str | None = Field(None, description="The bucket; without one, blobs go to `VOXQUEUE_STORAGE_DIR`")
    prefix: str = Field("", description="Begins every key in the bucket")
    endpoint_url: str | None = Field(None, description="For stores other than AWS")
    public_endpoint_url: str | None = Field(
        None, description="Where callers reach the store, if elsewhere; download addresses are signed for it"
    )
    region: str | None = Field(None, description="Else what the AWS configuration says")
    access_key_id: str | None = Field(None, description="Else what the AWS configuration says")
    secret_access_key: SecretStr | None = Field(None, description="Else what the AWS configuration says")
    url_seconds: int = Field(3600, ge=1, description="How long a presigned download address lives")


class ApiSettings(BaseModel):
    """Who may call the API."""

    keys: Literal["required", "open"] = Field(
        "required",
        description="`open` lets everybody in, on loopback addresses only; `voxqueue up`, and `voxqueue api` on "
        "loopback, are open unless this says `required`",
    )
    cors_origins: Names = Field((), description="Origins whose pages may call, such as `https://app.example.com`")


_RATE = re.compile(r"[1-9]\d{0,8}/(second|minute|hour)", re.ASCII)


class LimitsSettings(BaseModel):
    """What the API refuses, before anything is queued."""

    requests: str = Field(
        "6000/minute",
        description="Requests of one key, or of one address where there are no keys: `NUMBER/second|minute|hour`",
    )
    open_jobs: int = Field(
        20_000, ge=1, description="Jobs of one key, or of all who come without one, that have not finished"
    )
    queued_jobs: int = Field(100_000, ge=1, description="Jobs that wait, of all keys together")

    upload_bytes: int = Field(26_214_400, ge=1, description="Largest recording in bytes")
    note_seconds: float = Field(900, gt=0, description="Longest recording in seconds")
    note_min_seconds: float = Field(0.1, ge=0, description="Shortest recording in seconds")
    text_chars: int = Field(10_000, ge=1, description="Longest text of a text job")
    instructions_chars: int = Field(4_000, ge=0, description="Longest instructions")
    prompt_chars: int = Field(1_000, ge=0, description="Longest prompt, and longest hotwords, of speech to text")
    schema_bytes: int = Field(8_192, ge=2, description="Largest schema of a reply as JSON")
    metadata_bytes: int = Field(4_096, ge=2, description="Largest metadata object as JSON")
    wait_seconds: int = Field(60, ge=0, description="Longest `Prefer: wait`")

    @field_validator("requests")
    @classmethod
    def _check_requests(cls, requests: str) -> str:
        if not _RATE.fullmatch(requests):
            raise ValueError("must be a rate such as 6000/minute, per second, minute or hour")
        return requests


class JobsSettings(BaseModel):
    """How jobs are leased, retried and picked up again."""

    lease_s: float = Field(
        15, gt=0, description="How long a claim lasts without renewal; it is renewed every third of it"
    )
    max_tries: int = Field(3, ge=1, description="How often one stage is tried before the job fails")
    retry_delay_s: float = Field(2, ge=0, description="Pause before the second try; it doubles with each further one")
    retry_delay_max_s: float = Field(60, ge=0, description="Longest pause between tries")
    sweep_s: float = Field(5, gt=0, description="How often lost leases and lost hints are looked for")
    hint_stale_s: float = Field(15, gt=0, description="How long a queued job waits before its hint may be sent again")
    max_lost_workers: int = Field(3, ge=1, description="How many workers a job may lose before it is taken for poison")
    expire_s: float = Field(86_400, gt=0, description="How long a job may wait for a worker before it fails")
    keep_days: float = Field(30, gt=0, description="How long a finished job, its recording and its results are kept")
    orphan_s: float = Field(
        3600,
        gt=0,
        description="Age at which a recording or a speech that no row speaks of is removed, and how often these are "
        "looked for; longer than an upload and its commit can take",
    )


class WebhooksSettings(BaseModel):
    """Deliveries to webhook endpoints."""

    schedule: Numbers = Field(
        (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
        min_length=1,
        description="Seconds before each attempt; after the last one the delivery has failed",
    )
    timeout_s: float = Field(15, gt=0, description="Longest that one attempt may take, all in all")
    parallel: int = Field(256, ge=1, description="Attempts under way in one courier")
    parallel_per_host: int = Field(4, ge=1, description="Of these, those to one host")
    disable_after_s: float = Field(
        432_000, gt=0, description="An endpoint that has failed for so long, and nothing but failed, is disabled"
    )
    rotation_s: float = Field(86_400, ge=0, description="How long the old secret signs beside a new one")
    allow_networks: Names = Field(
        (), description="Private networks that may be called, such as `10.1.0.0/16`; none unless named"
    )
    allow_http: bool = Field(False, description="Whether addresses may begin with `http://`")
    ports: Annotated[tuple[int, ...], NoDecode, BeforeValidator(split)] = Field(
        (443, 80, 8443, 8080), min_length=1, description="Ports that may be called"
    )


class WorkerSettings(BaseModel):
    """The worker process."""

    heartbeat_s: float = Field(1, gt=0, description="How often a worker reports what it has warm")
    heartbeat_ttl_s: float = Field(5, gt=0, description="A report older than this no longer counts")
    grace_s: float = Field(10, ge=0, description="How long a model call may go on after SIGTERM")
    load_s: float = Field(
        1_800,
        gt=0,
        description="How long loading an engine may go on without a sign of progress, such as a part of a download; a "
        "worker that hangs there ends, to be started anew",
    )
    prove_s: float = Field(
        60,
        ge=0,
        description="An engine that was idle for so long shows by a tiny request that it still works; 0: never",
    )


class MetricsSettings(BaseModel):
    """Metrics for Prometheus, beside the API's own `/metrics`, which asks for a key where keys are required."""

    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which a process of any kind answers `/metrics` without a key; none unless set",
    )
    host: str = Field("127.0.0.1", description="Address of that port; other than loopback only in a network of yours")


def _quorums(text: str) -> dict[Stage, int]:
    if text.strip().isdecimal() and int(text) > 0:
        return dict.fromkeys(Stage, int(text))
    quorums = dict.fromkeys(Stage, 1)
    for part in text.split(","):
        stage, _, number = (word.strip() for word in part.partition("="))
        if stage not in quorums or not number.isdecimal():
            raise ValueError(f"{part.strip()!r} says for no stage how many workers it needs; write stt=2,llm=1,tts=1")
        quorums[Stage(stage)] = int(number)
    return quorums


class ReadySettings(BaseModel):
    """What the readiness endpoint asks of the fleet."""

    critical: Names = Field(
        ("stt", "llm", "tts"),
        description="Stages without which the fleet is not ready; without one of the others it is degraded",
    )
    quorum: Annotated[str, BeforeValidator(str)] = Field(
        "1",
        description="Warm workers that a stage needs: one number, or `stt=2,llm=1,tts=1`, where a stage that is left "
        "out needs 1; with 0 nobody expects the stage",
    )

    @field_validator("critical")
    @classmethod
    def _check_critical(cls, critical: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(critical) - set(Stage):
            raise ValueError(f"knows no stage {', '.join(sorted(unknown))}; the stages are {', '.join(Stage)}")
        return critical

    @field_validator("quorum")
    @classmethod
    def _check_quorum(cls, quorum: str) -> str:
        _quorums(quorum)
        return quorum

    @property
    def quorums(self) -> dict[Stage, int]:
        """How many warm workers each stage needs."""
        return _quorums(self.quorum)

    @property
    def critical_stages(self) -> tuple[Stage, ...]:
        return tuple(Stage(name) for name in self.critical)


class FlowerSettings(BaseModel):
    """Flower, as `voxqueue flower` runs it."""

    basic_auth: SecretStr | None = Field(
        None, description="`user:password`, several with commas between; without it Flower listens on loopback only"
    )
    url_prefix: str = Field("", description="The path under which a proxy shows it, such as `flower`")
    url: str | None = Field(
        None,
        pattern="^(https?://|$)",
        description="Where operators' browsers find Flower; the page links to it. `voxqueue up` knows its own",
    )
