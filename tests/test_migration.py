"""Workdirs of before resume, sample and evaluate: their configs are read under today's names."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
import pytest

from jaxgen import configuration, objectives
from jaxgen.fields import flatten
from jaxgen.migration import modernise
from jaxgen.objectives import optimizers
from tests.examples import example, facts

EXPERIMENTS = Path(__file__).parent.parent / 'experiments'
RATE = optax.constant_schedule(0.1)
OLD = {
  'ddpm': {
    'objective': {
      'timesteps': 1000, 'schedule': 'linear', 'weighting': 'simple', 'variance': 'small',
      'sampler': 'ddim', 'sampling_steps': 50, 'eta': 0.5, 'clip': False, 'bound_samples': 3,
    },
    'now': {
      'sampler.name': 'ddim', 'sampler.steps': 50, 'sampler.eta': 0.5, 'sampler.clip': False,
      'evaluation.bound_samples': 3,
    },
  },
  'flow_matching': {
    'objective': {'sampling_steps': 20, 'evaluation_times': 4},
    'now': {
      'objective.name': 'diffusion', 'sampler.name': 'probability_flow', 'sampler.steps': 20,
      'evaluation.times': 4,
    },
  },
  'cgan': {
    'objective': {'latent': 100, 'critic_steps': 1, 'generator_loss': 'minimax'},
    'now': {
      'objective.name': 'adversarial', 'objective.loss': 'minimax', 'objective.constraint': 'none',
      'objective.conditional': 'concatenation', 'sampler.truncation': 0.0,
    },
  },
  'vae': {
    'objective': {
      'latent': 8, 'likelihood': 'bernoulli', 'log_variance': 0.0, 'learn_variance': False,
      'beta': 1.0, 'samples': 1, 'importance_samples': 7,
    },
    'now': {'evaluation.importance_samples': 7},
  },
}  # fmt: skip


def of_before(experiment: str) -> dict[str, Any]:
  """The config that an older jaxgen saved for this experiment."""
  config = configuration.execute(str(EXPERIMENTS / f'{experiment}.py')).to_dict()
  config.pop('sampler', None)
  for name in ('binarize', 'flip', 'crop'):
    config['data'].pop(name)
  for name in ('tracker', 'experiment'):
    config.pop(name)
  for name in ('bound_samples', 'times', 'importance_samples', 'classifier_weights', 'raw'):
    config['evaluation'].pop(name, None)
  config['objective'] = {'name': experiment} | OLD[experiment]['objective']
  return config


@pytest.mark.parametrize('experiment', OLD)
def test_an_old_config_is_read_under_todays_names(experiment: str, tmp_path: Path) -> None:
  (tmp_path / configuration.FILE).write_text(json.dumps(of_before(experiment)))
  found = dict(flatten(configuration.load(None, tmp_path, []).to_dict()))
  today = configuration.execute(str(EXPERIMENTS / f'{experiment}.py')).to_dict()
  assert found.keys() == dict(flatten(today)).keys()
  assert OLD[experiment]['now'].items() <= found.items()
  configuration.agree(configuration.load(None, tmp_path, []), tmp_path)


@pytest.mark.parametrize('experiment', ['wgan', 'gan', 'cgan', 'ddpm', 'flow_matching', 'vae'])
def test_todays_config_is_left_as_it_is(experiment: str) -> None:
  """Also the clip of a WGAN, which bears the name that a DDPM's had."""
  config = configuration.execute(str(EXPERIMENTS / f'{experiment}.py')).to_dict()
  assert modernise(config) == config


def test_an_old_conditional_gan_has_the_parameters_it_had_and_no_penalty() -> None:
  config = configuration.execute(str(EXPERIMENTS / 'gan.py')).to_dict()
  now = ml_collections.ConfigDict(
    modernise(config | {'objective': OLD['cgan']['objective'] | {'name': 'cgan'}})
  )
  assert now.experiment == 'cgan'
  model = objectives.find_objective(now, facts((8, 8, 1), classes=10))
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  kernels = {
    player: params[player]['params']['network']['Dense_0']['kernel'].shape for player in params
  }
  assert kernels == {'generator': (100 + 10, 256), 'critic': (2 * 64, 256)}
  metrics = jax.eval_shape(
    model.evaluate, params, example(jnp.zeros((8, 8, 1)), 3), jax.random.key(1)
  )
  assert 'penalty' not in metrics


