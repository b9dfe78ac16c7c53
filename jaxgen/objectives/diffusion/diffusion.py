"""Diffusion in continuous time, from parts that each paper chooses.

  paper                       path           prediction      density         weighting
  Song et al. 2021            vp, subvp, ve  noise           uniform         output
  Song & Ermon 2020           ve             noise           levels          output
  Karras et al. 2022          edm            preconditioned  log_normal      output
  Lipman et al. 2023          straight       velocity        uniform         output
  Esser et al. 2024           straight       velocity        log_normal 0,1  output
  Salimans & Ho 2022          vp             v               cosine          output
  Hang et al. 2023            vp             any             uniform         min_snr

Symbols as in `denoiser`; the loss is E w(t) |output - its target|^2 with t from the density.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import (
  Example,
  Image,
  Images,
  Key,
  Keys,
  Label,
  Memory,
  Metrics,
  Objective,
  Params,
)
from jaxgen.objectives.diffusion import (
  density,
  editing,
  prediction,
  quantiles,
  samplers,
  weighting,
)
from jaxgen.objectives.diffusion.coupling import COUPLINGS
from jaxgen.objectives.diffusion.denoiser import NO_LABEL, Denoiser
from jaxgen.objectives.diffusion.density import Density
from jaxgen.objectives.diffusion.guidance import Guidance
from jaxgen.objectives.diffusion.likelihood import bits_per_dimension
from jaxgen.objectives.diffusion.path import find_path
from jaxgen.objectives.diffusion.samplers import Descent
from jaxgen.objectives.diffusion.trajectory import on_the_way, sampled, strata
from jaxgen.objectives.diffusion.weighting import Weighting

PLACE, NOISE, LABEL, DROPOUT = range(4)  # what an example's key is folded with, for each draw


class Loss(NamedTuple):
  """E w(t) |output - its target|^2, a mean over pixels."""

  denoiser: Denoiser
  density: Density  # of t
  weight: Weighting  # w

  def integrand(
    self,
    params: Params,
    x_0: Image,
    label: Label,
    place: jax.Array,
    noise: Image,
    key: Key | None = None,
  ) -> jax.Array:
    """For one noise, at this quantile of its levels; with a key as in training."""
    denoiser, path = self.denoiser, self.denoiser.path
    t, y = self.density(place), x_0 - denoiser.mean
    output = denoiser.output(params, path.a(t) * y + path.s(t) * noise, t, label, key)
    return self.weight(t) * jnp.mean((output - denoiser.predicted.target(y, noise, t)) ** 2)


def with_dropout(
  loss: Loss,
  label_dropout: float,
  params: Params,
  example: Example,
  key: Key,
  place: jax.Array,
  noise: Image,
) -> tuple[jax.Array, Metrics]:
  """The loss of one image in training, which is without its label now and then."""
  label = example.label
  if label_dropout:
    left_out = jax.random.bernoulli(jax.random.fold_in(key, LABEL), label_dropout)
    label = jnp.where(left_out, NO_LABEL, label)
  dropout = jax.random.fold_in(key, DROPOUT)
  return loss.integrand(params, example.image, label, place, noise, dropout), {}


def update(
  loss: Callable[..., tuple[jax.Array, Metrics]],
  optimizer: optax.GradientTransformation,
  couple: Callable[[Images, jax.Array], jax.Array],
  stratified: bool,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A step down the loss, with noise levels and noises that the batch shares out."""
  del step
  shape = examples.image.shape[1:]
  places = quantiles.drawn(jax.vmap(lambda key: jax.random.fold_in(key, PLACE))(keys), stratified)
  noises = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, NOISE), shape))(keys)
  noises = couple(examples.image, noises)
  return base.descend(loss, optimizer, params, memory, examples, keys, places, noises)


def evaluate(
  loss: Loss,
  name: str,
  times: int,
  likelihood_steps: int,
  params: Params,
  example: Example,
  key: Key,
) -> Metrics:
  """The loss of a held-out image by its name, and a bound on its bits where steps go to that."""
  first, second, third = jax.random.split(key, 3)
  places = quantiles.inside(strata(first, times) / times)
  noises = jax.random.normal(second, (times, *example.image.shape))
  errors = jax.vmap(
    lambda place, noise: loss.integrand(params, example.image, example.label, place, noise)
  )(places, noises)
  found = {name: errors.mean()}
  if likelihood_steps:
    denoiser = replace(loss.denoiser, clip=False)
    found['probability_flow_bits_per_dimension'] = bits_per_dimension(
      lambda x_t, t: denoiser(params, x_t, t, example.label),
      *(denoiser.path, example.image - denoiser.mean, third, likelihood_steps),
    )
  return found


