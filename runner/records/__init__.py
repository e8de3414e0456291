"""For machines: the folder of a run, its TensorBoard events, tables and summary."""
