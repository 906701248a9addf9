"""What is measured of engines: how full their model calls are, how long these take, and how long a start takes."""

from prometheus_client import Counter, Gauge, Histogram

from voxqueue.stages import Stage

_LABELS = ("stage", "engine")

_BATCH_SIZE = Histogram(
    "voxqueue_batch_size", "Pieces in one model call", _LABELS, buckets=(1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128)
)
_PADDING = Histogram(
    "voxqueue_batch_padding_ratio",
    "The share of one model call that is padding to its longest piece",
    _LABELS,
    buckets=(0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75),
)
_BATCH_RUN = Histogram(
    "voxqueue_batch_run_seconds",
    "One model call",
    _LABELS,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_COST = Counter(
    "voxqueue_batch_cost", "What went through the model: seconds of audio or characters, without padding", _LABELS
)
_LOAD = Gauge("voxqueue_engine_load_seconds", "How long it took to load the engine that is warm", _LABELS)
_WARMUP = Gauge("voxqueue_engine_warmup_seconds", "How long it took to warm the engine that is warm", _LABELS)
_TTS_LOAD = Gauge("tts_model_load_time_seconds", "How long it took to load the engine of text to speech", ("engine",))


def called(stage: Stage, engine: str, *, size: int, cost: float, padding: float, run_s: float) -> None:
    """One model call for jobs has ended. `padding` is a share of its padded cost, from 0 to 1."""
    _BATCH_SIZE.labels(stage.value, engine).observe(size)
    _PADDING.labels(stage.value, engine).observe(padding)
    _BATCH_RUN.labels(stage.value, engine).observe(run_s)
    _COST.labels(stage.value, engine).inc(cost)


def warmed(stage: Stage, engine: str, *, load_s: float, warmup_s: float) -> None:
    """An engine has become warm."""
    _LOAD.labels(stage.value, engine).set(load_s)
    _WARMUP.labels(stage.value, engine).set(warmup_s)
    if stage is Stage.TTS:
        _TTS_LOAD.labels(engine).set(load_s)
