"""What knows no task and no data set: errors, files on disk, the registry, places, provenance, progress."""
