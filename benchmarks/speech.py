"""Text to speech: sentences of many jobs in one model call, against a plain loop over `generate`.

16 sentences of 3 to 10 words, a PocketTTS of real dimensions with random weights. All contenders take the same
sentences one after the other in each run; what counts is seconds of audio made in a second.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.models import make_pocket
from benchmarks.report import device_name, spread
from voxqueue.settings import PocketSettings, Settings, TtsSettings
from voxqueue.stages import TtsRequest
from workers.engines.tts.pocket_tts import PocketTtsEngine
from workers.serving import Served

RUNS, BATCHES = 5, (1, 4, 16)
_TEXT = "the train to the coast leaves at seven and nobody told us that lunch would be served on board today"
SENTENCES = tuple(" ".join(_TEXT.split()[:count]).capitalize() + "." for count in range(3, 11) for _ in range(2))


def measure() -> dict[str, Any]:
    with TemporaryDirectory(prefix="voxqueue-bench-") as folder:
        model, codec = make_pocket(Path(folder))
        engine = PocketTtsEngine(Settings(pocket=PocketSettings(model=str(model), codec=str(codec))))
        engine.load()
        contenders = {"plain_loop": _plain_loop(model, codec, engine)}
        contenders |= {f"batch_{size}": _ours(engine, size) for size in BATCHES}
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(RUNS):
            for name, speak in contenders.items():
                began = time.perf_counter()
                audio_s = speak()
                rates[name].append(audio_s / (time.perf_counter() - began))
        engine.close()
    ratios = {
        f"tts_batch{size}": spread([a / b for a, b in zip(rates[f"batch_{size}"], rates["plain_loop"], strict=True)], 2)
        for size in BATCHES
    }
    return {
        "what": f"{len(SENTENCES)} sentences, batches of at most 1, 4 and 16, against one `generate` for each",
        "aim": "faster than the plain loop",
        "device": device_name(),
        **ratios,
        "audio_s_per_s": {name: spread(values, 2) for name, values in rates.items()},
        "reached": ratios["tts_batch16"]["median"] > 1,
    }


def _ours(engine: PocketTtsEngine, largest: int) -> Callable[[], float]:
    served = Served(engine, TtsSettings(max_batch=largest))

    def speak() -> float:
        with ThreadPoolExecutor(2 * largest) as threads:
            answers = threads.map(served.ask, _requests())
            return sum(float(answered.result.seconds) for answered in answers)

    return speak


def _plain_loop(model: Path, codec: Path, engine: PocketTtsEngine) -> Callable[[], float]:
    """What the model's own documentation does with one text after another; as many frames as ours."""
    import torch
    from transformers import (
        AutoTokenizer,
        PocketTTSAudioTokenizerModel,
        PocketTTSFeatureExtractor,
        PocketTTSForConditionalGeneration,
        PocketTTSProcessor,
    )

    speaker: Any = PocketTTSForConditionalGeneration.from_pretrained(model)
    speaker.to(engine.device)
    codec_model: Any = PocketTTSAudioTokenizerModel.from_pretrained(codec)
    tokenizer = AutoTokenizer.from_pretrained(model)
    processor: Any = PocketTTSProcessor(
        PocketTTSFeatureExtractor.from_pretrained(model),
        tokenizer,
        audio_tokenizer=codec_model.to(engine.device),
        chat_template=tokenizer.chat_template,
    )
    frames_per_second = engine.sample_rate / processor.feature_extractor.frame_size
    lengths = [answered.result.seconds for answered in map(Served(engine, TtsSettings(max_batch=1)).ask, _requests())]

    def speak() -> float:
        seconds = 0.0
        for sentence, wanted in zip(SENTENCES, lengths, strict=True):
            conversation = [{"role": "user", "content": [{"type": "text", "text": sentence}]}]
            prompt = processor.apply_chat_template(conversation, tokenize=True, return_dict=True, return_tensors="pt")
            with torch.inference_mode():
                most = round(wanted * frames_per_second)
                made = speaker.generate(**prompt.to(engine.device), do_sample=False, max_new_tokens=most)
                [waveform] = processor.decode(made.audio_latents, made.audio_latents_mask)
            seconds += len(waveform) / engine.sample_rate
        return seconds

    return speak


def _requests() -> list[TtsRequest]:
    return [TtsRequest(text=sentence) for sentence in SENTENCES]
