"""Building an objective: a config that does not fit is the user's fault, all else is shown."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_collections
import pytest

from jaxgen import configuration, objectives
from jaxgen.datasets.splits import Facts
from jaxgen.errors import UserError
from jaxgen.objectives import optimizers
from jaxgen.objectives.adversarial.game import game
from jaxgen.objectives.diffusion import ddpm
from jaxgen.objectives.variational import vae
from tests.examples import facts

EXPERIMENTS = Path(__file__).parent.parent / 'experiments'
FACTS = facts((8, 8, 1))


def config() -> ml_collections.ConfigDict:
  return configuration.execute(f'{EXPERIMENTS}/vae.py')


def test_an_authors_own_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
  def faulty(config: ml_collections.ConfigDict, facts: Facts) -> None:
    return len(3)

  monkeypatch.setattr(vae, 'build', faulty)
  with pytest.raises(TypeError, match="object of type 'int' has no len"):
    objectives.find_objective(config(), FACTS)


@pytest.mark.parametrize('section', ['objective', 'network', 'optimizer'])
def test_a_field_that_nothing_takes_is_named(section: str) -> None:
  fields = config()
  fields[section].momentun = 0.9
  with pytest.raises(UserError, match=r"objective 'vae' cannot be built .* 'momentun'"):
    objectives.find_objective(fields, FACTS)


@pytest.mark.parametrize(
  ('experiment', 'field'),
  [
    ('vae', 'optimizer.learning_rate'),
    ('vae', 'evaluation.importance_samples'),
    ('ddpm', 'sampler'),
    ('flow_matching', 'evaluation.times'),
    ('gan', 'objective.critic_steps'),
    ('gan', 'critic_optimizer'),
  ],
)
def test_a_field_that_is_missing_is_named(experiment: str, field: str) -> None:
  fields = configuration.execute(f'{EXPERIMENTS}/{experiment}.py')
  section, _, name = field.rpartition('.')
  del (fields[section] if section else fields)[name]
  with pytest.raises(UserError, match=rf'cannot be built .*{name}'):
    objectives.find_objective(fields, FACTS)


@pytest.mark.parametrize(
  ('factory', 'experiment'),
  [(vae.vae, 'vae'), (ddpm.ddpm, 'ddpm')],
)
def test_a_factorys_defaults_are_those_of_its_experiment(
  factory: Callable[..., Any], experiment: str
) -> None:
  fields = configuration.execute(f'{EXPERIMENTS}/{experiment}.py:mnist')
  sampler = fields.get('sampler', {})
  known = {**fields.evaluation, **sampler, 'sampler': sampler.get('name'), **fields.objective}
  defaults = defaults_of(factory)
  assert defaults
  assert defaults == {name: known[name] for name in defaults}


def test_an_optimizers_defaults_are_those_of_the_experiments() -> None:
  fields = configuration.execute(f'{EXPERIMENTS}/vae.py').optimizer
  defaults = defaults_of(optimizers.find_optimizer)
  known = {'eps': 1e-8, **fields}  # as in the papers of Adam and RMSProp, which no experiment names
  assert defaults == {name: known[name] for name in defaults}
  assert defaults_of(game)['critic_steps'] == 1  # as in algorithm 1 of the GAN's paper


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
  """The arguments that may be left out, with their values."""
  parameters = inspect.signature(function).parameters.values()
  return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize('name', ['vae', 'ddpm'])
def test_build_hands_every_field_to_its_factory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
  """Each under its own name, from the sections that objectives read."""
  module = {'vae': vae, 'ddpm': ddpm}[name]
  parameters = inspect.signature(getattr(module, name)).parameters
  monkeypatch.setattr(module, name, lambda *given, **named: (given, named))
  fields = configuration.execute(f'{EXPERIMENTS}/{name}.py')
  if name == 'vae':
    fields.objective.posterior = 'planar'  # which has steps to count
  expected = {}
  for section in ('objective', 'sampler', 'evaluation'):
    for field, value in fields.get(section, {}).items():
      if field in parameters and not isinstance(value, str):
        fields[section][field] = not value if isinstance(value, bool) else value + 3
        expected[field] = fields[section][field]
  _, handed = module.build(fields, FACTS)
  assert expected
  assert expected.items() <= handed.items()
