"""The Fréchet distance of one report, computed as its code did, to reproduce its numbers only.

The report (three models on MNIST, 2024) passes images through torchvision's InceptionV3 with
ImageNet weights, left in training mode. So it differs from the published distance in its weights,
its resize (bicubic without antialiasing; rounded for real images and not for generated ones), the
range (each image's own minimum and maximum), and in batch norm, which takes the statistics of each
hundred images: a number depends on the images' order, and compares with no other protocol's.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgen.features import fingerprint, require_images
from jaxgen.features.inception import load_arrays
from jaxgen.features.inception_network import SIDE, Layers, Trunk
from jaxgen.metrics.frechet import frechet_distance, moments, standard_error

BATCH = 100
COUNT = 5000  # images of each side
_EPSILON = 1e-3
_CUBIC = -0.75  # torch's coefficient


class Normalised(nn.Module):
  """Convolution, batch norm by the batch's own statistics, ReLU."""

  width: int
  kernel: tuple[int, int]
  stride: int
  padding: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = nn.Conv(
      self.width, self.kernel, self.stride, self.padding, use_bias=False, name='conv'
    )(x)  # fmt: skip
    weight = self.param('bn.weight', nn.initializers.ones, (self.width,))
    bias = self.param('bn.bias', nn.initializers.zeros, (self.width,))
    mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    x = (x - mean) * jax.lax.rsqrt(variance + _EPSILON)
    return nn.relu(x * weight[None, None, None] + bias[None, None, None])


def _conv(
  x: jax.Array,
  name: str,
  width: int,
  kernel: tuple[int, int] = (1, 1),
  *,
  stride: int = 1,
  padding: str = 'SAME',
) -> jax.Array:
  return Normalised(width, kernel, stride, padding, name=name)(x)


_average = partial(nn.avg_pool, window_shape=(3, 3), strides=(1, 1), padding='SAME')
NETWORK = Trunk(Layers(_conv, _average, _average))


def bicubic(length: int, side: int) -> np.ndarray:
  """Weights (side, length) of torch's bicubic resize: half-pixel centres, edges repeated."""
  centre = (np.arange(side) + 0.5) * (length / side) - 0.5
  low = np.floor(centre).astype(int)
  matrix = np.zeros((side, length))
  for offset in (-1, 0, 1, 2):
    distance = np.abs(centre - (low + offset))
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    taps = np.where(distance <= 1, near, far)
    np.add.at(matrix, (np.arange(side), np.clip(low + offset, 0, length - 1)), taps)
  return matrix.astype(np.float32)


def prepare(images: jax.Array, real: bool) -> jax.Array:
  """uint8 (N, H, W, 1 or 3) -> what the network sees, float32 (N, 299, 299, 3)."""
  rows, columns = (bicubic(length, SIDE) for length in images.shape[1:3])
  level = (lambda x: jnp.clip(jnp.round(x), 0.0, 255.0)) if real else (lambda x: x)
  x = level(jnp.einsum('nhwc,jw->nhjc', images.astype(jnp.float32), columns))
  x = level(jnp.einsum('nhjc,ih->nijc', x, rows))  # torch keeps bytes between the two, too
  low, high = x.min((1, 2, 3), keepdims=True), x.max((1, 2, 3), keepdims=True)
  x = jnp.broadcast_to((x - low) / (high - low), (*x.shape[:3], 3))
  # torchvision takes its input for one that ImageNet's mean and deviation were applied to.
  deviation, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
  scale, shift = np.float32(deviation / 0.5), np.float32((mean - 0.5) / 0.5)
  return x * scale[None, None, None] + shift[None, None, None]


@partial(jax.jit, static_argnums=2)
def features(params: Any, images: jax.Array, real: bool) -> jax.Array:
  """A batch of uint8 images (N, H, W, 1 or 3) -> (N, 2048), which depend on one another."""
  return NETWORK.apply(params, prepare(images, real))


def parameters(weights: Path) -> Any:
  """The network's parameters from a file. Raises ValueError as `build` does."""
  arrays = load_arrays(weights)
  shapes = jax.eval_shape(
    NETWORK.init, jax.random.key(0), jax.ShapeDtypeStruct((2, SIDE, SIDE, 3), np.float32)
  )['params']
  flat = {}
  for name, like in flatten_dict(shapes, sep='.').items():
    kernel = name.endswith('.conv.kernel')
    found = arrays.get(name.replace('.conv.kernel', '.conv.weight'))
    found = (
      found.transpose(2, 3, 1, 0) if kernel and found is not None and found.ndim == 4 else found
    )
    if found is None or found.shape != like.shape:
      raise ValueError(
        f'{weights} is of another network: {name} is {getattr(found, "shape", "missing")}, not '
        f"{like.shape}; torchvision's inception_v3_google-0cc3c7bd.pth is needed"
      )
    flat[name] = found.astype(np.float32)
  return {'params': unflatten_dict({_path(name): array for name, array in flat.items()})}


class Legacy(NamedTuple):
  """The distance with its standard error, and the hash of its weights."""

  distance: Callable[[np.ndarray, np.ndarray], tuple[float, float]]
  fingerprint: str


def build(weights: Path) -> Legacy:
  """The report's distance with torchvision's `inception_v3_google-0cc3c7bd.pth`.

  Args:
    weights: that file, or the same arrays as `.npz`. Nothing in it is executed.

  Returns:
    `distance`: uint8 real and generated images (N, H, W, 1 or 3) -> squared feature units, and its
    standard error from the generated ones drawn anew, as if none changed the others' features.
    Raises ValueError for too few images, another type, or a constant image.

  Raises:
    ValueError: the file cannot be read, or is of another network.
  """
  params = parameters(weights)

  def extract(images: np.ndarray, real: bool) -> np.ndarray:
    images = require_images(images)
    if (images.min((1, 2, 3)) == images.max((1, 2, 3))).any():
      raise ValueError('An image is constant, and this protocol divides by its range')
    starts = range(0, len(images), BATCH)
    parts = [features(params, images[s : s + BATCH], real) for s in starts]
    return np.concatenate([np.asarray(part) for part in parts])

  def distance(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    reference, made = moments(extract(real, True)), extract(generated, False)
    return frechet_distance(reference, moments(made)), standard_error(reference, made)

  arrays = flatten_dict(params, sep='/')
  return Legacy(distance, fingerprint(kind='s4_legacy', **arrays))


def _path(name: str) -> tuple[str, ...]:
  """The place of a parameter: 'Mixed_5b.branch1x1.bn.weight' -> (..., 'branch1x1', 'bn.weight')."""
  *modules, last = name.split('.')
  return (*modules[:-1], f'bn.{last}') if modules[-1] == 'bn' else (*modules, last)
