"""Data sets, which provide examples; each is one file."""
