"""What a run can be asked to do: one recipe per file."""
