"""The classical detector."""
