"""Conditional GAN: the label goes into both players (Mirza & Osindero 2014)."""

import ml_collections

from experiments import gan


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = gan.get_config(dataset)
  config.objective.name = 'cgan'
  return config
