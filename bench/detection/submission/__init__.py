"""Boxes of other tools."""
