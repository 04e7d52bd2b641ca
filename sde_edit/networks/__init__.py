"""Loaded networks, and what is done through them: guidance, attention, LoRA, features."""
