"""Everything a run leaves behind: its folder, TensorBoard events, progress, plots, summary."""
