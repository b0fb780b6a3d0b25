"""Drawn pairs, predictions file, metrics."""
