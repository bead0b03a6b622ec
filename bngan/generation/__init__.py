"""Images from trained generators: latents, samplers, bounded requests, weight differences."""
