"""What the HTTP edge and the workers both know: jobs, notes, storage, the queue and the fleet."""

__version__ = "0.1.0"
