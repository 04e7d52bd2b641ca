"""Loaded networks, and access to their insides: attention, LoRA, features."""
