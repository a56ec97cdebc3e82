VERSION = (5, 2, 7)
__version__ = "5.2.7"


class Celery:
    pass
