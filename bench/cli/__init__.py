"""The command line: one short module per verb. Nothing heavy is imported before a verb needs it."""
