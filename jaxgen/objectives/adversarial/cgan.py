"""Conditional GAN: both players see the label (Mirza & Osindero 2014)."""

import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.adversarial.conditional import conditional_players
from jaxgen.objectives.adversarial.gan import gan
from jaxgen.objectives.base import Objective


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The conditional GAN that a config describes.

  Raises:
    ValueError: the data have no labels.
  """
  return gan(config, conditional_players('concatenation', config, facts))
