"""Checkpoints of diffusers' `UNet2DModel`, as models that are sampled and scored like any other.

>>> model = jaxgen.load_diffusers('ddpm-cifar10-32', 'experiments/ddpm.py', name='ddim')
>>> np.savez('theirs.npz', samples=model.sample(1000))

Read from a folder with a `config.json` and a `diffusion_pytorch_model.safetensors`, or from one of
a whole pipeline, whose `unet` and `scheduler` lie in folders; nothing in them is executed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from jaxgen import configuration, objectives, safetensors
from jaxgen.datasets.splits import Facts
from jaxgen.devices.parallel import TrainState
from jaxgen.diffusers_checkpoint import fields, from_theirs
from jaxgen.errors import UserError
from jaxgen.model import Model

WEIGHTS = 'diffusion_pytorch_model.safetensors'
SCHEDULES = {'linear': 'linear', 'squaredcos_cap_v2': 'cosine'}
VARIANCES = {'fixed_small': 'small', 'fixed_large': 'large'}
PROCESSES = 'DDPMScheduler', 'DDIMScheduler'
FIXED_NOISE = {  # fields of a scheduler -> what the objective has
  **{'trained_betas': None, 'rescale_betas_zero_snr': False, 'thresholding': False},
  'clip_sample_range': 1.0,
}


def load(folder: str | Path, experiment: str, **sampler: Any) -> Model:
  """The model in a folder, in the place of what an experiment of the objective `ddpm` would train.

  Args:
    folder: of a network, or of a pipeline with one.
    experiment: 'experiments/ddpm.py' or another file with its sections.
    **sampler: fields of the config's section `sampler` to change, as in name='ddim', steps=50.

  Raises:
    UserError: a file is missing or damaged, or says something that is not to be had here.
  """
  folder = Path(folder).expanduser()
  overrides = [f'--config.sampler.{name}={value}' for name, value in sampler.items()]
  config = configuration.load(experiment, None, overrides)
  if config.objective.name != 'ddpm':
    raise UserError(f'{experiment} has the objective {config.objective.name!r}, not ddpm')
  unet = folder / 'unet' if (folder / 'unet').is_dir() else folder
  about = read_json(unet / 'config.json')
  config.network = ml_collections.ConfigDict(
    {'name': 'diffusers_unet', **fields(about), 'dtype': 'float32'}
  )
  scheduler = folder / 'scheduler' if unet != folder else folder
  if (scheduler / 'scheduler_config.json').exists():
    schedule(config, read_json(scheduler / 'scheduler_config.json'))
    config.sampler.update(sampler)  # what is asked for goes before what a scheduler says
  size = about['sample_size']
  height, width = size if isinstance(size, list) else (size, size)
  facts = Facts((height, width, about.get('in_channels', 3)), 0)
  objective = objectives.find_objective(config, facts)
  like, _ = jax.eval_shape(objective.init, jax.random.key(0))
  params = from_theirs(safetensors.read(unet / WEIGHTS), like)
  state = TrainState(jnp.int32(0), params, (), params)
  return Model(config, objective, facts, state)


def read_json(path: Path) -> dict[str, Any]:
  """What a file says.

  Raises:
    UserError: it cannot be read, or is no object.
  """
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'cannot read {path}: {error}') from error
  if not isinstance(found, dict):
    raise UserError(f'{path} holds {type(found).__name__}, not an object')
  return found


def schedule(config: ml_collections.ConfigDict, about: Mapping[str, Any]) -> None:
  """Sets the objective's steps and noise, and the sampler's clipping, to those of a scheduler.

  Raises:
    UserError: it has a noise or a prediction that the objective has not.
  """
  betas, steps = about.get('beta_schedule', 'linear'), about.get('num_train_timesteps', 1000)
  wanted = {
    '_class_name': (about.get('_class_name', PROCESSES[0]), PROCESSES),
    **{name: (about.get(name, known), (known,)) for name, known in FIXED_NOISE.items()},
    'beta_schedule': (betas, tuple(SCHEDULES)),
    'variance_type': (about.get('variance_type', 'fixed_small'), tuple(VARIANCES)),
    'prediction_type': (about.get('prediction_type', 'epsilon'), ('epsilon',)),
  }
  if betas == 'linear':  # in T steps those of a thousand, scaled
    for name, of_a_thousand in {'beta_start': 1e-4, 'beta_end': 0.02}.items():
      known = round(of_a_thousand * 1000 / steps, 9)
      wanted[name] = round(about.get(name, of_a_thousand), 9), (known,)
  for name, (value, known) in wanted.items():
    if value not in known:
      choices = ' or '.join(map(str, known))
      raise UserError(f'the scheduler has {name}={value!r}, and jaxgen {choices} alone')
  config.objective.timesteps = steps
  config.objective.schedule = SCHEDULES[betas]
  config.objective.variance = VARIANCES[wanted['variance_type'][0]]
  config.sampler.clip = about.get('clip_sample', True)
