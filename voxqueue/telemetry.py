"""How this process logs. Never audio, never what people said or wrote."""

import logging
import sys

from voxqueue.settings import Settings


def set_up_logging(settings: Settings) -> None:
    """Log to standard error, one line per event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for chatty in ("celery.worker.strategy", "celery.app.trace", "httpx", "httpx2", "alembic.runtime.migration"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
