"""Detectors of mmdet."""
