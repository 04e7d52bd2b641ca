"""Sources of examples; a data set is one file."""
