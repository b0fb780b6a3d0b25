"""One short file of declared facts per data set."""
