"""Scores of images; a metric is one file."""
