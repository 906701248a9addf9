"""Uploads that nobody made in good faith, and honest ones that were damaged on their way: by family and name.

Made anew each time, with fixed seeds. Nothing of what is under test.
"""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from tests import recordings
from tests.recordings import CONTAINERS, opus_bomb, random_bytes, recording, tone

Corpus = dict[str, bytes]

_CUTS: tuple[float, ...] = (1, 3, 8, 11, 12, 27, 28, 36, 44, 60, 64, 100, 300, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, -1)
"""Bytes to keep, or the part to keep, or how many bytes to leave out at the end."""


def wav(data: bytes, *, channels: int = 1, rate: int = 16_000, bits: int = 16, code: int = 1, **lies: int) -> bytes:
    """A WAV file whose header says what it is told to; `align` and `length` are else what they should be."""
    align = lies.get("align", channels * bits // 8 & 0xFFFF)
    form = struct.pack("<HHIIHH", code, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    length = lies.get("length", len(data))
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def truncations() -> Corpus:
    """Every container, cut in its magic, in its header, in its sound, and just before its end."""
    corpus = {}
    for container in CONTAINERS:
        whole = recording(tone(2), 16_000, container)
        for cut in _CUTS:
            keep = int(cut * len(whole)) if 0 < cut < 1 else int(cut) % len(whole)
            corpus[f"{container} cut at {cut:g}"] = whole[:keep]
    return corpus


def flips() -> Corpus:
    """Every container with some bits turned over: a few in the header, many anywhere."""
    corpus = {}
    for seed, container in enumerate(CONTAINERS):
        whole = recording(tone(2), 16_000, container)
        for number, (bits, within) in enumerate([(1, 64), (4, 64), (16, 400), (8, 10**9), (400, 10**9)]):
            draw = np.random.default_rng([seed, number])
            data = bytearray(whole)
            for place in draw.integers(4, min(within, len(data)), bits):
                data[place] ^= 1 << int(draw.integers(8))
            corpus[f"{container} with {bits} of the first {within} bits turned"] = bytes(data)
    return corpus


def lying_headers() -> Corpus:
    """Headers that promise no channel or thousands, no rate or gigahertz, no time or years."""
    sound = (tone(1) * 32_767).astype("<i2").tobytes()
    corpus = {
        **{f"wav of {n} channels": wav(sound, channels=n) for n in (0, 8, 9, 40, 255, 65_535)},
        **{f"wav at {rate} Hz": wav(sound, rate=rate) for rate in (0, 1, 3_999, 384_001, 2**31 - 1, 2**32 - 1)},
        **{f"wav of {bits} bits": wav(sound, bits=bits) for bits in (0, 1, 7, 65_535)},
        **{f"wav of code {code}": wav(sound, code=code) for code in (0, 2, 17, 0x55, 0x161, 0xFFFE, 0xFFFF)},
        **{f"wav of {n} bytes": wav(sound, length=n) for n in (0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)},
        "wav of no alignment": wav(sound, align=0),
        "wav of wrong alignment": wav(sound, align=65_535),
        "wav of floats that are none": wav(random_bytes(64_000, 5), code=3, bits=32),
    }
    for atom, offset in ((b"mdhd", 16), (b"mdhd", 20), (b"mvhd", 16), (b"mvhd", 20), (b"stsz", 12), (b"stts", 8)):
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            data = bytearray(recording(tone(2), 16_000, "m4a"))
            struct.pack_into(">I", data, data.find(atom) + offset, value)
            corpus[f"m4a with {value} in {atom.decode()}+{offset}"] = bytes(data)
    flac = bytearray(recording(tone(2), 16_000, "flac"))
    flac[18:26] = b"\xff" * 8
    corpus["flac of all rates, channels and samples"] = bytes(flac)
    ogg = bytearray(recording(tone(2), 16_000, "ogg"))
    last = ogg.rfind(b"OggS")
    struct.pack_into("<q", ogg, last + 6, 2**62)
    corpus["ogg that ends in a billion years"] = bytes(ogg)
    return corpus


def other_files() -> Corpus:
    """What is no recording at all, by itself and behind the first bytes of one."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("note.ogg", recording(tone(1), 16_000, "ogg"))
    corpus = {
        "nothing": b"",
        "a zip": archive.getvalue(),
        "a gzipped note": gzip.compress(recording(tone(1), 16_000, "wav")),
        "a gzip bomb": gzip.compress(bytes(50_000_000)),
        "a page": b"<!doctype html><script>fetch('/v1/jobs')</script>" * 40,
        "a pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF\n" * 30,
        "a program": b"\x7fELF\x02\x01\x01" + random_bytes(9_000, 6),
        "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + random_bytes(9_000, 7),
        "a video without sound": recordings.video_without_sound(),
        "a playlist": recordings.hls_playlist(),
        "a playlist of files": recordings.hls_playlist("file:///etc/passwd"),
        "a list of files": recordings.ffconcat(),
        "a concatenation": b"concat:/etc/passwd|/etc/hosts",
        "an address": b"http://169.254.169.254/latest/meta-data/",
        "a session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        "subtitles": b"1\n00:00:00,000 --> 00:00:02,000\nhello\n" * 30,
        "zeros": bytes(200_000),
    }
    lures = {name: corpus[name] for name in ("a playlist", "a list of files", "a page", "a program")}
    for magic, kind in ((b"OggS", "ogg"), (b"fLaC", "flac"), (b"ID3\4\0\0\0\0\0\n", "mp3"), (b"#!AMR\n", "amr")):
        corpus |= {f"{name} that begins like {kind}": magic + data for name, data in lures.items()}
        corpus[f"noise that begins like {kind}"] = magic + random_bytes(100_000, 8)
    return corpus


def overgrown() -> Corpus:
    """Little sound in much file, much sound in little file, and structures that nest or repeat without end."""
    note = wav((tone(1) * 32_767).astype("<i2").tobytes())
    chunk = b"LIST" + struct.pack("<I", 1_500_000) + b"INFO" + b"INAM\xf0\xff\xff\x7f" + bytes(1_499_988)
    picture = b"APIC" + struct.pack(">I", 0x00505050) + b"\0\0\0image/png\0\3\0" + random_bytes(600_000, 9)
    tag = b"ID3\4\0\0" + bytes(
        n & 127 for n in (len(picture) >> 21, len(picture) >> 14, len(picture) >> 7, len(picture))
    )
    boxes = b"".join(struct.pack(">I4s", 8 * (20_000 - depth), b"moov") for depth in range(20_000))
    fields = b"".join(struct.pack("<I", 9) + b"TITLE=%03d" % (number % 1_000) for number in range(100_000))
    return {
        "a wav with a huge list": note[:12] + chunk + note[12:],
        "a wav with a huge list behind its sound": note + chunk,
        "a wav with 20,000 chunks": note[:12] + b"junk\0\0\0\0" * 20_000 + note[12:],
        "an mp3 with a huge picture": tag + picture + recording(tone(2), 16_000, "mp3"),
        "an mp3 of tags": (b"ID3\4\0\0\0\0\0\0") * 100_000,
        "boxes in boxes": struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0) + boxes,
        "elements in elements": b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\xae\x88" * 90_000,
        "pages of nothing": (b"OggS" + bytes(22) + b"\0") * 60_000,
        "pages that begin again": recording(tone(0.2), 16_000, "ogg")[:200] * 5_000,
        "flac blocks": b"fLaC" + (b"\4\0\0\4" + bytes(4)) * 150_000,
        "comments": b"fLaC" + b"\4" + len(fields).to_bytes(3, "big") + fields,
        "endless opus": opus_bomb(4),
        "more bytes than allowed": recording(tone(80), 16_000, "wav"),
        "one second of eight channels": recording_of_eight_channels(),
    }


def recording_of_eight_channels() -> bytes:
    wave = np.repeat((tone(1) * 32_767).astype("<i2"), 8).tobytes()
    return wav(wave, channels=8)


FAMILIES: dict[str, Callable[[], Corpus]] = {
    "truncations": truncations,
    "flips": flips,
    "lying headers": lying_headers,
    "other files": other_files,
    "overgrown": overgrown,
}


def all_of_them() -> Iterator[tuple[str, bytes]]:
    for make in FAMILIES.values():
        yield from make().items()
