"""Recordings: what is in a file, its samples, and samples as a file. All of it bounded in size and time.

Synthetic speech is made ready to be heard here, before it becomes a file.

It speaks to FFmpeg through PyAV and must know nothing of jobs, HTTP or storage.
"""

from voxqueue.audio.decode import Decoding, decode
from voxqueue.audio.encode import encode
from voxqueue.audio.finish import finish
from voxqueue.audio.formats import AudioFormat
from voxqueue.audio.probe import Probe, probe

__all__ = ["AudioFormat", "Decoding", "Probe", "decode", "encode", "finish", "probe"]
