"""Does randomness help in diffusion-based image editing, and by how much?"""
