"""Configs of older workdirs under today's names, so that they resume, sample and evaluate."""

from typing import Any

# Where fields have moved, by objective.
MOVED = {
  'ddpm': {
    'objective.sampler': 'sampler.name',
    'objective.sampling_steps': 'sampler.steps',
    'objective.eta': 'sampler.eta',
    'objective.clip': 'sampler.clip',
    'objective.bound_samples': 'evaluation.bound_samples',
  },
  'flow_matching': {
    'objective.sampling_steps': 'sampler.steps',
    'objective.evaluation_times': 'evaluation.times',
  },
  'vae': {'objective.importance_samples': 'evaluation.importance_samples'},
}

# What was so before it could be chosen: of every config, and of an objective's.
DEFAULTS = {'evaluation.classifier_weights': ''}
OWN_DEFAULTS = {'flow_matching': {'sampler.name': 'heun'}}


def modernise(saved: dict[str, Any]) -> dict[str, Any]:
  """A saved config with every field where it is today; one of today is as it was.

  Args:
    saved: sections by name, as in config.json.
  """
  config = {name: dict(v) if isinstance(v, dict) else v for name, v in saved.items()}
  section = config.get('objective')
  objective = section.get('name') if isinstance(section, dict) else None
  if not isinstance(objective, str):
    return config
  for before, now in MOVED.get(objective, {}).items():
    group, field = before.split('.')
    if field in config.get(group, {}):
      put(config, now, config[group].pop(field))
  for name, value in (DEFAULTS | OWN_DEFAULTS.get(objective, {})).items():
    put(config, name, value, keep=True)
  return config


def put(config: dict[str, Any], name: str, value: Any, keep: bool = False) -> None:
  """Sets `section.field`, unless it is to be kept where it is there."""
  group, field = name.split('.')
  section = config.setdefault(group, {})
  if isinstance(section, dict) and not (keep and field in section):
    section[field] = value
