"""Kinds of diffusion models; each is one file."""
