"""What a model's latents are good for, written once over `encode` and `decode`."""
