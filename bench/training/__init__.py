"""One training: specification, engine, data loading, checkpoints, data-parallel ranks."""
