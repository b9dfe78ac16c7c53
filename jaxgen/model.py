"""A trained model: the one door for scripts, notebooks and the command line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax.errors import FlaxError

from jaxgen import configuration, images
from jaxgen.datasets.splits import Facts, Split
from jaxgen.devices.parallel import TrainState, map_images, purpose_key
from jaxgen.errors import UserError, suggest
from jaxgen.evaluation.held_out import Evaluation
from jaxgen.export import export
from jaxgen.labels import Labels, asked, whole_numbers
from jaxgen.objectives.base import Key, Label, Objective, Params
from jaxgen.objectives.distributions import between
from jaxgen.progress import follow
from jaxgen.training.checkpoint import FOLDERS, LAST
from jaxgen.training.trained import trained
from jaxgen.version import __version__

EMA, RAW = 'ema', 'raw'  # parameters as the moving average has them, and as training left them


class Model:
  """What a run has learned.

  Attributes:
    config: of the run, with another sampler where one was asked for.
    objective: its functions of one example.
    facts: what was known of the data.
    state: all of the checkpoint.
    params: the parameters that everything here is done with.
    step: how many updates made them.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    objective: Objective,
    facts: Facts,
    state: TrainState,
    parameters: str = EMA,
  ) -> None:
    """The objective of a config, what was known of its data, and a state of its training."""
    self.config, self.objective, self.facts, self.state = config, objective, facts, state
    self.evaluation = Evaluation(objective, config, facts.class_counts)
    self.params: Params = {EMA: state.ema, RAW: state.params}[parameters]
    self.step = int(state.step)
    self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}  # what `_each` has mapped

  @property
  def network(self) -> nn.Module | Mapping[str, nn.Module]:
    """The Flax module; of a model with several, all by their names in `params`."""
    networks = self.objective.networks
    return next(iter(networks.values())) if len(networks) == 1 else networks

  def sample(self, count: int, seed: int | None = None, label: Labels = None) -> np.ndarray:
    """Samples 0 ... count - 1 of a seed, uint8 (count, H, W, C).

    Args:
      count: how many.
      seed: of the samples; the run's own by default.
      label: of a conditional model's samples, or several in turn; by default each is drawn as often
        as the training images have it.

    Raises:
      UserError: fewer than one, a label that the data do not have, or samples that are not finite.
    """
    if not isinstance(count, int | np.integer) or count < 1:
      raise UserError(f'{count} samples were asked for; ask for a whole number of at least 1')
    drawn = self.evaluation.samples(self.params, int(count), seed, labels=asked(label))
    return np.concatenate(list(follow(drawn, count, 'drawing')))

  def encode(self, pictures: np.ndarray, seed: int | None = None) -> np.ndarray:
    """The codes of uint8 (N, H, W, C), float32 (N, ...).

    Raises:
      UserError: the model has no codes, or the pictures are not like those that it was trained on.
    """
    encode = self._ability('encode')

    def of_one(params: Params, index: jax.Array, key: Key, picture: jax.Array) -> jax.Array:
      return encode(params, self.evaluation.see(picture, index), key)

    return self._each('encode', of_one, seed, images.like(pictures, self.facts.image_shape))

  def decode(self, latents: np.ndarray, seed: int | None = None) -> np.ndarray:
    """What codes (N, ...) are decoded to, uint8 (N, H, W, C).

    Raises:
      UserError: the model does not decode, or not these.
    """
    decode, codes = self._ability('decode'), np.asarray(latents, np.float32)
    try:
      jax.eval_shape(decode, self.params, codes[0], jax.random.key(0))
    except (FlaxError, IndexError, TypeError, ValueError) as error:
      raise UserError(
        f'codes {codes.shape} cannot be decoded by {self.config.objective.name!r}; give them as '
        '(N, ...), each as `encode` gives one, or as long as objective.latent says'
      ) from error
    if not np.isfinite(codes).all():
      raise UserError('some of these codes are not finite')

    def of_one(params: Params, index: jax.Array, key: Key, latent: jax.Array) -> jax.Array:
      del index
      return images.to_uint8(decode(params, latent, key))

    return self._each('decode', of_one, seed, codes)

  def interpolate(
    self, a: np.ndarray, b: np.ndarray, count: int = 8, seed: int | None = None
  ) -> np.ndarray:
    """What codes from those of some pictures to those of others are decoded to.

    From uint8 (N, H, W, C) to uint8 (N, count, H, W, C), the ends included.

    Raises:
      UserError: the model has no codes, or one of these is not as it should be.
    """
    starts, ends = images.like(a, self.facts.image_shape), images.like(b, self.facts.image_shape)
    if len(starts) != len(ends) or count < 2:
      raise UserError(
        f'count={count} must be at least 2, and there are {len(starts)} starts and {len(ends)} ends'
      )
    codes = np.split(self.encode(np.concatenate([starts, ends]), seed), 2)
    way = jax.vmap(jax.vmap(between, in_axes=(None, None, 0)), in_axes=(0, 0, None))
    found = self.decode(np.concatenate(way(*codes, jnp.linspace(0.0, 1.0, count))), seed)
    return found.reshape(len(starts), count, *found.shape[1:])

  def inpaint(
    self,
    pictures: np.ndarray,
    known: np.ndarray,
    seed: int | None = None,
    repeats: int = 10,
    jump: int = 1,
    label: Labels = None,
  ) -> np.ndarray:
    """Draws anew what is not known of pictures, uint8 (N, H, W, C), as RePaint does.

    Args:
      pictures: uint8 (N, H, W, C), of which the unknown part may be anything.
      known: bool (H, W), or one of each picture, (N, H, W): True where a pixel is kept.
      seed: of the noise.
      repeats: how often each of the sampler's steps is taken, so that known and unknown fit.
      jump: steps in a row before they are repeated; the paper takes 10, of 250.
      label: of a conditional model's pictures, as in `sample`.

    Raises:
      UserError: the model does not denoise, or one of these is not as it should be.
    """
    inpaint, pictures = self._ability('inpaint'), images.like(pictures, self.facts.image_shape)
    known = np.asarray(known)
    if known.dtype != bool or known.shape not in (pictures.shape[1:3], pictures.shape[:3]):
      raise UserError(
        f'known is {known.dtype} {known.shape}; give bool {pictures.shape[1:3]}, or one of each '
        f'picture, {pictures.shape[:3]}, True where a pixel is kept'
      )
    if repeats < 1 or jump < 1:
      raise UserError(f'repeats={repeats} and jump={jump} must be at least 1')

    def of_one(
      params: Params, index: jax.Array, key: Key, picture: jax.Array, known: jax.Array, label: Label
    ) -> jax.Array:
      seen = self.evaluation.see(picture, index)
      known = jnp.broadcast_to(known[..., None], seen.shape)
      drawn = inpaint(params, seen, known, label, repeats, jump, key)
      return jnp.where(known, picture, images.to_uint8(drawn))

    known = np.broadcast_to(known, pictures.shape[:3])
    what, labels = ('inpaint', repeats, jump), self._labels(len(pictures), label, seed)
    return self._each(what, of_one, seed, pictures, known, labels)

  def edit(
    self, pictures: np.ndarray, strength: float = 0.5, seed: int | None = None, label: Labels = None
  ) -> np.ndarray:
    """Draws pictures anew from what noise leaves of them, uint8 (N, H, W, C), as SDEdit does.

    Of the sampler's steps the last ones are taken, `strength` of them all, in (0, 1].

    Raises:
      UserError: the model does not denoise, or one of these is not as it should be.
    """
    edit, pictures = self._ability('edit'), images.like(pictures, self.facts.image_shape)
    if not 0.0 < strength <= 1.0:
      raise UserError(f'strength={strength} must be above 0 and at most 1')

    def of_one(
      params: Params, i: jax.Array, key: Key, picture: jax.Array, label: Label
    ) -> jax.Array:
      return images.to_uint8(edit(params, self.evaluation.see(picture, i), label, strength, key))

    labels = self._labels(len(pictures), label, seed)
    return self._each(('edit', strength), of_one, seed, pictures, labels)

  def evaluate(self, pictures: np.ndarray, labels: np.ndarray | None = None) -> dict[str, float]:
    """Means of the objective's metrics over uint8 (N, H, W, C) and their labels, if they have any.

    Raises:
      UserError: the pictures are not like those that it was trained on, a conditional model is not
        told their labels, or a mean is not finite.
    """
    pictures, classes = images.like(pictures, self.facts.image_shape), len(self.facts.class_counts)
    if labels is None and self.objective.conditional:
      raise UserError('this model is conditional: give the labels of these pictures too')
    if labels is not None:
      labels = whole_numbers(labels)
      if labels.shape != pictures.shape[:1]:
        raise UserError(f'there are {len(pictures)} pictures, and labels {labels.shape}')
      if self.objective.conditional and not ((labels >= 0) & (labels < classes)).all():
        raise UserError(f'the data have the classes 0 to {classes - 1}, and these labels others')
    return self.evaluation.measure(self.params, Split(pictures, labels))

  def export(self, folder: str | Path) -> None:
    """Writes model.safetensors and config.json for other programs, see `jaxgen.export`.

    The parameters are those that samples are drawn with.

    Raises:
      UserError: the folder holds something else.
    """
    about = {
      'jaxgen': __version__,
      'step': self.step,
      'image_shape': self.facts.image_shape,
      'config': self.config.to_dict(),
    }
    settled = self.evaluation.settle(self.params)
    export(Path(folder).expanduser(), settled, self.objective.networks, about)

  def __repr__(self) -> str:
    name, data = self.config.objective.name, self.config.data.name
    return f'<{name} after {self.step:,} updates on {data} {self.facts.image_shape}>'

  def _ability(self, name: str) -> Callable[..., Any]:
    function = getattr(self.objective, name)
    if function is None:
      raise UserError(f'the objective {self.config.objective.name!r} cannot {name}')
    return function

  def _labels(self, count: int, label: Labels, seed: int | None) -> np.ndarray:
    root = purpose_key(self.config.seed if seed is None else seed, 'codes labels')
    return self.evaluation.labels(count, root, asked(label))

  def _each(
    self, what: Any, function: Callable[..., Any], seed: int | None, *inputs: np.ndarray
  ) -> np.ndarray:
    """A function of each input, compiled once for all calls that are for the same: `what`."""
    root = purpose_key(self.config.seed if seed is None else seed, 'codes')
    if what not in self._compiled:
      self._compiled[what] = map_images(
        lambda both, i, *x: function(both[1], i, jax.random.fold_in(both[0], i), *x),
        self.config.evaluation.batch_size,
      )
    both = root, self.evaluation.settle(self.params)
    return np.concatenate(list(self._compiled[what](both, np.arange(len(inputs[0])), *inputs)))


