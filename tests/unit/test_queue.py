"""Sending hints: what must hold before the first one is sent."""

import subprocess
import sys

_PROGRAM = """
import sys
import voxqueue.queue

class NothingMore:
    def find_spec(self, name, path=None, target=None):
        assert not name.startswith("celery.events"), f"{name} is imported only now"

sys.meta_path.insert(0, NothingMore())
from celery import Celery
app = Celery(broker="memory://")
print(app.events.Receiver.__name__, app.events.Dispatcher.__name__)
"""


def test_threads_that_send_first_import_nothing_that_they_could_wait_for_each_other_about() -> None:
    """A worker sends while Celery sets its consumer up; each imported one end of `celery.events` and neither ended."""
    ran = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, ["EventReceiver", "EventDispatcher"]), ran.stderr
