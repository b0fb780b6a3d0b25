"""The detectors and their contract."""
