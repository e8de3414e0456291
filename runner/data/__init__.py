"""Data: sources, the order of examples, the feed to the device."""
