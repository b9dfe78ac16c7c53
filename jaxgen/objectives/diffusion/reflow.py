"""Reflow: a flow learned anew on the pairs that a trained one makes (Liu et al. 2023, sec. 2.2).

Symbols: eps noise, x the image to which the teacher's flow takes it, x_t = (1 - t) x + t eps with
the velocity x - eps. Lines between such pairs hardly cross, so that the flow learned on them is
straighter, and its samples need fewer steps. As each image has its own noise, the student knows no
score: samplers that add noise, inpainting and redrawing are none of its. The teacher is the flow of
another run, whose parameters stay as they are; they are kept beside the student's, so that a
checkpoint needs no other folder.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.objectives import base, find_objective
from jaxgen.objectives.base import (
  Example,
  Image,
  Key,
  Keys,
  Memory,
  Metrics,
  Objective,
  Params,
)
from jaxgen.objectives.diffusion import diffusion, quantiles
from jaxgen.objectives.diffusion.diffusion import Loss, with_dropout
from jaxgen.objectives.diffusion.samplers import Descent
from jaxgen.objectives.diffusion.trajectory import strata

# What of `diffusion` is no choice here: lines between the two of a pair, whatever their class.
OBJECTIVE = {
  'path': 'straight',
  'coupling': 'independent',
  'conditional': False,
  'label_dropout': 0.0,
}
ABILITIES = 'sample', 'encode', 'decode'  # of the student
NOISY = 'ancestral', 'euler_maruyama', 'langevin', 'predictor_corrector'  # samplers


def pair(
  teacher: Objective, params: Params, shape: tuple[int, ...], key: Key
) -> tuple[Image, Image]:
  """eps, and x."""
  first, second = jax.random.split(key)
  eps = jax.random.normal(first, shape)
  return eps, teacher.decode(params['teacher'], eps, second)


def update(
  teacher: Objective,
  learn: Callable[..., tuple[Params, Memory, Metrics]],
  stratified: bool,
  repeats: int,
  params: Params,
  memory: Memory,
  examples: Example,
  keys: Keys,
  step: jax.Array,
) -> tuple[Params, Memory, Metrics]:
  """A step of the student on as many pairs as the batch has images, which themselves are not seen.

  Each pair is looked at `repeats` times, as it is dear: far apart in t where this is stratified.

  Args:
    teacher: the flow that makes the pairs.
    learn: `diffusion.update` of the student, from its coupling on.
    stratified: whether the times of the batch are spread evenly.
    repeats: how often.
    params: of both.
    memory: the student's.
    examples: (N,), of which only their number counts.
    keys: (N,).
    step: updates so far.
  """
  split = jax.vmap(jax.random.split)(keys)
  shape = examples.image.shape[1:]
  eps, x = base.each(lambda key: pair(teacher, params, shape, key), split[:, 0])
  eps, examples = jax.tree.map(
    lambda a: jnp.concatenate([a] * repeats), (eps, examples._replace(image=x))
  )
  keys = jax.vmap(lambda key: jax.random.split(key, repeats))(split[:, 1]).T.reshape(-1)
  student, memory, metrics = learn(
    lambda images, noises: eps, stratified, params['student'], memory, examples, keys, step
  )
  return params | {'student': student}, memory, metrics


def evaluate(
  teacher: Objective,
  loss: Loss,
  descent: Descent,
  name: str,
  times: int,
  params: Params,
  example: Example,
  key: Key,
) -> Metrics:
  """Of a pair, as no held-out image is one: the student's loss, and how far one step is from x."""
  first, second = jax.random.split(key)
  eps, x = pair(teacher, params, example.image.shape, first)
  places = quantiles.inside(strata(second, times) / times)
  errors = jax.vmap(lambda place: loss.integrand(params['student'], x, example.label, place, eps))(
    places
  )
  start = descent.from_noise(eps), jnp.float32(descent.start)
  x_0 = loss.denoiser.mean + loss.denoiser(params['student'], *start, example.label)
  return {
    f'pair_{name}': errors.mean(),
    'one_step_squared_error': jnp.mean((x_0 - x) ** 2),
  }


