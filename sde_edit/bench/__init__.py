"""`sde-edit bench`: times the engine against the bare network and against diffusers."""
