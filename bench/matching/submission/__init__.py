"""Distances of other tools."""
