"""From arrays to trained parameters: the step, its compiled program and the loop of chunks."""
