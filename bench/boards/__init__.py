"""From records to boards: entries, evidence, tables, rendering."""
