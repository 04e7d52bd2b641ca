"""Makes the images that runs lack."""
