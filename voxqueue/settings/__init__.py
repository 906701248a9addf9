"""Every setting, one class per group. ``VOXQUEUE_<GROUP>_<FIELD>`` in the environment sets a field.

``docs/settings.md`` is written from here by ``voxqueue settings --markdown``; a test holds the two together.
"""

from functools import cache
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from voxqueue.errors import MisconfiguredError
from voxqueue.plain_words import what_is_expected
from voxqueue.settings.engines import (
    ENGINES,
    FakeSettings,
    LlmSettings,
    ModelsSettings,
    OllamaSettings,
    OpenaiSettings,
    ParakeetSettings,
    PocketSettings,
    StageSettings,
    SttSettings,
    TransformersSettings,
    TtsSettings,
    VibevoiceSettings,
    VitsSettings,
    WhisperSettings,
    unknown_engine,
)
from voxqueue.settings.service import (
    ApiSettings,
    DatabaseSettings,
    FlowerSettings,
    JobsSettings,
    LimitsSettings,
    MetricsSettings,
    ReadySettings,
    RedisSettings,
    S3Settings,
    StorageSettings,
    WebhooksSettings,
    WorkerSettings,
)
from voxqueue.stages import Stage

__all__ = [
    "ENGINES",
    "ApiSettings",
    "DatabaseSettings",
    "FakeSettings",
    "FlowerSettings",
    "JobsSettings",
    "LimitsSettings",
    "LlmSettings",
    "MetricsSettings",
    "ModelsSettings",
    "OllamaSettings",
    "OpenaiSettings",
    "ParakeetSettings",
    "PocketSettings",
    "ReadySettings",
    "RedisSettings",
    "S3Settings",
    "Settings",
    "StageSettings",
    "StorageSettings",
    "SttSettings",
    "TransformersSettings",
    "TtsSettings",
    "VibevoiceSettings",
    "VitsSettings",
    "WebhooksSettings",
    "WhisperSettings",
    "WorkerSettings",
    "settings",
    "unknown_engine",
]


class Settings(BaseSettings):
    """All of it. Read once per process by `settings()`."""

    model_config = SettingsConfigDict(
        env_prefix="VOXQUEUE_", env_nested_delimiter="_", env_nested_max_split=1, extra="ignore", frozen=True
    )

    engines: Literal["fake"] | None = Field(None, description="`fake` puts the fake engine on every stage")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged"
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="`auto`: readable on a terminal, else a JSON object a line"
    )
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    storage: StorageSettings = StorageSettings()
    s3: S3Settings = S3Settings()
    api: ApiSettings = ApiSettings()
    limits: LimitsSettings = LimitsSettings()
    jobs: JobsSettings = JobsSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    worker: WorkerSettings = WorkerSettings()
    metrics: MetricsSettings = MetricsSettings()
    ready: ReadySettings = ReadySettings()
    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    tts: TtsSettings = TtsSettings()
    models: ModelsSettings = ModelsSettings()
    whisper: WhisperSettings = WhisperSettings()
    parakeet: ParakeetSettings = ParakeetSettings()
    ollama: OllamaSettings = OllamaSettings()
    openai: OpenaiSettings = OpenaiSettings()
    transformers: TransformersSettings = TransformersSettings()
    pocket: PocketSettings = PocketSettings()
    vibevoice: VibevoiceSettings = VibevoiceSettings()
    vits: VitsSettings = VitsSettings()
    flower: FlowerSettings = FlowerSettings()
    fake: FakeSettings = FakeSettings()

    def stage(self, stage: Stage) -> StageSettings:
        group: StageSettings = getattr(self, stage.value)
        return group

    def engine_names(self, stage: Stage) -> tuple[str, ...]:
        """The engines to try for a stage, best first."""
        return ("fake",) if self.engines == "fake" else self.stage(stage).engines


@cache
def settings() -> Settings:
    """This process's settings, from its environment; `MisconfiguredError` that names the variables which are wrong."""
    try:
        found = Settings()
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for it in error.errors():
            # Behind group and field stands a place within a list, which is no part of a variable's name.
            wrong.setdefault("_".join(map(str, it["loc"][:2])).upper(), what_is_expected(it))
        words = "; ".join(f"VOXQUEUE_{name}: {expected}" for name, expected in wrong.items())
        raise MisconfiguredError(f"{words}. See `voxqueue settings --markdown`.") from error
    except SettingsError as error:  # it names a field of ours, and not the variable
        field = str(error).partition('"')[2].partition('"')[0]
        raise MisconfiguredError(f"VOXQUEUE_{field.upper()}, or one that begins so, must be a JSON object.") from error
    _check_engines(found)
    return found


def _check_engines(found: Settings) -> None:
    """A worker would try again for ever to warm an engine that does not exist, or none at all."""
    for stage in Stage:
        names = found.engine_names(stage)
        if not names:
            known = ", ".join(sorted(ENGINES[stage]))
            raise MisconfiguredError(f"VOXQUEUE_{stage.upper()}_ENGINES names no engine; it knows: {known}.")
        for name in names:
            if name not in ENGINES[stage]:
                raise unknown_engine(stage, name)
