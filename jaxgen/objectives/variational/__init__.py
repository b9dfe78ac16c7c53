"""Models with latent variables, trained by bounds."""
