"""Predictions file, matching of boxes, AP."""
