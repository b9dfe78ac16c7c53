"""Labels in a denoiser, and guidance towards them, on two Gaussian classes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.datasets.splits import Facts
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import density, prediction, samplers, weighting
from jaxgen.objectives.diffusion.denoiser import Denoiser
from jaxgen.objectives.diffusion.diffusion import diffusion
from jaxgen.objectives.diffusion.guidance import Guidance
from jaxgen.objectives.diffusion.path import find_path
from tests.examples import examples, on_one_device

SHAPE = (2, 2, 1)
MEANS, NARROW, WIDE = np.array([-0.5, 0.5]), 0.4, 0.8  # of a class, and of all images


class TwoClasses(nn.Module):
  """E[x_0 | x_t, label]: of N(MEANS[label], NARROW^2), or of N(0, WIDE^2) without a label."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array, label: jax.Array) -> jax.Array:
    one = self.param('one', nn.initializers.ones, ())
    sigma = jnp.exp(4.0 * t / 1000.0)
    mean = jnp.where(label < 0, 0.0, jnp.asarray(MEANS)[label])
    variance = jnp.where(label < 0, WIDE, NARROW) ** 2
    return one * (mean + variance / (variance + sigma**2) * (x - mean))


class Told(nn.Module):
  """The label that it is told, at every pixel."""

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array, label: jax.Array) -> jax.Array:
    return self.param('one', nn.initializers.ones, ()) * jnp.full_like(x, label)


def model(
  network: nn.Module, label_dropout: float = 0.1, *guidance: float, **fields: Any
) -> Objective:
  path = find_path('edm')
  predicted = prediction.image(path)
  return diffusion(
    Denoiser(network, path, predicted, conditional=True),
    optax.sgd(0.1),
    Facts(SHAPE, 8, (3, 5)),
    density.log_normal(path, 0.0, 1.2),
    weighting.find('output', path, predicted),
    samplers.find(path, 'dpm_solver_2m', 60, sigma_max=80.0, evaluations=2),
    Guidance(*guidance),
    label_dropout=label_dropout,
    **fields,
  )


def drawn(label: int, *guidance: float) -> np.ndarray:
  objective = model(TwoClasses(), 0.1, *guidance)
  params, _ = objective.init(jax.random.key(0))
  keys = jax.random.split(jax.random.key(1), 3000)
  sample = jax.jit(jax.vmap(objective.sample, in_axes=(None, None, 0)))
  return np.asarray(sample(params, jnp.int32(label), keys))


@pytest.mark.parametrize('label', [0, 1])
def test_samples_are_of_the_class_asked_for(label: int) -> None:
  x = drawn(label)
  assert x.mean() == pytest.approx(MEANS[label], abs=0.02)
  assert x.std() == pytest.approx(NARROW, rel=0.03)


@pytest.mark.parametrize('label', [0, 1])
def test_what_is_drawn_anew_is_of_the_class_asked_for(label: int) -> None:
  """From nothing but noise, or with nothing known."""
  objective = model(TwoClasses())
  params, _ = objective.init(jax.random.key(0))
  keys, image = jax.random.split(jax.random.key(1), 3000), jnp.zeros(SHAPE)

  def edited(key: jax.Array) -> jax.Array:
    return objective.edit(params, image, jnp.int32(label), 1.0, key)

  def inpainted(key: jax.Array) -> jax.Array:
    return objective.inpaint(params, image, image > 0.0, jnp.int32(label), 1, 1, key)

  for anew in (edited, inpainted):
    x = np.asarray(jax.jit(jax.vmap(anew))(keys))
    assert x.mean() == pytest.approx(MEANS[label], abs=0.03)
    assert x.std() == pytest.approx(NARROW, rel=0.12)  # where it begins anew it is of first order


def test_bits_are_those_of_the_class() -> None:
  """Of grey levels of N(0.5, 0.4^2), told so: the entropy; told another class, more by its KL."""
  objective = model(TwoClasses(), likelihood_steps=60)
  params, _ = objective.init(jax.random.key(0))
  x = MEANS[1] + NARROW * np.random.default_rng(0).normal(size=(400, *SHAPE))
  levels, keys = np.round(x * 127.5) / 127.5, jax.random.split(jax.random.key(1), 400)
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))
  entropy = np.log2(NARROW * np.sqrt(2 * np.pi * np.e) * 127.5)
  apart = (MEANS[1] - MEANS[0]) ** 2 / (2 * NARROW**2) / np.log(2)
  for label, expected, near in ((1, entropy, 0.1), (0, entropy + apart, 0.4)):
    found = evaluate(params, examples(levels, np.full(400, label, np.int32)), keys)
    bits = found['probability_flow_bits_per_dimension']
    assert bits.mean() == pytest.approx(expected, abs=near)


def test_a_scale_of_nothing_leaves_the_label_out() -> None:
  x = drawn(1, 0.0)
  assert x.mean() == pytest.approx(0.0, abs=0.03)
  assert x.std() == pytest.approx(WIDE, rel=0.03)


@pytest.mark.parametrize('scale', [1.5, 3.0])
def test_guidance_narrows_gaussians_as_is_known(scale: float) -> None:
  """The deviation is c (c / S)^(w - 1): the flow's rate is that of log k^w S^(1-w)."""
  x = drawn(1, scale)
  assert x.std() == pytest.approx(NARROW * (NARROW / WIDE) ** (scale - 1.0), rel=0.04)
  assert x.mean() > MEANS[1] + 0.05


def test_guidance_outside_of_the_noise_it_is_for_is_none() -> None:
  """Between two levels it is between nothing and all; below all levels, nothing."""
  plain, all_through = drawn(1), drawn(1, 3.0)
  between, outside = drawn(1, 3.0, 0.3, 2.0), drawn(1, 3.0, 200.0)
  np.testing.assert_allclose(outside, plain, atol=1e-5)
  assert all_through.std() < 0.9 * between.std() < 0.8 * plain.std()


@pytest.mark.parametrize('often', [-0.1, 1.0])
def test_labels_cannot_be_left_out_less_than_never(often: float) -> None:
  with pytest.raises(ValueError, match='label_dropout'):
    model(Told(), often)


def test_labels_are_left_out_as_often_as_asked() -> None:
  """By images of 0 of class 1: a network that says 1, or -1 for none, errs by 1 with either;
  one of class 0 errs only where the label is left out."""
  objective = model(Told(), 0.3)
  params, memory = objective.init(jax.random.key(0))
  step = jax.jit(on_one_device(objective))
  keys = jax.random.split(jax.random.key(1), 4000)
  images = jnp.zeros((4000, *SHAPE))
  for label, expected in ((0, 0.3), (1, 1.0)):
    batch = examples(images, jnp.full(4000, label, jnp.int32))
    loss = step(params, memory, batch, keys)[2]['loss']
    assert loss == pytest.approx(expected, abs=0.03)
    held_out = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, 0, 0)))(params, batch, keys)
    (error,) = held_out.values()
    assert error.mean() == pytest.approx(label, abs=1e-6)  # never left out there


def test_evaluations_are_counted_twice_where_two_are_needed() -> None:
  counts: dict[float, Any] = {scale: Guidance(scale).evaluations for scale in (0.0, 1.0, 2.0)}
  assert counts == {0.0: 1, 1.0: 1, 2.0: 2}
