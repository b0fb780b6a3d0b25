"""Scenes to tiles and back."""
