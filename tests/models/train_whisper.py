"""Trains the tiny Whisper of the tests and writes it beside this file: `python -m tests.models.train_whisper`.

It takes about an hour on one core of a busy machine, without a network: espeak-ng makes all that it learns from. The
weights there came from these lessons in pieces, while the loss was still being worked on: a new run gives others.
"""

import json
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from ctranslate2.converters import TransformersConverter
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor, nn
from torch.nn.functional import gelu, log_softmax
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from tests.models.examples import Random, Rendering, Row, Window, make_row, make_silence, make_window, render
from tests.models.sentences import WHISPER
from tests.models.vocabulary import LANGUAGES, TIMESTAMPS, Vocabulary
from voxqueue.stages import SAMPLE_RATE, Samples

SEED = 20261121
WIDTH = 64
POSITIONS = 1500  # of the encoder, 20 ms each
ALIGNED = (1, 0)  # the decoder layer and head that learn where a word is heard: word timestamps come from them


@dataclass(frozen=True)
class Lesson:
    """A part of the training: so many steps on batches of so many windows of one to ``sentences`` sentences."""

    name: str
    steps: int
    windows: int
    sentences: int
    padded: bool  # to 30 s; else as long as the longest, lying anywhere in the 30 s
    rate: float


# Attention over 3,000 frames costs some eight times as much as over five seconds: speech is learnt in short windows
# that lie anywhere in the 30 s, and what then remains to be learnt is to overlook the padding.
LESSONS = (
    Lesson("one sentence", steps=1800, windows=24, sentences=1, padded=False, rate=2e-3),
    Lesson("some sentences", steps=1500, windows=16, sentences=4, padded=False, rate=1.5e-3),
    Lesson("whole windows", steps=600, windows=8, sentences=4, padded=True, rate=1e-3),
    Lesson("filled windows", steps=600, windows=8, sentences=16, padded=True, rate=1e-3),
    Lesson("whole windows again", steps=400, windows=8, sentences=4, padded=True, rate=6e-4),
)


