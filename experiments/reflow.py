"""Reflow: a straighter flow, learned from a trained one (Liu et al. 2023), in two commands:

python -m jaxgen.main --config=experiments/flow_matching.py:mnist --workdir=runs/flow
python -m jaxgen.main --config=experiments/reflow.py:mnist --config.objective.teacher=runs/flow
"""

import ml_collections

from experiments import flow_matching


def get_config(dataset: str = 'digits') -> ml_collections.ConfigDict:
  config = flow_matching.get_config(dataset)
  config.objective.name = 'reflow'
  # Folder of the run that trained the flow, on the same data: flow matching, EDM, or what else goes
  # from noise to images without labels. Read when training begins, and not needed after.
  config.objective.teacher = ''
  config.teacher = flow_matching.get_config(dataset)  # replaced by the config of that run
  config.objective.teacher_steps = 10  # Heun's, of two network evaluations each, to a pair
  config.objective.repeats = 4  # times at which an update looks at each pair, as pairs are dear
  del config.objective.path, config.objective.coupling  # straight lines between the two of a pair
  del config.objective.conditional, config.objective.label_dropout
  del config.sampler.guidance, config.sampler.guidance_min, config.sampler.guidance_max
  del config.evaluation.likelihood_steps
  config.sampler.order = 1  # Euler's method
  config.sampler.steps = 2
  config.evaluation.training_samples = 1000
  return config
