"""Not the Celery that is installed, though it is in the current folder."""
