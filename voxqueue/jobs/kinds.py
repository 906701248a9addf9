"""The kinds of job, each a name for a tuple of stages, and how urgent a job can be. A new kind is one row here."""

from enum import StrEnum

from voxqueue.stages import Stage


class Kind(StrEnum):
    """What a caller may ask for."""

    VOICE_NOTE = "voice_note"
    TRANSCRIPTION = "transcription"
    CHAT = "chat"
    REPLY = "reply"
    SPEECH = "speech"

    @property
    def stages(self) -> tuple[Stage, ...]:
        return STAGES[self]

    @property
    def takes_note(self) -> bool:
        """Whether the job starts from a note; the others start from a text."""
        return self.stages[0] is Stage.STT


STAGES: dict[Kind, tuple[Stage, ...]] = {
    Kind.VOICE_NOTE: (Stage.STT, Stage.LLM, Stage.TTS),
    Kind.TRANSCRIPTION: (Stage.STT,),
    Kind.CHAT: (Stage.LLM, Stage.TTS),
    Kind.REPLY: (Stage.LLM,),
    Kind.SPEECH: (Stage.TTS,),
}

NOTE_KINDS = tuple(kind for kind in Kind if kind.takes_note)
TEXT_KINDS = tuple(kind for kind in Kind if not kind.takes_note)


class Priority(StrEnum):
    """Which of the waiting jobs goes first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
