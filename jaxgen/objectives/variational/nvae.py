"""NVAE: a hierarchical VAE of images of latents, at several scales (Vahdat & Kautz 2020).

The model and its bound are those of `hierarchical`; a layer is a group of latents at each place of
one scale, and one network is the ladder. q(z_l | z_<l, x) is given relative to p(z_l | z_<l) as in
sec. 3.2, with the mean in units of the prior's deviation. KL terms are not balanced between groups
(app. A); `warm_up_steps` and `free_bits` are there for what collapses.
"""

import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.networks import build_network
from jaxgen.objectives import optimizers
from jaxgen.objectives.base import Objective
from jaxgen.objectives.variational.hierarchical import hierarchical
from jaxgen.objectives.variational.ladder import network_ladder
from jaxgen.objectives.variational.likelihoods import build_observation_model


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The scales that a config describes.

  Raises:
    ValueError: a scale without groups, or images that cannot be halved to so many scales.
  """
  groups, latent = config.objective.groups, config.objective.latent
  if min(groups, default=0) < 1:
    raise ValueError(f'objective.groups={groups} must have a number of at least 1 for each scale')
  bottom_up = build_network(config, 'BottomUp', groups)
  top_down = build_network(config, 'TopDown', facts.image_shape, groups, latent)
  observed, fields = build_observation_model(config, facts, 'GridDecoder')
  del fields['groups'], fields['latent']
  return hierarchical(
    bottom_up,
    network_ladder(top_down),
    observed,
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    **fields,
    importance_samples=config.evaluation.importance_samples,
  )
