"""Content-addressed storage on disk: runs, digests, features."""
