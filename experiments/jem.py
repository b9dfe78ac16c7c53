"""Joint energy model: a classifier whose logits are energies too (Grathwohl et al. 2020)."""

import ml_collections

from experiments import energy


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = energy.get_config(dataset)
  config.objective.name = 'jem'
  return config
