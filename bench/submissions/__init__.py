"""Predictions of other tools: what a submission says of itself, and its tables. What columns mean is each task's."""
