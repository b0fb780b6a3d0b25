"""Predictions of other tools: what a submission says of itself, and the tables it comes in. What columns mean is each task's."""
