"""Sampled pairs, predictions file, metrics."""
