"""Detectors of ultralytics."""