def load(workdir: str | Path, which: str = LAST, parameters: str = EMA, **sampler: Any) -> Model:
  """The model of a run's folder.

  Args:
    workdir: the folder.
    which: 'last', the newest whole checkpoint, or 'best'.
    parameters: 'ema', the moving average, or 'raw'.
    **sampler: fields of the config's section `sampler` to change, as in name='ddim', steps=50.

  Raises:
    UserError: no such folder, checkpoint, parameters or field, or a value that cannot be.
  """
  folder = Path(workdir).expanduser()
  overrides = [f'--config.sampler.{name}={value}' for name, value in sampler.items()]
  config = configuration.load(None, folder, overrides)
  return restore(config, folder, which, parameters)


def restore(
  config: ml_collections.ConfigDict, workdir: Path, which: str = LAST, parameters: str = EMA
) -> Model:
  """The model of a config that may differ from the run's in what concerns a trained model.

  Raises:
    UserError: there is no checkpoint, or it is of another architecture.
  """
  for what, chosen, known in (
    ('checkpoint', which, FOLDERS),
    ('parameters', parameters, (EMA, RAW)),
  ):
    if chosen not in known:
      raise UserError(f'{what} {chosen!r} are not kept.{suggest(chosen, known)}')
  configuration.agree(config, workdir, trained=True)
  objective, facts, state = trained(config, workdir, which)
  return Model(config, objective, facts, state, parameters)
