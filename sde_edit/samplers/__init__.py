"""Ways from noise to image and back; a sampler is one file."""
