"""Recordings: what is in a file, its samples, and samples as a file. All of it bounded in size and time.

It speaks to FFmpeg through PyAV and must know nothing of jobs, HTTP or storage.
"""

from voxqueue.audio.decode import Decoding, decode
from voxqueue.audio.encode import encode
from voxqueue.audio.formats import AudioFormat
from voxqueue.audio.probe import Probe, probe

__all__ = ["AudioFormat", "Decoding", "Probe", "decode", "encode", "probe"]
