"""Draws pictures for TensorBoard in a thread, while training goes on."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread

from runner.errors import reason

AFTER_SECONDS = 2.0

_log = logging.getLogger("runner")


@contextmanager
def drawn(
    pictures: Mapping[str, Callable[[], bytes]],
    show: Callable[[str, bytes], None],
    *,
    is_stopped: Callable[[], bool],
) -> Iterator[None]:
    """Draws ``pictures``, functions that return a PNG by tag, and gives each to ``show``.

    After a short run they are drawn at the end: importing the plotting library would delay the
    first chunks by more than such a run takes. A run that is stopped ends without them.
    """
    over = Event()

    def draw() -> None:
        over.wait(timeout=AFTER_SECONDS)
        for tag, picture in pictures.items():
            if is_stopped():
                return
            try:
                png = picture()
            except Exception as error:  # a broken plotting library does not end the run
                _log.warning("the picture %r was not drawn: %s", tag, reason(error))
            else:
                show(tag, png)

    thread = Thread(target=draw, name="pictures", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
