"""Two stages: a model of the codes of a trained VAE, sampled in place of its prior.

The codes of all images together, whatever a VAE was trained for, are not spread as its prior is, so
that samples from the prior are decoded from where no image's code was. A second model of the codes
knows where they are: a second VAE (Dai & Wipf 2019), or a mixture of Gaussians (Ghosh et al. 2020,
sec. 4).
"""

import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives import find_objective
from jaxgen.objectives.base import Objective
from jaxgen.objectives.second_stage import find_autoencoder, second_stage


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes, on the codes of the one in its section `autoencoder`.

  The second stage is the objective that `objective.second` names; all other fields are its own.

  Raises:
    ValueError: it is for pixels, and not for numbers without bounds.
  """
  likelihood = config.objective.get('likelihood', 'gaussian')
  if likelihood != 'gaussian':
    raise ValueError(
      f'objective.likelihood={likelihood!r} is of pixels, and codes have no bounds: set it to '
      'gaussian'
    )
  autoencoder, shape = find_autoencoder(config, facts)
  of_codes = ml_collections.ConfigDict(config.to_dict())
  of_codes.objective.name = of_codes.objective.second
  del of_codes.objective.autoencoder, of_codes.objective.second, of_codes.autoencoder
  second = find_objective(of_codes, facts._replace(image_shape=shape))
  return second_stage(second, autoencoder, shape)
