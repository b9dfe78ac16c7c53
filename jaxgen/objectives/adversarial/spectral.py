"""Spectral normalisation: a critic whose every layer has slope 1 at most (Miyato et al. 2018).

Symbols: W a kernel as a matrix (inputs, outputs), sigma(W) its largest singular value, v the unit
vector of its outputs for which |W v| = sigma(W).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgen.objectives.base import Key, Params

DIRECTIONS = 'directions'  # the collection of variables that remembers v for each kernel
MATRICES = ('kernel', 'embedding')  # what is divided; biases move a function, and leave its slope


class SpectrallyNormalised(nn.Module):
  """A network with W / sigma(W) for every kernel W, sigma(W) taken as |W v| (eq. 8).

  Its gradient in W is that of the quotient, v being held (eq. 11). A convolution's kernel is the
  matrix (height width channels, features), as in the paper (sec. 3): the slope of the convolution
  may exceed 1, by no more than a factor of sqrt(height width).

  Attributes:
    network: has no variables but parameters.
  """

  network: nn.Module

  @nn.compact
  def __call__(self, *inputs: jax.Array) -> jax.Array:
    """As the network's."""
    network = self.network.clone(parent=None)
    weights = self.param('weights', lambda key: network.init(key, *inputs)['params'])
    held = self.variable(DIRECTIONS, 'v', lambda: directions(weights, self.make_rng('params')))
    return network.apply({'params': normalised(weights, held.value)}, *inputs)


def matrices(weights: Params) -> dict[str, jax.Array]:
  """Every kernel as W (inputs, outputs), by its place in a tree of weights."""
  return {
    jax.tree_util.keystr(path): leaf.reshape(-1, leaf.shape[-1])
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    if path[-1].key in MATRICES
  }


def directions(weights: Params, key: Key) -> dict[str, jax.Array]:
  """A random unit vector v for each kernel."""
  found = {}
  for number, (place, matrix) in enumerate(matrices(weights).items()):
    v = jax.random.normal(jax.random.fold_in(key, number), matrix.shape[1:])
    found[place] = v / optax.tree.norm(v)
  return found


def power_iteration(critic: Params) -> Params:
  """A critic's variables with v <- W^T W v / |W^T W v| for every kernel (alg. 1)."""
  kernels = matrices(critic['params']['weights'])

  def iterate(matrix: jax.Array, v: jax.Array) -> jax.Array:
    v = matrix.T @ (matrix @ v)
    return v / optax.tree.norm(v)

  held = {place: iterate(kernels[place], v) for place, v in critic[DIRECTIONS]['v'].items()}
  return critic | {DIRECTIONS: {'v': held}}


def normalised(weights: Params, held: dict[str, jax.Array]) -> Params:
  """The weights with W / |W v| for every kernel W."""
  kernels = matrices(weights)

  def divide(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
    place = jax.tree_util.keystr(path)
    return leaf / optax.tree.norm(kernels[place] @ held[place]) if place in held else leaf

  return jax.tree_util.tree_map_with_path(divide, weights)


def check_normalisable(critic: nn.Module, *inputs: jax.Array) -> None:
  """Refuses a critic for which spectral normalisation makes no sense.

  Raises:
    ValueError: it normalises what it computes, or begins with a kernel of zeros.
  """
  init, key = jax.jit(critic.init), jax.random.key(0)
  shapes = jax.eval_shape(init, key, *inputs)['params']
  if any(path[-1].key == 'scale' for path, _ in jax.tree_util.tree_leaves_with_path(shapes)):
    raise ValueError(
      "objective.constraint='spectral' divides the critic's kernels by their sizes, which its "
      'normalisation of images or batches undoes: choose a network without one'
    )
  if not all(jnp.any(matrix) for matrix in matrices(init(key, *inputs)['params']).values()):
    raise ValueError(
      "objective.constraint='spectral' divides the critic's kernels by their sizes, but some of "
      'them begin as zeros, which have none: choose a network that begins otherwise, such as '
      'convolutional or mlp'
    )
