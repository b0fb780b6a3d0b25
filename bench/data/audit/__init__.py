"""Audits of a data set: what a test part has in common with what was trained on, found in the pixels themselves."""
