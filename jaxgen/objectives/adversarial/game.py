"""The game of a generator and a critic (alg. 1 of Goodfellow et al. 2014 and Arjovsky et al. 2017).

GANs differ in their two losses and in what is done to the critic after a step; the game is the
same. Symbols: G generator, f critic (a real number an image), x real, G(z) fake, z ~ N(0, I). In a
conditional game both players also see a label, that of x.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.layers.normalisation import STATISTICS
from jaxgen.objectives import optimizers
from jaxgen.objectives.adversarial.players import PairLoss, Players
from jaxgen.objectives.adversarial.watch import MOMENTS, spreads, warnings, with_moments
from jaxgen.objectives.base import (
  Example,
  Image,
  Key,
  Keys,
  Memory,
  Metrics,
  Objective,
  Params,
  arguments,
  descend,
  prefix,
)

# params, optimizer's state, examples (N,), keys (N,), state= -> params, optimizer's state, metrics
Turn = Callable[..., tuple[Params, Any, Metrics]]


class State(NamedTuple):
  """What a game remembers besides its optimizers; both losses then take it as `state`.

  Attributes:
    init: before the first update, and in evaluation.
    next: state, mean metrics of both players -> state, metrics to add.
  """

  init: Any
  next: Callable[[Any, Metrics], tuple[Any, Metrics]]


def game(
  players: Players,
  optimizer: dict[str, optax.GradientTransformation],
  critic_loss: PairLoss,
  generator_loss: PairLoss,
  critic_steps: int = 1,
  project: Callable[[Params], Params] = lambda critic: critic,
  state: State | None = None,
  summary: Callable[[Metrics], Metrics] = lambda means: {},
) -> Objective:
  """`critic_steps` steps of the critic, each on fresh images, then one step of the generator.

  Args:
    players: the two networks.
    optimizer: one for 'generator', one for 'critic'.
    critic_loss: what the critic minimises, for one real and one fake image.
    generator_loss: what the generator minimises; its gradient reaches G through the fake image.
    critic_steps: how often the critic steps before the generator does; a batch holds the images of
      all these steps.
    project: applied to the critic's variables at the start and after each of its steps.
    state: what the game remembers, if anything.
    summary: more metrics of an update, made of both players' means.

  Raises:
    ValueError: no latent dimension, or no critic steps.
  """
  if players.latent < 1 or critic_steps < 1:
    raise ValueError(
      f'objective.latent={players.latent} and objective.critic_steps={critic_steps} must be at '
      'least 1'
    )
  losses = {'critic': critic_loss, 'generator': with_moments(generator_loss)}
  turns = {name: turn(name, players, optimizer[name], loss) for name, loss in losses.items()}

  def init(key: Key) -> tuple[Params, Memory]:
    params = players.init(key)
    params['critic'] = project(params['critic'])
    memory = {name: optimizer[name].init(weights(params[name])) for name in params}
    return params, memory | ({'state': state.init} if state else {})

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    loss = partial(critic_loss, state=state.init) if state else critic_loss
    return players.play(loss, params, example, key)[1]

  def decode(params: Params, z: jax.Array, key: Key) -> Image:
    return players.decode(params, z, jnp.int32(-1))

  return Objective(
    init,
    rounds(turns, critic_steps, project, state, summary),
    evaluate,
    players.sample,
    decode=None if players.class_counts else decode,
    settle=players.settle if players.keep_statistics['generator'] else None,
    networks={'generator': players.generator, 'critic': players.critic},
    # The critic has learned to judge the generator as it is, not an average of critics of the past.
    averaged={'generator': True, 'critic': False},
    conditional=bool(players.class_counts),
    warn=warnings,
  )


def turn(
  player: str, players: Players, optimizer: optax.GradientTransformation, loss: PairLoss
) -> Turn:
  """One step of one player against the other as it is."""

  def step(
    params: Params, opt_state: Any, examples: Example, keys: Keys, **state: Any
  ) -> tuple[Params, Any, Metrics]:
    own = params[player]

    def loss_of(moved: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
      key = jax.random.fold_in(key, ('critic', 'generator').index(player))
      value, metrics, after = players.play(
        partial(loss, **state), params | {player: own | moved}, example, key, training=True
      )
      return value, metrics | {STATISTICS: statistics(after[player])}

    moved, opt_state, metrics = descend(loss_of, optimizer, weights(own), opt_state, examples, keys)
    return params | {player: own | moved | metrics.pop(STATISTICS)}, opt_state, metrics

  return step


def rounds(
  turns: dict[str, Turn],
  critic_steps: int,
  project: Callable[[Params], Params],
  state: State | None,
  summary: Callable[[Metrics], Metrics],
) -> Callable[..., tuple[Params, Memory, Metrics]]:
  """Updates: an iteration each of algorithm 1."""

  def update(
    params: Params, memory: Memory, examples: Example, keys: Keys, step: jax.Array
  ) -> tuple[Params, Memory, Metrics]:
    del step
    known = {'state': memory['state']} if state else {}
    shares = critic_slices((examples, keys), critic_steps)

    def critic_step(carry: tuple[Params, Any], share: tuple[Example, Keys]) -> Any:
      both, opt_state = params | {'critic': carry[0]}, carry[1]
      both, opt_state, metrics = turns['critic'](both, opt_state, *share, **known)
      return (project(both['critic']), opt_state), metrics

    (critic, f_state), f_metrics = jax.lax.scan(
      critic_step, (params['critic'], memory['critic']), shares
    )
    first = jax.tree.map(lambda share: share[0], shares)
    params, g_state, g_metrics = turns['generator'](
      params | {'critic': critic}, memory['generator'], *first, **known
    )
    last = jax.tree.map(lambda values: values[-1], f_metrics)
    seen = spreads(g_metrics.pop(MOMENTS))
    metrics = prefix('critic', last) | prefix('generator', g_metrics) | seen
    metrics |= summary(metrics)
    memory = memory | {'generator': g_state, 'critic': f_state}
    if state:
      memory['state'], added = state.next(memory['state'], metrics)
      metrics |= added
    return params, memory, metrics

  return update


def weights(variables: Params) -> Params:
  """What an optimizer moves."""
  return {name: part for name, part in variables.items() if name == 'params'}


def statistics(variables: Params) -> Params:
  """What a network has seen of its batches, {} of one that keeps nothing."""
  return {name: part for name, part in variables.items() if name == STATISTICS}


def critic_slices(batch: Any, critic_steps: int) -> Any:
  """(N, ...) -> (critic_steps, N / critic_steps, ...): fresh images for every critic step.

  Raises:
    ValueError: the batch on one device does not divide.
  """
  size = len(jax.tree.leaves(batch)[0])
  if size % critic_steps:
    raise ValueError(
      f'{size} images a device cannot be divided among objective.critic_steps={critic_steps}: make '
      'batch_size a multiple of devices times critic_steps'
    )
  return jax.tree.map(lambda a: a.reshape(critic_steps, size // critic_steps, *a.shape[1:]), batch)


def game_arguments(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The fields of `config.objective` that are arguments of `game`, or of a loss."""
  return {name: value for name, value in arguments(config.objective).items() if name != 'latent'}


def optimizers_of(
  config: ml_collections.ConfigDict, critic_steps: int
) -> dict[str, optax.GradientTransformation]:
  """Both players' optimizers as a config describes them.

  Schedules count the generator's steps for both players, so that their warmups end together.
  """
  critic = config.critic_optimizer.to_dict()
  critic['warmup_steps'] = critic_steps * critic.get('warmup_steps', 0)
  return {
    'generator': optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    'critic': optimizers.find_optimizer(**critic, num_steps=config.num_steps * critic_steps),
  }
