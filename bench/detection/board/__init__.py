"""The results table of the detection task."""