class TinyWhisper(nn.Module):
    """Whisper with two small layers on either side. The tokens of times are one linear map of the encoder's own
    positions: a model that saw few of the 1,501 can say them all."""

    times: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.whisper = WhisperForConditionalGeneration(_config(vocabulary))
        encoder, decoder = self.whisper.model.encoder, self.whisper.model.decoder
        for layer in encoder.layers:  # the quick attention; the decoder's must say what it attends to
            layer.self_attn.config = _config(vocabulary, attention="sdpa")
        positions = encoder.embed_positions.weight.data
        decoder.embed_positions.weight.data.copy_(positions[: len(decoder.embed_positions.weight)] * 0.1)
        self.register_buffer("times", torch.cat([positions, positions[-1:]])[:TIMESTAMPS])
        self.words = nn.Parameter(torch.randn(vocabulary.first_timestamp, WIDTH) * 0.05)
        self.map = nn.Parameter(torch.eye(WIDTH) * 0.2)

    @property
    def tokens(self) -> Tensor:
        return torch.cat([self.words, self.times @ self.map])

    def encode(self, features: Tensor, first: int) -> Tensor:
        """Of features [batch, 80, frames], as if they began at the encoder's position ``first``."""
        encoder = self.whisper.model.encoder
        hidden = gelu(encoder.conv2(gelu(encoder.conv1(features)))).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[first : first + hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        normal: Tensor = encoder.layer_norm(hidden)
        return normal

    def decode(self, read: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [rows, places, tokens], and how much each place attends to each position [rows, places, positions]."""
        tokens = self.tokens
        said = self.whisper.model.decoder(
            inputs_embeds=tokens[read], encoder_hidden_states=heard, output_attentions=True, use_cache=False
        )
        layer, head = ALIGNED
        return said.last_hidden_state @ tokens.T, said.cross_attentions[layer][:, head]


def _config(vocabulary: Vocabulary, attention: str = "eager") -> WhisperConfig:
    end = vocabulary.id("<|endoftext|>")
    return WhisperConfig(
        vocab_size=vocabulary.size,
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        max_source_positions=POSITIONS,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=vocabulary.id("<|startoftranscript|>"),
        suppress_tokens=None,
        begin_suppress_tokens=None,
        attn_implementation=attention,  # type: ignore[call-arg]
    )


@dataclass(frozen=True)
class Batch:
    """Windows, and two rows for each of them. ``heard`` [rows, places, positions] is true where a token is heard."""

    features: Tensor
    first: int
    read: Tensor
    say: Tensor
    heard: Tensor


def make_batch(
    random: Random, vocabulary: Vocabulary, extractor: FeatureExtractor, renderings: list[Rendering], lesson: Lesson
) -> Batch:
    """Draw windows, one in twelve without speech, and what is right for them."""
    windows = [
        make_silence(random) if random.random() < 1 / 12 else make_window(random, renderings, lesson.sentences)
        for _ in range(lesson.windows)
    ]
    spectra = [_spectrum(random, extractor, window, lesson.padded) for window in windows]
    frames, first = 3000, 0
    if not lesson.padded:
        longest = max(spectrum.shape[1] for spectrum in spectra)
        frames = min(2 * (longest // 2 + int(random.integers(1, 50))), 3000)
        first = int(random.choice([0, 1]) * random.integers(0, POSITIONS - frames // 2 + 1))
    features = np.stack([_fit(spectrum, frames) for spectrum in spectra])
    rows = [
        make_row(random, vocabulary, _shift(window, first), 224 if lesson.padded else 20)
        for window in windows
        for _ in range(2)
    ]
    places = max(len(row.read) for row in rows)
    read = torch.tensor([row.read + [0] * (places - len(row.read)) for row in rows])
    say = torch.tensor([row.say + [-1] * (places - len(row.say)) for row in rows])
    heard = torch.from_numpy(np.stack([_heard(row, places, first, frames // 2) for row in rows]))
    return Batch(torch.from_numpy(features), first, read, say, heard)


def _spectrum(random: Random, extractor: FeatureExtractor, window: Window, padded: bool) -> Samples:
    """As faster-whisper makes it; now and then of a window that was filled up with digital silence before."""
    samples = window.samples
    if random.random() < 0.2:
        room = 30 * SAMPLE_RATE - len(samples)
        samples = np.pad(samples, (0, room if padded else min(room, SAMPLE_RATE)))
    return np.asarray(extractor(samples)[:, :-1], np.float32)


def _fit(spectrum: Samples, frames: int) -> Samples:
    return np.pad(spectrum[:, :frames], ((0, 0), (0, max(0, frames - spectrum.shape[1]))))


def _shift(window: Window, first: int) -> Window:
    by = first * 0.02
    moved = tuple(replace(placed, start=placed.start + by, end=placed.end + by) for placed in window.placed)
    return replace(window, placed=moved)


def _heard(row: Row, places: int, first: int, positions: int) -> npt.NDArray[np.bool_]:
    """Where each place's token is heard, give or take two positions. Nothing where that is not known."""
    at = (first + np.arange(positions)) * 0.02
    bands = np.array(
        [band or (np.inf, -np.inf) for band in row.bands] + [(np.inf, -np.inf)] * (places - len(row.bands))
    )
    return (at >= bands[:, :1] - 0.04) & (at <= bands[:, 1:] + 0.04)


def find_loss(model: TinyWhisper, vocabulary: Vocabulary, batch: Batch) -> Tensor:
    """Cross entropy, where a time may be missed by some steps, and how far attention is from resting on all of a word.

    Were it to rest on one spot of the word, the search for the words' times would see noise elsewhere.
    """
    heard = model.encode(batch.features, batch.first).repeat_interleave(2, dim=0)
    logits, attention = model.decode(batch.read, heard)
    taught = batch.say >= 0
    chances, say = log_softmax(logits[taught], dim=-1), batch.say[taught]
    surprise = -chances.gather(1, say[:, None])[:, 0]
    timed = say >= vocabulary.first_timestamp
    steps = torch.arange(-4, 5)
    weights = torch.softmax(-(steps**2) / (2 * 1.5**2), dim=0)
    near = (say[timed][:, None] + steps).clamp(vocabulary.first_timestamp, vocabulary.size - 1)
    surprise = torch.cat([surprise[~timed], -(chances[timed].gather(1, near) * weights).sum(dim=1)])
    known = batch.heard.any(dim=-1)
    share = batch.heard[known] / batch.heard[known].sum(dim=-1, keepdim=True)
    beside = (share * (torch.log(share + 1e-6) - torch.log(attention[known] + 1e-6))).sum(dim=-1)
    return surprise.mean() + 0.1 * beside.mean()


def count_right(model: TinyWhisper, vocabulary: Vocabulary, batch: Batch) -> tuple[int, int]:
    """Of the rows of speech: how many a greedy search finds with all words right, and how many there are."""
    with torch.no_grad():
        logits, _ = model.decode(batch.read, model.encode(batch.features, batch.first).repeat_interleave(2, dim=0))
    word = (batch.say >= 0) & (batch.say < vocabulary.first_timestamp)
    right = ((logits.argmax(dim=-1) == batch.say) | ~word).all(dim=1)
    speech = batch.heard.any(dim=(1, 2))
    return int((right & speech).sum()), int(speech.sum())


class School:
    """What all lessons share: the speech to learn from, and speech at other speeds to be examined on."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary, self.extractor, self.random = vocabulary, FeatureExtractor(), np.random.default_rng(SEED)
        self.known, self.unseen = render(range(130, 195, 8)), render(range(135, 190, 20))

    def draw(self, renderings: list[Rendering], lesson: Lesson) -> Batch:
        return make_batch(self.random, self.vocabulary, self.extractor, renderings, lesson)

    def teach(self, model: TinyWhisper, lesson: Lesson) -> None:
        """A lesson ends early when all of its exam is right twice in a row."""
        exam = [self.draw(self.unseen, lesson) for _ in range(max(2, 56 // lesson.windows))]
        optimizer = torch.optim.AdamW(model.parameters(), lr=lesson.rate, betas=(0.9, 0.98), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lesson.rate, lesson.steps, pct_start=0.1)
        began, perfect = time.monotonic(), 0
        for step in range(1, lesson.steps + 1):
            loss = find_loss(model, self.vocabulary, self.draw(self.known, lesson))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                right, asked = np.sum([count_right(model, self.vocabulary, batch) for batch in exam], axis=0)
                spent = time.monotonic() - began
                print(
                    f"{lesson.name}, {step} steps, {spent:.0f} s: loss {loss.item():.2f}, {right}/{asked} right",
                    flush=True,
                )
                perfect = perfect + 1 if right == asked else 0
                if perfect == 2:
                    return


def train(vocabulary: Vocabulary) -> TinyWhisper:
    """Go through the lessons, the same way each time but for what espeak-ng and the machine's arithmetic vary."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model, school = TinyWhisper(vocabulary), School(vocabulary)
    for lesson in LESSONS:
        school.teach(model, lesson)
    return model


def export(model: TinyWhisper, vocabulary: Vocabulary, folder: Path) -> None:
    """Write the model as a CTranslate2 folder that faster-whisper loads without a network."""
    whisper = model.whisper
    with torch.no_grad():
        whisper.model.decoder.embed_tokens.weight.copy_(model.tokens)
    whisper.tie_weights()
    whisper.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        suppress_tokens=[],
        begin_suppress_tokens=[vocabulary.id("<|endoftext|>")],
        alignment_heads=[list(ALIGNED)],
        lang_to_id={f"<|{language}|>": vocabulary.id(f"<|{language}|>") for language in LANGUAGES},
        is_multilingual=True,
        pad_token_id=vocabulary.id("<|endoftext|>"),
    )
    features = {"feature_size": 80, "sampling_rate": SAMPLE_RATE, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    with tempfile.TemporaryDirectory() as temporary:
        whisper.save_pretrained(temporary)
        vocabulary.tokenizer.save(f"{temporary}/tokenizer.json")
        tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
        Path(temporary, "tokenizer_config.json").write_text(json.dumps(tokenizer), "utf-8")
        Path(temporary, "preprocessor_config.json").write_text(json.dumps(features), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        converter = TransformersConverter(temporary, copy_files=["tokenizer.json", "preprocessor_config.json"])
        converter.convert(str(folder), quantization="float16")


if __name__ == "__main__":
    words = Vocabulary()
    export(train(words), words, WHISPER)
