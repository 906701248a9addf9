"""What goes over the wire, for the documentation. A test holds them against the schemas."""

from typing import Any

TEXT: dict[str, Any] = {
    "text": "When do you open on Saturdays?",
    "kind": "chat",
    "language": "en",
    "instructions": "You answer for a small bakery. One sentence.",
    "metadata": {"chat": "4711"},
}

ENDPOINT: dict[str, Any] = {
    "url": "https://bakery.example/voxqueue",
    "events": ["job.succeeded", "job.failed", "webhook_endpoint.disabled"],
    "description": "The chat app",
}

VOICE_NOTE: dict[str, Any] = {
    "file": "(the bytes of note.ogg)",
    "kind": "voice_note",
    "language": "en",
    "prompt": "Brioche, focaccia, Zwieback",
    "instructions": "You answer for a small bakery. One sentence.",
    "metadata": '{"chat": "4711"}',
}

_PATH = "/v1/jobs/01a1fbc7-1769-7397-bca1-f96c9a1a3dff"

JOB: dict[str, Any] = {
    "id": "01a1fbc7-1769-7397-bca1-f96c9a1a3dff",
    "kind": "voice_note",
    "state": "running",
    "stage": "llm",
    "progress": 33,
    "created_at": "2026-11-21T09:30:00.120000Z",
    "started_at": "2026-11-21T09:30:00.131000Z",
    "finished_at": None,
    "language": "en",
    "instructions": "You answer for a small bakery. One sentence.",
    "voice": None,
    "audio_format": "ogg",
    "priority": "normal",
    "options": {"prompt": "Brioche, focaccia, Zwieback"},
    "metadata": {"chat": "4711"},
    "webhook_url": "https://bakery.example/voxqueue",
    "webhook_events": ["job.succeeded", "job.failed", "job.canceled"],
    "note": {"file_name": "note.ogg", "seconds": 2.4, "size": 11873, "media_type": "audio/ogg"},
    "text": None,
    "stages": [
        {
            "stage": "stt",
            "state": "succeeded",
            "reason": None,
            "engine": "faster_whisper",
            "model": "large-v3-turbo",
            "started_at": "2026-11-21T09:30:00.138000Z",
            "finished_at": "2026-11-21T09:30:00.415000Z",
            "wait_ms": 18.0,
            "run_ms": 271.5,
            "batch_size": 6,
            "failures": 0,
            "progress": 100,
            "degradations": ["faster_whisper ran out of memory in a batch of 12 and took a smaller one"],
        },
        {
            "stage": "llm",
            "state": "running",
            "reason": None,
            "engine": "ollama",
            "model": "llama3.2:3b",
            "started_at": "2026-11-21T09:30:00.415000Z",
            "finished_at": None,
            "wait_ms": 0.0,
            "run_ms": None,
            "batch_size": None,
            "failures": 0,
            "progress": 0,
            "degradations": [],
        },
        {
            "stage": "tts",
            "state": "pending",
            "reason": None,
            "engine": None,
            "model": None,
            "started_at": None,
            "finished_at": None,
            "wait_ms": None,
            "run_ms": None,
            "batch_size": None,
            "failures": 0,
            "progress": 0,
            "degradations": [],
        },
    ],
    "degradations": ["stt: faster_whisper ran out of memory in a batch of 12 and took a smaller one"],
    "transcript": {
        "text": "When do you open on Saturdays?",
        "language": "en",
        "audio_seconds": 2.4,
        "segments": [
            {
                "start": 0.2,
                "end": 2.2,
                "text": "When do you open on Saturdays?",
                "average_log_probability": -0.12,
                "words": [],
            }
        ],
        "language_probability": None,
        "speech_seconds": 2.0,
        "average_log_probability": -0.12,
    },
    "reply": None,
    "audio": None,
    "error": None,
    "links": {
        "self": _PATH,
        "events": f"{_PATH}/events",
        "cancel": f"{_PATH}/cancel",
        "transcript": f"{_PATH}/transcript",
    },
}