def diffusion(
  denoiser: Denoiser,
  optimizer: optax.GradientTransformation,
  facts: Facts,
  density: Density,
  weight: Weighting,
  descent: Descent,
  guidance: Guidance,
  name: str = 'squared_error',
  coupling: str = 'independent',
  stratified: bool = True,
  label_dropout: float = 0.0,
  times: int = 8,
  likelihood_steps: int = 0,
) -> Objective:
  """A denoiser learned at all levels of noise, and followed down them by any sampler.

  Args:
    denoiser: what is learned.
    optimizer: of its network.
    facts: of the data.
    density: of the noise level in training.
    weight: of the squared error at each.
    descent: the sampler on its grid.
    guidance: towards the label.
    name: of the held-out error, which says what is averaged.
    coupling: which noise an image is mixed with: 'independent', or 'optimal' in each batch.
    stratified: whether the noise levels of a batch are spread evenly over their law.
    label_dropout: how often a conditional network is not told the label.
    times: noise levels at which `evaluate` looks, one from each of so many equal strata.
    likelihood_steps: of the flow by which it bounds bits per dimension; 0 leaves that out.

  Raises:
    ValueError: an unknown coupling, or a number out of range or without effect.
  """
  check(coupling, times, likelihood_steps)
  check_dropout(label_dropout, denoiser.conditional)
  guidance.check(label_dropout)
  loss, guided = Loss(denoiser, density, weight), partial(guidance.of, denoiser)
  learn = partial(update, partial(with_dropout, loss, label_dropout), optimizer)
  trajectory = descent.trajectory(guided, facts.image_shape, denoiser.mean)

  def init(key: Key) -> tuple[Params, Memory]:
    params = denoiser.init(key, facts.image_shape)
    return params, optimizer.init(params)

  return Objective(
    init,
    partial(learn, COUPLINGS[coupling], stratified),
    partial(evaluate, loss, name, times, likelihood_steps),
    sampled(trajectory),
    figures={'denoising': on_the_way(trajectory, descent.steps)},
    networks={'denoiser': denoiser.network},
    conditional=denoiser.conditional,
    **editing.abilities(guided, descent, denoiser.mean, denoiser.conditional),
  )


def check(coupling: str, times: int, likelihood_steps: int) -> None:
  """Raises ValueError for an unknown coupling, or a number out of range."""
  if coupling not in COUPLINGS:
    raise ValueError(f'objective.coupling={coupling!r}; choose one of {", ".join(COUPLINGS)}')
  if times < 1 or likelihood_steps < 0:
    raise ValueError(
      f'evaluation.times={times} must be at least 1, and '
      f'evaluation.likelihood_steps={likelihood_steps} not negative'
    )


def check_dropout(label_dropout: float, conditional: bool) -> None:
  """Refuses a share that cannot be, or that nothing would feel.

  Raises:
    ValueError: with the reason.
  """
  if not 0.0 <= label_dropout < 1.0:
    raise ValueError(f'objective.label_dropout={label_dropout} must lie in [0, 1)')
  if label_dropout and not conditional:
    raise ValueError(
      f'objective.label_dropout={label_dropout} has no effect on a network that is not told '
      'labels: set objective.conditional=True'
    )


def error_name(density: str, prediction: str, weighting: str) -> str:
  """Which error is averaged, over which noise levels; uniform ones go without saying."""
  law = '' if density == 'uniform' else f'{density}_'
  counted = prediction if weighting == 'output' else f'{weighting}_weighted'
  return f'{law}{counted}_squared_error'


def parts(config: ml_collections.ConfigDict, facts: Facts) -> dict[str, Any]:
  """What `diffusion` makes the model of that a config describes."""
  fields, sampler = base.arguments(config.objective), config.sampler.to_dict()
  path = find_path(fields.pop('path'))
  deviation, meaning = fields.pop('sigma_data'), fields.pop('prediction')
  law, counted = fields.pop('density'), fields.pop('weighting')
  predicted = prediction.find(meaning, path, deviation)
  conditional = fields.pop('conditional')
  network = base.arguments(config.network)
  if conditional:
    network['classes'] = facts.classes
  denoiser = Denoiser(
    find_network(config.network.name, 'Denoiser')(**network),
    path,
    predicted,
    deviation,
    fields.pop('mean'),
    fields.pop('unit_input'),
    conditional,
    sampler.pop('clip'),
  )
  guidance = Guidance(*(sampler.pop(n) for n in ('guidance', 'guidance_min', 'guidance_max')))
  return {
    'denoiser': denoiser,
    'optimizer': optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    'facts': facts,
    'density': density.find(law, path, *(fields.pop(n) for n in ('P_mean', 'P_std', 'levels'))),
    'weight': weighting.find(counted, path, predicted),
    'descent': samplers.find(path, **sampler, evaluations=guidance.evaluations),
    'guidance': guidance,
    'name': error_name(law, meaning, counted),
    'times': config.evaluation.times,
    'likelihood_steps': config.evaluation.likelihood_steps,
    **fields,
  }


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  return diffusion(**parts(config, facts))
