import os

from celery import Celery

from tether import current
from tether.ext.celery import ContextTask

REDIS = os.environ.get("REDIS")  # redis://...
app = Celery("shop", broker=REDIS, backend=REDIS, task_cls=ContextTask)


@app.task
def reindex(path: str) -> int:
    ctx = current()  # the time that the sender had left, its values, its trace
    ctx.sleep(0.01)  # whatever takes ctx ends with it
    return len(path)
