"""Class-conditional EDM with classifier-free guidance (Ho & Salimans 2022)."""

import ml_collections

from experiments import edm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = edm.get_config(dataset)
  config.objective.conditional = True
  config.objective.label_dropout = 0.1
  config.sampler.steps = 12  # of two network evaluations each
  config.sampler.guidance = 1.5  # towards the label; 1 for none
  config.sampler.guidance_min = 1.0  # between which MNIST's classes are decided
  config.sampler.guidance_max = 8.0
  return config
