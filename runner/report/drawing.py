"""The pictures of a run for TensorBoard, drawn in a thread while training goes on."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread

from runner.data.order import batch_indices
from runner.errors import reason
from runner.experiment.build import Experiment
from runner.experiment.timeline import ScheduleValues
from runner.records.class_tables import ClassTables
from runner.report.matrices import confusion_figure
from runner.report.pictures import examples_figure
from runner.report.plots import schedule_figure

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


def class_tables(experiment: Experiment) -> ClassTables | None:
    """How the metrics by class are logged; None without classes."""
    dataset = experiment.dataset
    if dataset.num_classes is None:
        return None
    labels = dataset.classes or tuple(map(str, range(dataset.num_classes)))
    return ClassTables(labels, lambda _, matrix: confusion_figure(matrix, labels))


def pictures_of(experiment: Experiment, values: ScheduleValues) -> dict[str, Callable[[], bytes]]:
    """What is drawn for TensorBoard, by tag: the schedule and, for images, the first batch."""
    config, dataset, steps = experiment.config, experiment.dataset, experiment.lengths.steps

    def schedule() -> bytes:
        ends = experiment.schedule.cycle_ends(steps)
        return schedule_figure(values, cycle_ends=ends, title=config.scheduler.option)

    def examples() -> bytes:
        size, n = experiment.lengths.examples_per_step, len(dataset.train)
        rows = batch_indices(seed=config.seed, first_step=0, count=1, batch_size=size, n=n)
        batch = dataset.train.take(rows[0])
        labels = batch.targets
        if dataset.classes is not None:
            labels = [dataset.classes[label] for label in batch.targets]
        return examples_figure(batch.inputs, [str(label) for label in labels])

    found = {"schedule": schedule}
    if len(dataset.train.shape) == 3 and dataset.train.shape[-1] in (1, 3):
        found["examples"] = examples
    return found
