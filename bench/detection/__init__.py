"""The detection task: where are the ships in a SAR scene? Importing this imports no torch."""
