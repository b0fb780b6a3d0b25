"""What reads records and boards: lineage, comparison, merge, self-test, submissions."""