def reflow(student: Mapping[str, Any], teacher: Objective, repeats: int = 4) -> Objective:
  """A flow model that learns from another one.

  Args:
    student: what `diffusion` makes a model of.
    teacher: with `decode` of noise N(0, I) as large as an image; its parameters are never updated.
    repeats: times at which an update looks at each pair.

  Raises:
    ValueError: no repeats.
  """
  if repeats < 1:
    raise ValueError(f'objective.repeats={repeats} must be at least 1')
  model = diffusion.diffusion(**student)
  loss = Loss(*(student[name] for name in ('denoiser', 'density', 'weight')))

  def init(key: Key) -> tuple[Params, Memory]:
    """With a teacher drawn anew, in whose place a run puts the trained one."""
    first, second = jax.random.split(key)
    params, memory = model.init(first)
    return {'student': params, 'teacher': teacher.init(second)[0]}, memory

  looked_at = (student[name] for name in ('descent', 'name', 'times'))

  def of_student(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, *others: function(params['student'], *others)

  learn = partial(diffusion.update, partial(with_dropout, loss, 0.0), student['optimizer'])
  abilities = {name: of_student(getattr(model, name)) for name in ABILITIES}
  return model._replace(
    init=init,
    update=partial(update, teacher, learn, student['stratified'], repeats),
    evaluate=partial(evaluate, teacher, loss, *looked_at),
    figures={name: of_student(figure) for name, figure in model.figures.items()},
    averaged={'student': True, 'teacher': False},
    inpaint=None,
    edit=None,
    **abilities,
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The student that a config describes, of the model in its section `teacher`.

  Raises:
    ValueError: a teacher that is no flow, a sampler that adds noise, or an ordered reduction: one
      device alone was seen to round these updates otherwise than two and four, in the last bit.
  """
  if config.reduction == 'ordered':
    raise ValueError(
      "reduction='ordered' does not keep the bits of reflow on other numbers of devices: set it to "
      'mean'
    )
  first = ml_collections.ConfigDict(config.teacher.to_dict())
  if 'steps' in first.get('sampler', {}):
    first.sampler.steps = config.objective.teacher_steps
  teacher = find_objective(first, facts)
  require_flow(teacher, config, facts)
  require_no_noise(config.sampler)
  own = ml_collections.ConfigDict(config.to_dict())
  repeats = own.objective.repeats
  del own.objective.teacher, own.objective.teacher_steps, own.objective.repeats
  own.objective.update(OBJECTIVE)
  own.sampler.update({'guidance': 1.0, 'guidance_min': 0.0, 'guidance_max': 0.0})
  own.evaluation.likelihood_steps = 0
  return reflow(diffusion.parts(own, facts), teacher, repeats)


def require_flow(teacher: Objective, config: ml_collections.ConfigDict, facts: Facts) -> None:
  """Raises ValueError where a teacher does not take noise as large as an image to an image."""
  shape, key = None, jax.random.key(0)
  if teacher.encode and teacher.decode:
    params, _ = jax.eval_shape(teacher.init, key)
    image = jax.ShapeDtypeStruct(facts.image_shape, jnp.float32)
    shape = jax.eval_shape(teacher.encode, params, image, key).shape
  if shape != facts.image_shape:
    raise ValueError(
      f'objective.teacher={config.objective.teacher!r} is of the objective '
      f'{config.teacher.objective.name!r}, which has no flow from noise to images: name a run of '
      'experiments/flow_matching.py or edm.py'
    )


def require_no_noise(sampler: ml_collections.ConfigDict) -> None:
  """Raises ValueError for a sampler that adds noise on its way."""
  if sampler.name in NOISY or sampler.eta or sampler.churn:
    raise ValueError(
      f'sampler.name={sampler.name!r} with sampler.eta={sampler.eta} and sampler.churn='
      f'{sampler.churn} adds noise, which is not that of the pairs: choose probability_flow, or '
      'another sampler that follows the flow alone, with eta and churn 0'
    )
