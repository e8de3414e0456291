"""The names of a run's metrics, which are their TensorBoard tags from the compiled step on."""

LOSS = "train/loss"
RATE = "schedule/lr"
CYCLE = "schedule/cycle"
MOMENTUM = "schedule/momentum"
THROUGHPUT = "throughput/steps_per_second"
EVAL_LOSS = "eval/loss"
EVAL_ACCURACY = "eval/accuracy"
