"""The fields of a config: which may change, what else they are called, what their files say."""

import ast
import difflib
import io
import sys
import textwrap
import tokenize
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections

# Fields that change what is watched and kept, not what is computed: a run may resume with others.
# Data may move, and be held in memory or not: `workdir.describe` checks that they are the same.
FREE = (
  *('log_every', 'checkpoint.', 'evaluation.', 'sampler.', 'tracker', 'experiment'),
  *('data.path', 'data.memory_limit', 'cpu_devices'),
)

# Sections that are the configs of other runs, which have finished; fields of `objective` name their
# folders.
FIRST_STAGES = 'autoencoder', 'teacher'

# What each is of one sampler alone, or of few: 0 where another samples.
OF_FEW_SAMPLERS = (
  *('eta', 'order', 'inner', 'rate', 'snr', 'tolerance'),
  *('churn', 'churn_min', 'churn_max', 'churn_noise'),
)

# What fields are called elsewhere -> the end of their names here.
SYNONYMS = {
  **dict.fromkeys(('lr', 'rate', 'step_size'), 'learning_rate'),
  **dict.fromkeys(('bs', 'batch', 'batchsize', 'train_batch_size'), 'batch_size'),
  **dict.fromkeys(('epochs', 'num_epochs', 'steps', 'max_steps', 'train_steps'), 'num_steps'),
  **dict.fromkeys(('iterations', 'iters', 'num_iterations', 'num_train_steps'), 'num_steps'),
  **dict.fromkeys(('dataset', 'ds', 'data_name', 'dataset_name'), 'data.name'),
  **dict.fromkeys(('data_dir', 'data_path', 'root', 'dataroot'), 'data.path'),
  **dict.fromkeys(('img_size', 'resolution'), 'image_size'),
  **dict.fromkeys(('model', 'method'), 'objective.name'),
  **dict.fromkeys(('arch', 'architecture', 'backbone', 'net'), 'network.name'),
  **dict.fromkeys(('opt', 'optim'), 'optimizer.name'),
  **dict.fromkeys(('scheduler', 'lr_schedule', 'lr_scheduler'), 'schedule'),
  **dict.fromkeys(('warmup', 'num_warmup_steps'), 'warmup_steps'),
  **dict.fromkeys(('beta1', 'beta_1', 'betas', 'momentum'), 'b1'),
  **dict.fromkeys(('beta2', 'beta_2'), 'b2'),
  **dict.fromkeys(('wd', 'l2'), 'weight_decay'),
  **dict.fromkeys(('grad_clip', 'clip_grad', 'clip_grad_norm', 'max_grad_norm'), 'clip_norm'),
  **dict.fromkeys(('ema', 'ema_rate', 'polyak'), 'ema_decay'),
  **dict.fromkeys(('random_seed', 'rng', 'manual_seed'), 'seed'),
  **dict.fromkeys(('latent_dim', 'z_dim', 'nz', 'latent_size', 'zdim', 'dim'), 'latent'),
  **dict.fromkeys(('hidden_dim', 'hidden_size', 'hidden_dims', 'width'), 'hidden'),
  **dict.fromkeys(('n_critic', 'ncritic', 'd_steps'), 'critic_steps'),
  **dict.fromkeys(('lambda_gp', 'gp_weight', 'gp'), 'penalty'),
  **dict.fromkeys(('num_timesteps', 't', 'diffusion_steps'), 'timesteps'),
  **dict.fromkeys(('sampling_steps', 'num_inference_steps', 'nfe'), 'sampler.steps'),
  **dict.fromkeys(('guidance_scale', 'cfg', 'cfg_scale'), 'sampler.guidance'),
  **dict.fromkeys(('precision', 'fp16', 'bf16', 'amp'), 'network.dtype'),
  **dict.fromkeys(('gradient_accumulation_steps', 'grad_accum', 'accumulation'), 'accumulate'),
  **dict.fromkeys(('gradient_checkpointing', 'checkpointing', 'rematerialize'), 'remat'),
  **dict.fromkeys(('log_interval', 'print_every', 'log_freq'), 'log_every'),
  **dict.fromkeys(('save_every', 'save_interval', 'checkpoint_every'), 'checkpoint.every'),
  **dict.fromkeys(('eval_every', 'eval_interval', 'eval_freq'), 'evaluation.every'),
  **dict.fromkeys(('eval_batch_size', 'test_batch_size'), 'evaluation.batch_size'),
  **dict.fromkeys(('num_gpus', 'devices', 'num_devices'), 'cpu_devices'),
}

VALUE, KIND = 36, 13  # letters of the columns of a listing
KINDS = {int: 'whole number', float: 'number', bool: 'true or false', str: 'text'}


def first_stage(config: Collection[str]) -> str:
  """The section of the run on which a config's own stands; '' where there is none."""
  return next((name for name in FIRST_STAGES if name in config), '')


