"""Times the engine against the bare network and against diffusers."""
