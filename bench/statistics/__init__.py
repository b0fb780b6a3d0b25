"""What may be concluded from per-sample scores. NumPy only."""
