"""The names of a run's metrics, which are their TensorBoard tags from the compiled step on."""

LOSS = "train/loss"
RATE = "schedule/lr"
CYCLE = "schedule/cycle"
MOMENTUM = "schedule/momentum"
THROUGHPUT = "throughput/steps_per_second"
EVAL_LOSS = "eval/loss"
EVAL_ACCURACY = "eval/accuracy"


def group_rate(group: str) -> str:
    """The rate of one group of parameters, where there are several."""
    return f"{RATE}/{group}"


def group_of(tag: str) -> str:
    """The group whose rate ``tag`` is."""
    return tag.removeprefix(group_rate(""))


def is_rate(tag: str) -> bool:
    """Whether ``tag`` is the rate, or that of a group."""
    return tag == RATE or tag.startswith(group_rate(""))
