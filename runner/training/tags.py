"""The names of a run's metrics, which are also their TensorBoard tags."""

LOSS = "train/loss"
RATE = "schedule/lr"
CYCLE = "schedule/cycle"
MOMENTUM = "schedule/momentum"
THROUGHPUT = "throughput/steps_per_second"
EVAL_LOSS = "eval/loss"
EVAL_ACCURACY = "eval/accuracy"

# The metrics that can rank evaluations, and whether the highest value is the best.
HIGHEST_IS_BEST = {EVAL_ACCURACY: True, EVAL_LOSS: False}


def group_rate(group: str) -> str:
    """The tag of the rate of one parameter group, used if there are several."""
    return f"{RATE}/{group}"


def group_of(tag: str) -> str:
    """The parameter group of the tag of a rate."""
    return tag.removeprefix(group_rate(""))


def is_rate(tag: str) -> bool:
    """Whether ``tag`` is that of the rate, or of the rate of a group."""
    return tag == RATE or tag.startswith(group_rate(""))
