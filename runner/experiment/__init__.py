"""From a config to an experiment: every part built, fitted to the data and to each other."""
