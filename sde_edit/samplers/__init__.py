"""Samplers, which take noise to images and back; each is one file."""
