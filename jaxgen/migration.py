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
  'cgan': {'objective.generator_loss': 'objective.loss'},
}

# Numbers that checkpoint.best may name, by their names today.
RENAMED = {
  'ddpm': {'loss': 'noise_squared_error'},
  'flow_matching': {'loss': 'velocity_squared_error'},
  'wgan': {'distance': 'distance_in_critic_units'},
  'vae': {
    'elbo_nats': 'elbo_{measure}_nats',
    'importance_weighted_nats': 'importance_weighted_{samples}_{measure}_nats',
    'reconstruction_nats': 'reconstruction_{measure}_nats',
  },
}
MEASURES = {'bernoulli': 'bernoulli_surrogate', 'gaussian': 'gaussian_density'}

# What was so before it could be chosen: of every config, of a network's, and of an objective's.
DEFAULTS: dict[str, Any] = {
  'evaluation.classifier_weights': '',
  'evaluation.raw': True,
  'init_from': '',
  'data.binarize': 'none',
  'data.flip': False,
  'data.crop': 0,
  'accumulate': 1,
  'tracker': '',
  'experiment': '',
}
NETWORK_DEFAULTS: dict[str, dict[str, Any]] = {
  'unet': {
    'network.remat': False,
    'network.dropout': 0.0,
    'network.conditioning': 'scale_and_shift',
    'network.clock': 'sines',
  },
  'transformer': {'network.remat': False},
}
OWN_DEFAULTS: dict[str, dict[str, Any]] = {
  'adversarial': {
    'objective.conditional': 'none',
    'objective.translation': 0,
    'objective.augmentation': 1.0,
    'objective.adaptive': False,
    'sampler.truncation': 0.0,
  },
  'vae': {
    'objective.posterior': 'diagonal',
    'objective.flows': 0,
    'objective.bound': 'elbo',
    'objective.gradient': 'naive',
    'objective.free_bits': 0.0,
    'objective.warm_up_steps': 0,
  },
  'ddpm': {
    'sampler.grid': '',
    'sampler.sigma_min': 0.0,
    'sampler.sigma_max': 0.0,
    'sampler.rho': 0.0,
    'sampler.order': 0,
    'sampler.inner': 0,
    'sampler.rate': 0.0,
    'sampler.snr': 0.0,
    'sampler.churn': 0.0,
    'sampler.churn_min': 0.0,
    'sampler.churn_max': 0.0,
    'sampler.churn_noise': 0.0,
    'sampler.tolerance': 0.0,
  },
  'diffusion': {'sampler.tolerance': 0.0},
  'vdm': {'sampler.tolerance': 0.0},
}

# Objectives that are settings of another one today: all that makes that one do what they did.
REPLACED = {
  'cgan': {
    'objective': {
      'name': 'adversarial',
      'constraint': 'none',
      'penalty': 1.0,
      'clip': 0.01,
      'conditional': 'concatenation',
      'translation': 0,
      'augmentation': 1.0,
      'adaptive': False,
    },
    'sampler': {'truncation': 0.0},
  },
  'flow_matching': {
    'objective': {
      'name': 'diffusion',
      'path': 'straight',
      'prediction': 'velocity',
      'weighting': 'output',
      'density': 'uniform',
      'P_mean': 0.0,
      'P_std': 1.2,
      'levels': 0,
      'stratified': False,
      'coupling': 'independent',
      'sigma_data': 1.0,
      'mean': 0.0,
      'unit_input': False,
      'conditional': False,
      'label_dropout': 0.0,
    },
    'network': {'dropout': 0.0},
    'evaluation': {'likelihood_steps': 0},
    'sampler': {
      'name': 'probability_flow',
      'grid': 'time',
      'sigma_min': 0.01,
      'order': 2,
      'inner': 0,
      'clip': False,
      'guidance': 1.0,
      **dict.fromkeys(
        ('sigma_max', 'rho', 'eta', 'rate', 'snr', 'tolerance', 'guidance_min', 'guidance_max'), 0.0
      ),
      **dict.fromkeys(('churn', 'churn_min', 'churn_max', 'churn_noise'), 0.0),
    },
  },
}


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
  if 'classifier_weights' not in config.get('evaluation', {}):  # which every newer one has
    rename(config, objective)
  for before, now in MOVED.get(objective, {}).items():
    group, field = before.split('.')
    if field in config.get(group, {}):
      put(config, now, config[group].pop(field))
  network = NETWORK_DEFAULTS.get(config.get('network', {}).get('name'), {})
  for name, value in (DEFAULTS | OWN_DEFAULTS.get(objective, {}) | network).items():
    put(config, name, value, keep=True)
  network = config.get('network')
  r3gan = isinstance(network, dict) and network.get('name') == 'r3gan' and 'blocks' in network
  if r3gan and 'expansion' not in network:  # which `r3gan.py` names today, beside its blocks
    before = {'expansion': 1, 'groups': 1, 'bias': True, 'aligned': True}
    config['network'] = before | network
  if objective in REPLACED and not config['experiment']:
    config['experiment'] = objective  # by which reports went on to call it
  for group, fields in REPLACED.get(objective, {}).items():
    for field, value in fields.items():
      put(config, f'{group}.{field}', value)
  return config


def rename(config: dict[str, Any], objective: str) -> None:
  """Gives an older config the names that mean today what its own meant then."""
  for name in ('optimizer', 'critic_optimizer'):
    section = config.get(name)
    if isinstance(section, dict) and section.get('name') == 'sgd':
      section['name'] = 'momentum'
  fields, kept = config['objective'], config.get('checkpoint')
  likelihood = fields.get('likelihood')
  if likelihood == 'bernoulli':
    fields['log_variance'] = 0.0  # it had no effect, and is refused today
  if isinstance(kept, dict) and isinstance(kept.get('best'), str):
    split, slash, name = kept['best'].rpartition('/')
    now = RENAMED.get(objective, {}).get(name, name)
    words = {
      'measure': MEASURES.get(likelihood, likelihood),
      'samples': fields.get('importance_samples'),
    }
    kept['best'] = f'{split}{slash}{now.format(**words)}'


def put(config: dict[str, Any], name: str, value: Any, keep: bool = False) -> None:
  """Sets `section.field`, or a field of no section, unless it is to be kept where it is there."""
  group, dot, field = name.rpartition('.')
  section = config.setdefault(group, {}) if dot else config
  if isinstance(section, dict) and not (keep and field in section):
    section[field] = value
