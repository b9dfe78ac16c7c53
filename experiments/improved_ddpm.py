"""DDPM with a learned variance and the cosine schedule (Nichol & Dhariwal 2021, with T = 4000)."""

import ml_collections

from experiments import ddpm


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = ddpm.get_config(dataset)
  config.objective.schedule = 'cosine'
  config.objective.variance = 'learned'  # trained by 0.001 L_vlb beside L_simple
  return config