def sampler(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The config's section on sampling, {} of a model that needs none."""
  return config.get('sampler', ml_collections.ConfigDict()).to_dict()


def for_another_sampler(
  config: ml_collections.ConfigDict, before: Mapping[str, Any], overrides: Collection[str]
) -> ml_collections.ConfigDict:
  """Sets to 0 what was of the sampler before, where overrides name another and do not name it."""
  if before.get('sampler.name') not in (None, dict(flatten(config.to_dict())).get('sampler.name')):
    given = {argument.removeprefix('--config.').partition('=')[0] for argument in overrides}
    for name in OF_FEW_SAMPLERS:
      if name in config.sampler and f'sampler.{name}' not in given:
        config.sampler[name] = type(config.sampler[name])(0)
  return config


def own_name(name: str) -> str:
  """A field's name in the config that it is of, `network.width` for `autoencoder.network.width`."""
  section, _, rest = name.partition('.')
  return rest if section in FIRST_STAGES else name


def flatten(tree: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """A nested dict as (dotted name, value) pairs."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from flatten(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value


def experiment_of(source: str) -> str:
  """What an experiment is called, by its file: experiments/vae.py:mnist -> vae."""
  return Path(source.partition(':')[0]).stem


def meant_by(field: str, known: Collection[str]) -> list[str]:
  """The known fields that an unknown one may have been meant for; none where nothing is near it.

  Those with another name elsewhere and those that end so, in the section that was named if there
  are any; else the one whose letters are the most alike.
  """
  section, _, word = field.lower().replace('-', '_').rpartition('.')
  other = SYNONYMS.get(word, word)
  found = [other] if other in known else ending(known, other)
  found += ending(known, word, f'{word}.name')
  inside = [name for name in found if section and name.startswith(f'{section}.')]
  close = inside or found or difflib.get_close_matches(field, known, n=1, cutoff=0.5)
  return list(dict.fromkeys(close))


def ending(names: Collection[str], *ends: str) -> list[str]:
  """The dotted names whose last parts are one of these."""
  return [name for name in names if f'.{name}'.endswith(tuple(f'.{end}' for end in ends))]


def comments(source: Path) -> dict[str, str]:
  """What stands beside or above the fields in an experiment's file, and in those that it imports.

  The file has been executed. Where both it and one that it imports say something, both are given.
  What holds for one dataset alone, inside an `if`, is left out.
  """
  text = source.read_text()
  tree, said = ast.parse(text), {}
  others = {path.stem: comments(path) for path in imported(tree, source)}
  for words in others.values():
    said |= words
  beside, alone = comments_of_lines(text)
  for name, statement in assignments(tree):
    if called(statement.value) == 'ConfigDict':  # a section begins anew
      said = {field: words for field, words in said.items() if not field.startswith(f'{name}.')}
    if called(statement.value) == 'get_config':  # it is the whole config of another experiment
      other = others.get(ast.unparse(statement.value.func).partition('.')[0], {})
      said |= {f'{name}.{field}': words for field, words in other.items()}
    above, line = [], statement.lineno - 1
    while line in alone:
      above.insert(0, alone[line])
      line -= 1
    lines = range(statement.lineno, statement.end_lineno + 1)
    words = ' '.join(above + [beside[line] for line in lines if line in beside])
    if words and words not in said.get(name, ''):
      said[name] = f'{said[name]}; {words}' if name in said else words
  return said


def imported(tree: ast.Module, source: Path) -> Iterator[Path]:
  """The files of experiments, or beside this one, that it has imported."""
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        module = sys.modules.get(f'{node.module}.{alias.name}')
        file = Path(getattr(module, '__file__', None) or '')
        if module and (node.module == 'experiments' or file.parent == source.parent):
          yield file


def comments_of_lines(text: str) -> tuple[dict[int, str], dict[int, str]]:
  """The comments of a program by line: those that stand beside code, and those that stand alone."""
  beside, alone = {}, {}
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type == tokenize.COMMENT:
      place = beside if token.line[: token.start[1]].strip() else alone
      place[token.start[0]] = token.string.lstrip('# ')
  return beside, alone


def assignments(tree: ast.Module) -> Iterator[tuple[str, ast.Assign]]:
  """The fields that the functions of a file set, as in `config.data.name = ...`.

  In a function that fills another variable than `config`, the section is called as the function.
  """
  for function in tree.body:
    for statement in function.body if isinstance(function, ast.FunctionDef) else ():
      for target in statement.targets if isinstance(statement, ast.Assign) else ():
        root, _, field = ast.unparse(target).partition('.')
        if field:
          yield field if root == 'config' else f'{function.name}.{field}', statement


def called(value: ast.expr) -> str:
  """The last name of what an expression calls; '' where it calls nothing."""
  return ast.unparse(value.func).rpartition('.')[2] if isinstance(value, ast.Call) else ''


def listing(fields: Mapping[str, Any], said: Mapping[str, str], width: int = 100) -> str:
  """A line for each field: its value, type, and what is said of it; a star if it may change later.

  Args:
    fields: dotted names -> values.
    said: of `comments`; all optimizers share what is said of the fields of one.
    width: of the lines, in letters.
  """
  lines = []
  for name, value in fields.items():
    section, _, word = name.rpartition('.')
    common = f'optimizer.{word}' if section.endswith('_optimizer') else name
    shown = str(value).replace(' ', '') if isinstance(value, tuple) else value
    left = f'{"*" if name.startswith(FREE) else " "} {name}={shown}'
    start = f'{left:<{VALUE}} {kind(value):<{KIND}} '
    words = said.get(name) or said.get(common, '')
    below = ' ' * (VALUE + KIND + 2)
    lines.append(textwrap.fill(start + words, width, subsequent_indent=below).rstrip())
  return '\n'.join(lines)


def kind(value: Any) -> str:
  """The type of a field, in a word or two."""
  if isinstance(value, tuple):
    return f'{KINDS[type(value[0])]}s' if value and type(value[0]) in KINDS else 'a tuple'
  return KINDS[type(value)]
