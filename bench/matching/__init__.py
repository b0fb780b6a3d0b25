"""The matching task: do a SAR patch and an optical patch show the same place? Importing this imports no torch."""
