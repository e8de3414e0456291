"""The names of a run's metrics, which are also their TensorBoard tags."""

LOSS = "train/loss"
RATE = "schedule/lr"
CYCLE = "schedule/cycle"
MOMENTUM = "schedule/momentum"
THROUGHPUT = "throughput/steps_per_second"
EVAL_LOSS = "eval/loss"

# The tags of snapshots at cycle ends begin with one of these, see ``snapshot_tag``.
SNAPSHOT, ENSEMBLE, SWA = "snapshot", "ensemble", "swa"

# The first part of the tag of a metric, by the split that it was measured on.
PREFIXES = {"train": "train", "validation": "eval", "test": "test"}


def metric_tag(split: str, metric: str) -> str:
    """The tag of a metric of a split: ``eval/accuracy``, ``test/loss``."""
    return f"{PREFIXES[split]}/{metric}"


def snapshot_tag(kind: str, tag: str) -> str:
    """The tag of a metric of snapshots, such as ``ensemble/test/accuracy`` for ``test/accuracy``.

    ``kind``: ``snapshot``, ``ensemble`` or ``swa``.
    """
    return f"{kind}/{tag}"


def group_rate(group: str) -> str:
    """The tag of the rate of one parameter group, used if there are several."""
    return f"{RATE}/{group}"


def group_of(tag: str) -> str:
    """The parameter group of the tag of a rate."""
    return tag.removeprefix(group_rate(""))


def is_rate(tag: str) -> bool:
    """Whether ``tag`` is that of the rate, or of the rate of a group."""
    return tag == RATE or tag.startswith(group_rate(""))
