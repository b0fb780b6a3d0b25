"""The matchers, one file each, and what they share."""
