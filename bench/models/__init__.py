"""Backbones, weight files and the key maps between frameworks. Importing this imports no torch."""
