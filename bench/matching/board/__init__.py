"""The results table of the matching task."""
