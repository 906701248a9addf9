"""The note that the demo and the golden test send: a sentence, spoken by the fleet itself.

So one run proves both ways, text to speech and speech to text, without a recording at hand.
"""

from voxqueue.client import Client

SENTENCE = "Hello, please call me back when you have a moment this afternoon."
"""One that the smallest recogniser gets right from the plainest voice."""


def speak(client: Client, *, timeout: float, sentence: str = SENTENCE) -> bytes:
    """Have the sentence spoken by a job and return the recording; the job is removed.

    Raises:
        ClientError: The job was refused, failed, or was not finished in time.
    """
    job = client.wait(client.send_text(sentence, kind="speech"), timeout=timeout).raise_for_state()
    recording = client.audio(job.id)
    client.delete(job.id)
    return recording
