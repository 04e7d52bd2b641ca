"""What a run is made of, and the interfaces that plug-ins implement.

Letters in tensor names: B batch, C channels, H height, W width, T train times, N examples.
Conventions: images are uint8 RGB; masks are float32 in [0, 1] with 1 = hidden (to be generated);
the sampler's state is float32 or float64; alpha is the paper's alpha_t, that is alpha_bar.
"""
