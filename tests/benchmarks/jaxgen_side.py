"""jaxgen at work, on the path that a run takes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgen import checks, configuration, objectives
from jaxgen.datasets import order
from jaxgen.datasets.splits import Facts, Split
from jaxgen.devices import cost, flops, parallel
from jaxgen.evaluation import held_out
from jaxgen.features import classifier
from jaxgen.images import from_uint8
from jaxgen.networks import find_network
from jaxgen.objectives import base
from tests.benchmarks.contender import PRODUCTS, PRODUCTS_ON_CPU, Contender, Work

IMAGES = 60_000  # in memory, as many as MNIST has


def build(contender: Contender) -> Work:
  """The work of a contender, on the devices that it names, compiled anew."""
  config = configured(contender)
  kinds = training, forward, sampling, features, ceiling
  return {kind.__name__: kind for kind in kinds}[contender.work](config, contender.image_shape)


def configured(contender: Contender) -> ml_collections.ConfigDict:
  """A contender's config; from here on, JAX has as many virtual devices as it wants."""
  config = configuration.load(contender.source, None, contender.overrides)
  if jax.config.jax_num_cpu_devices < 1:
    devices = contender.devices or parallel.cpu_devices(config)
    jax.config.update('jax_num_cpu_devices', devices)
  return config


def device() -> str:
  """The devices, in words."""
  return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def peak_megabytes() -> float:
  """The most memory in use so far."""
  return cost.peak_memory() / 2**20


def random_images(count: int, shape: tuple[int, int, int]) -> np.ndarray:
  """uint8 (count, H, W, C)."""
  return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def training(config: ml_collections.ConfigDict, shape: tuple[int, int, int]) -> Work:
  """Dispatches of `steps_per_call` updates, read and fed as `train.Run.loop` reads and feeds them.

  A unit is one dispatch. Metrics are fetched as often as a run logs them.
  """
  checks.check_division(config, jax.device_count())
  train, stride = Split(random_images(IMAGES, shape)), config.steps_per_call
  model = objectives.find_objective(config, Facts(shape, IMAGES))
  update, traced = (
    parallel.updates(model, config) for _ in range(2)
  )  # the second, so that the first call's time has the tracing in it
  state = jax.device_get(jax.jit(lambda: parallel.initial_state(model, config.seed))())
  parameters = cost.parameters(state.params)
  state, done = parallel.on_all_devices(state), 0

  read = partial(parallel.read_batches, train, config)
  operations = cost.training_flops(traced, state, read(0))

  def run(units: int) -> None:
    nonlocal state, done
    pending: list[Any] = []
    for step, batches in order.prefetch(read, range(done, done + units * stride, stride)):
      state, metrics = update(state, batches)
      pending.append(metrics)
      if (step + stride) % config.log_every == 0:
        jax.device_get(pending)
        pending.clear()
    done += units * stride
    jax.block_until_ready(state)

  return Work(run, stride, stride * config.batch_size, parameters, operations, device())


def forward(config: ml_collections.ConfigDict, shape: tuple[int, int, int]) -> Work:
  """The denoising network alone; a unit is one batch, divided among the devices."""
  network = find_network(config.network.name, 'Denoiser')(**base.arguments(config.network))
  images = random_images(config.batch_size, shape)
  times = np.arange(1, config.batch_size + 1, dtype=np.int32)
  zeros = np.zeros(shape, np.float32)
  params = jax.jit(network.init)(jax.random.key(0), zeros, times[0])

  def predict(params: Any, image: jax.Array, t: jax.Array) -> jax.Array:
    return network.apply(params, from_uint8(image), t)

  apply = parallel.map_images(predict, config.batch_size // jax.device_count())
  return Work(
    repeat(lambda: apply(params, images, times)),
    1,
    config.batch_size,
    cost.parameters(params),
    flops.count(network.apply, params, zeros, times[0]),
    device(),
  )


def sampling(config: ml_collections.ConfigDict, shape: tuple[int, int, int]) -> Work:
  """Samples as `--mode=sample` draws them; a unit is one batch, divided among the devices."""
  model = objectives.find_objective(config, Facts(shape, IMAGES))
  params, _ = jax.jit(model.init)(jax.random.key(0))
  count = config.evaluation.batch_size
  config.evaluation.batch_size //= jax.device_count()
  draw = held_out.Evaluation(model, config, ())
  return Work(
    repeat(lambda: draw.samples(params, count)),
    1,
    count,
    cost.parameters(params),
    flops.count(model.sample, params, jnp.int32(-1), jax.random.key(0)),
    device(),
  )


def features(config: ml_collections.ConfigDict, shape: tuple[int, int, int]) -> Work:
  """Features of the classifier that evaluates samples; a unit is 1,000 images."""
  del config
  images = random_images(1000, shape)
  network = classifier.Classifier(classifier.Recipe().dimension, 10)
  params = jax.jit(network.init)(jax.random.key(0), images[:1])
  extract = partial(classifier._extract, network, shape, params)  # its weights need no training
  return Work(
    repeat(lambda: iter([extract(images)])),
    1,
    len(images),
    cost.parameters(params),
    flops.count(network.apply, params, images[:1]),
    device(),
  )


def ceiling(config: ml_collections.ConfigDict, shape: tuple[int, int, int]) -> Work:
  """Products of large matrices of the config's numbers; a unit is a batch of them."""
  del shape
  count, side = PRODUCTS_ON_CPU if jax.default_backend() == 'cpu' else PRODUCTS
  keys = jax.random.split(jax.random.key(0))
  a, b = (jax.random.normal(key, (count, side, side), config.network.dtype) for key in keys)
  multiply = jax.jit(jnp.matmul)

  def run(units: int) -> None:
    jax.block_until_ready([multiply(a, b) for _ in range(units)][-1])

  return Work(run, 1, count, 0, flops.count(jnp.matmul, a, b) / count, device())


def repeat(chunks: Callable[[], Iterator[Any]]) -> Callable[[int], None]:
  """Runs an iterator to its end, so many times; its values are numpy arrays, and so done."""

  def run(units: int) -> None:
    for _ in range(units):
      for _ in chunks():
        pass

  return run
