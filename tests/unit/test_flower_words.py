"""What Flower says in its log of workers that do not answer, as they all do not while they warm up."""

import logging

import pytest

from workers.flower_app import _NobodyAnswers

pytestmark = pytest.mark.unit


def test_one_line_stands_for_all_questions_that_nobody_answers() -> None:
    """Flower would warn of each by its name, at every start, and so of nothing that is wrong."""
    heard = _NobodyAnswers()
    records = [
        logging.LogRecord("flower.inspector", logging.WARNING, "", 0, message, words, None)
        for message, words in (
            ("Inspect method %s failed", ("stats",)),
            ("Inspect method %s failed", ("active_queues",)),
            ("Inspect method %s failed: %s", ("conf", "Connection refused")),
            ("Inspect method %s failed", ("registered",)),
        )
    ]
    said = [record.getMessage() for record in records if heard.filter(record)]
    assert said == [
        "No worker answers yet: one that warms up is shown once it takes jobs",
        "Inspect method conf failed: Connection refused",
    ]
