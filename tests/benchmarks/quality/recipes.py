"""What is trained beside what: each family's recipes, jaxgen's first."""

from tests.benchmarks.contender import Contender

FAMILIES = ('diffusion', 'gan', 'vae')
GOALS = {'diffusion': 4.0, 'gan': 3.0, 'vae': 2.0}  # times sooner at the peer's distance
WHERE = {'mnist': ':mnist', 'digits': ''}  # what an experiment's name takes after it
# No rate of jaxgen's falls, so that its curve is that of one recipe, wherever training ends.
EVER = ('optimizer.schedule=constant',)


def contenders(
  family: str, data: str = 'mnist', path: str = '', accelerator: bool = False
) -> dict[str, Contender]:
  """The contenders of a family by label.

  Args:
    family: one of FAMILIES.
    data: mnist or digits.
    path: where prepared datasets lie, '' for the usual place.
    accelerator: whether there is a GPU, which dispatches many updates at once and draws large
      chunks.
  """

  def contender(side: str, experiment: str, *fields: str) -> Contender:
    fields = (*fields, f'data.path={path}') if path else fields
    overrides = tuple(f'--config.{field}' for field in fields)
    return Contender(side, family, f'experiments/{experiment}.py{WHERE[data]}', overrides)

  def ours(experiment: str, calls: int, *fields: str) -> Contender:
    more = (f'steps_per_call={calls}', 'evaluation.batch_size=500') if accelerator else ()
    return contender('jaxgen', experiment, *fields, *more)

  chunk = f'evaluation.batch_size={500 if accelerator else 50}'
  if family == 'diffusion':
    return {
      'jaxgen, EDM': ours('edm', 20, *EVER),
      'diffusers, DDPM': contender('diffusers', 'ddpm', 'optimizer.learning_rate=1e-4', chunk),
      "diffusers, DDPM at jaxgen's rate": contender('diffusers', 'ddpm', chunk),
    }
  if family == 'gan':
    return {
      'jaxgen, GAN': ours('gan', 50),
      'jaxgen, hinge GAN': ours('hinge_gan', 50),
      'PyTorch, DCGAN': contender('pytorch', 'gan', 'batch_size=128'),
    }
  return {
    'jaxgen, VAE': ours('vae', 100),
    'jaxgen, VAE at 3e-3': ours('vae', 100, 'optimizer.learning_rate=3e-3'),
    'jaxgen, hierarchical VAE': ours('hierarchical_vae', 100),
    'PyTorch, VAE': contender('pytorch', 'vae', 'batch_size=128'),
  }
