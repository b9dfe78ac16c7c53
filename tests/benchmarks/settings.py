"""What is compared: the measures of training, sampling, evaluation, and those of growth."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.benchmarks.contender import Contender, Measure

# What --smoke runs: one measure of each kind, one curve.
SMOKE = ('training vae', 'training unet', 'forward unet', 'sampling vae', 'classifier features')
BATCHES = (32, 64, 128, 256, 512)
DEVICES = (1, 2, 4, 8)


class Setting(NamedTuple):
  """A model as some experiment configures it, with the changes that make it comparable."""

  source: str
  overrides: tuple[str, ...] = ()
  image_shape: tuple[int, int, int] = (28, 28, 1)

  def contender(
    self, side: str, work: str, *more: str, variant: tuple[str, ...] = (), devices: int = 0
  ) -> Contender:
    """This model on one side, with further changes of its config."""
    fields = tuple(f'--config.{field}' for field in (*self.overrides, *more))
    return Contender(side, work, self.source, fields, self.image_shape, variant, devices)


VAE = Setting('experiments/vae.py:mnist')
GAN = Setting('experiments/gan.py:mnist', ('network.hidden=(1024,1024,1024)',))
WGAN = Setting('experiments/wgan.py:mnist')
UNET = Setting('experiments/ddpm.py:mnist')
# As near in work and in parameters as this U-Net comes to that of `batch_unet` with 32 features:
# 222 to 225 MFLOP and 0.41 to 0.47 million, at the same resolutions.
SMALL = Setting(
  'experiments/ddpm.py:mnist',
  (
    'network.patch=1',
    'network.multipliers=(1,1,1)',
    'network.attention=()',
    'optimizer.name=adamw',
    'optimizer.learning_rate=1e-4',
    'optimizer.weight_decay=0.01',
    'optimizer.schedule=constant',
    'optimizer.warmup_steps=0',
    'optimizer.clip_norm=0.0',
  ),
  (32, 32, 1),
)
TRANSFORMER = Setting('experiments/transformer.py:mnist')
# Of DDPM's paper for CIFAR-10, with attention at 16x16: what keeps a GPU busy.
LARGE = Setting(
  'experiments/ddpm.py:mnist',
  (
    'network.patch=1',
    'network.channels=128',
    'network.multipliers=(1,2,2,2)',
    'network.blocks=2',
    'batch_size=256',
  ),
  (32, 32, 3),
)
SETTINGS = {
  'vae': VAE,
  'gan': GAN,
  'wgan': WGAN,
  'unet': UNET,
  'unet-32': SMALL,
  'transformer': TRANSFORMER,
}
MORE_STEPS = {'vae': 100, 'gan': 50, 'wgan': 50}  # updates in one dispatch, beside the default
DIFFUSION = {'unet': UNET, 'unet-32': SMALL}
ONE_A_CORE = ('transformer', *DIFFUSION)  # whose experiments take as many virtual devices


def faster(setting: Setting, work: str, accelerator: bool, *more: str) -> dict[str, Contender]:
  """PyTorch compiled, and the forms that pay on an accelerator only."""
  if not accelerator or 'ddpm' not in setting.source:
    compiled = {'PyTorch, compiled': ('compile', 'fused')}
  else:
    compiled = {
      'PyTorch, compiled': ('compile', 'fused'),
      'PyTorch, compiled, channels last': ('compile', 'fused', 'channels_last'),
      'PyTorch, bf16': ('bf16', 'fused', 'channels_last'),
      'PyTorch, compiled, bf16': ('compile', 'fused', 'channels_last', 'bf16'),
    }
  found = {
    label: setting.contender('pytorch', work, *more, variant=variant)
    for label, variant in compiled.items()
  }
  if accelerator and 'ddpm' in setting.source:
    found['jaxgen, bf16'] = setting.contender('jaxgen', work, *more, 'network.dtype=bfloat16')
  return found


def training(accelerator: bool) -> Iterator[Measure]:
  """All families, as their experiments configure them."""
  for name, setting in SETTINGS.items():
    found = {'jaxgen': setting.contender('jaxgen', 'training')}
    if name in MORE_STEPS:
      steps = MORE_STEPS[name]
      found[f'jaxgen, {steps} steps a call'] = setting.contender(
        'jaxgen', 'training', f'steps_per_call={steps}'
      )
    if not accelerator:
      label, devices = ('1 device', 1) if name in ONE_A_CORE else ('2 devices', 2)
      found[f'jaxgen, {label}'] = setting.contender('jaxgen', 'training', devices=devices)
    found['PyTorch'] = setting.contender('pytorch', 'training')
    if name != 'wgan':  # PyTorch has no fused RMSProp
      found['PyTorch, fused optimizer'] = setting.contender(
        'pytorch', 'training', variant=('fused',)
      )
    if name == 'vae':
      found['pythae'] = setting.contender('pythae', 'training', variant=('fused',))
    if name in DIFFUSION:
      found['diffusers'] = setting.contender('diffusers', 'training', variant=('fused',))
    if name == 'unet-32':
      found['PyTorch, batch-norm U-Net'] = setting.contender(
        'pytorch', 'training', variant=('batch_unet', 'fused')
      )
    yield Measure(f'training {name}', found | faster(setting, 'training', accelerator))
  if accelerator:
    yield from large()


def large() -> Iterator[Measure]:
  """A U-Net that fills a GPU, in either precision; each side with what pays there."""
  for name, dtype, precision in (('float32', 'float32', ()), ('bf16', 'bfloat16', ('bf16',))):
    plain, best = ('fused', *precision), ('compile', 'fused', 'channels_last', *precision)
    found = {
      'jaxgen': LARGE.contender('jaxgen', 'training', f'network.dtype={dtype}'),
      'PyTorch, fused optimizer': LARGE.contender('pytorch', 'training', variant=plain),
      'PyTorch, compiled, channels last': LARGE.contender('pytorch', 'training', variant=best),
      'diffusers': LARGE.contender('diffusers', 'training', variant=plain),
    }
    yield Measure(f'training unet-128 {name}', found, alone=True)


def ceiling(accelerator: bool) -> Iterator[Measure]:
  """The most operations that the device does: products of large matrices, a batch of them."""
  for dtype in ('float32', 'bfloat16') if accelerator else ('float32',):
    sides = ('jaxgen', 'PyTorch')
    field = f'network.dtype={dtype}'
    found = {side: UNET.contender(side.lower(), 'ceiling', field) for side in sides}
    yield Measure(f'matrix products {dtype}', found)


def sampling(accelerator: bool) -> Iterator[Measure]:
  """One pass of the denoisers, then whole samples of every family."""
  for name, setting in DIFFUSION.items():
    found = {'jaxgen': setting.contender('jaxgen', 'forward')}
    if not accelerator:
      found['jaxgen, 1 device'] = setting.contender('jaxgen', 'forward', devices=1)
    found |= {
      'PyTorch': setting.contender('pytorch', 'forward'),
      'diffusers': setting.contender('diffusers', 'forward'),
    }
    if name == 'unet-32':
      found['PyTorch, batch-norm U-Net'] = setting.contender(
        'pytorch', 'forward', variant=('batch_unet',)
      )
    yield Measure(f'forward {name}', found | faster(setting, 'forward', accelerator))
  thousand = 'evaluation.batch_size=1000'
  for name in ('vae', 'gan'):
    setting = SETTINGS[name]
    found = {
      side: setting.contender(side.lower(), 'sampling', thousand) for side in ('jaxgen', 'PyTorch')
    }
    yield Measure(f'sampling {name}', found | faster(setting, 'sampling', accelerator, thousand))
  # A CPU takes about a second for one DDIM chunk of 16, twenty times that for a DDPM chunk.
  chunk = 1000 if accelerator else 16
  for name, sampler, steps in (('DDIM 50', 'ddim', 50), ('DDPM 1000', 'ancestral', 1000)):
    fields = (
      f'sampler.name={sampler}',
      f'sampler.steps={steps}',
      f'evaluation.batch_size={chunk}',
    )
    sides = ('jaxgen', 'PyTorch', 'diffusers')
    found = {side: UNET.contender(side.lower(), 'sampling', *fields) for side in sides}
    yield Measure(f'sampling {name}', found | faster(UNET, 'sampling', accelerator, *fields))


def evaluation(accelerator: bool) -> Iterator[Measure]:
  """Features of images."""
  found = {side: VAE.contender(side.lower(), 'features') for side in ('jaxgen', 'PyTorch')}
  yield Measure('classifier features', found | faster(VAE, 'features', accelerator))


def growth(accelerator: bool) -> Iterator[tuple[str, list[tuple[str, Measure]]]]:
  """Curves: a name, and for every place on the axis a measure."""
  sides = ('jaxgen', 'PyTorch')

  def both(setting: Setting, *more: str) -> Measure:
    return Measure('', {s: setting.contender(s.lower(), 'training', *more) for s in sides})

  for name, setting in (('vae', VAE), ('unet', UNET)):
    yield f'{name}, batch', [(str(n), both(setting, f'batch_size={n}')) for n in BATCHES]
  hidden = [(n, f'network.hidden=({n},{n},{n})') for n in (256, 512, 1024)]
  yield 'gan, width', [(str(n), both(GAN, field)) for n, field in hidden]
  channels = [(n, f'network.channels={n}') for n in (16, 32, 64)]
  yield 'unet, width', [(str(n), both(UNET, field)) for n, field in channels]
  sizes = [(n, SMALL._replace(image_shape=(n, n, 1))) for n in (8, 16, 32)]
  yield 'unet-32, image size', [(str(n), both(setting)) for n, setting in sizes]
  if not accelerator:
    for name, setting in (('vae', VAE), ('unet', UNET)):
      yield (
        f'{name}, virtual devices',
        [
          (str(n), Measure('', {'jaxgen': setting.contender('jaxgen', 'training', devices=n)}))
          for n in DEVICES
        ],
      )