def test_what_could_not_be_chosen_is_as_it_was() -> None:
  today = configuration.execute(str(EXPERIMENTS / 'hinge_gan.py')).to_dict()
  new = ('conditional', 'translation', 'augmentation', 'adaptive')
  fields = {n: v for n, v in today['objective'].items() if n not in new}
  before = {name: v for name, v in today.items() if name != 'sampler'} | {'objective': fields}
  assert modernise(before) == today


def test_r3gans_network_of_before_is_not_the_papers() -> None:
  today = configuration.execute(str(EXPERIMENTS / 'r3gan.py')).to_dict()
  assert modernise(today) == today
  new = ('expansion', 'groups')
  network = {name: value for name, value in today['network'].items() if name not in new}
  before = {'expansion': 1, 'groups': 1, 'bias': True, 'aligned': True}
  assert modernise(today | {'network': network}) == today | {'network': network | before}
  network.pop('blocks')  # as of another file, whose network was chosen on the command line
  assert modernise(today | {'network': network}) == today | {'network': network}


def test_a_sampler_of_before_is_on_no_grid() -> None:
  today = configuration.execute(str(EXPERIMENTS / 'ddpm.py')).to_dict()
  known = ('name', 'steps', 'eta', 'clip')
  before = today | {'sampler': {name: today['sampler'][name] for name in known}}
  assert modernise(before) == today


def test_a_network_of_before_computed_once_and_left_nothing_out() -> None:
  today = configuration.execute(str(EXPERIMENTS / 'ddpm.py')).to_dict()
  network = {n: v for n, v in today['network'].items() if n not in ('remat', 'dropout')}
  before = {n: v for n, v in today.items() if n != 'accumulate'} | {'network': network}
  assert modernise(before) == today
  others = {'network': network | {'name': 'mypackage.mynetwork'}}
  assert modernise(today | others) == today | others


def test_numbers_of_before_are_named_as_today() -> None:
  for experiment, before, now in (
    ('flow_matching', 'validation/loss', 'validation/velocity_squared_error'),
    ('ddpm', 'validation/bits_per_dimension', 'validation/bits_per_dimension'),
    ('vae', '-validation/elbo_nats', '-validation/elbo_bernoulli_surrogate_nats'),
    (
      'vae',
      '-validation/importance_weighted_nats',
      '-validation/importance_weighted_7_bernoulli_surrogate_nats',
    ),
    ('vae', 'score/fid', 'score/fid'),
  ):
    config = of_before(experiment)
    config['checkpoint']['best'] = before
    assert modernise(config)['checkpoint']['best'] == now


def test_what_had_no_effect_and_what_had_one_unsaid_are_set_right() -> None:
  config = of_before('vae')
  config['objective']['log_variance'] = -1.0  # of a Bernoulli likelihood
  config['optimizer']['name'] = 'sgd'  # which had momentum
  found = modernise(config)
  assert found['objective']['log_variance'] == 0.0
  assert found['optimizer']['name'] == 'momentum'
  assert modernise(found) == found


@pytest.mark.parametrize(
  ('name', 'before'),
  [
    ('adamw', optax.adamw(RATE)),
    ('rmsprop', optax.rmsprop(RATE, momentum=0.9)),
    ('momentum', optax.sgd(RATE, momentum=0.9)),
    ('adam', optax.adam(RATE)),
  ],
)
def test_states_of_optimizers_are_laid_out_as_before(
  name: str, before: optax.GradientTransformation
) -> None:
  """So that older checkpoints can be read; `sgd` of before is `momentum`."""
  params = {'kernel': jnp.ones((2, 3)), 'bias': jnp.ones(3)}
  today = optimizers.find_optimizer(name, 0.1, 10).init(params)
  old = optax.chain(before).init(params)
  assert jax.tree.structure(jax.tree.map(jnp.shape, today)) == jax.tree.structure(
    jax.tree.map(jnp.shape, old)
  )
