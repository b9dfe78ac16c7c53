"""Training steps and samplers of the families in PyTorch."""

import itertools
import math
from collections.abc import Callable

import ml_collections
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

Step = Callable[[Tensor], None]  # takes (N, C, H, W) in [-1, 1]

OPTIMIZERS = {
  'adam': lambda p, c, **more: torch.optim.Adam(p, c.learning_rate, (c.b1, c.b2), **more),
  'adamw': lambda p, c, **more: torch.optim.AdamW(
    p, c.learning_rate, (c.b1, c.b2), weight_decay=c.weight_decay, **more
  ),
  'rmsprop': lambda p, c, **_: torch.optim.RMSprop(p, c.learning_rate, c.b2, momentum=c.b1),
}


def build(config: ml_collections.ConfigDict, modules: tuple[nn.Module, ...], fused: bool) -> Step:
  """The step of the family that a config names, and the moving average that it asks for."""
  families = {'vae': vae, 'gan': gan, 'wgan': wgan, 'ddpm': ddpm, 'diffusion': edm}
  step = families[config.objective.name](config, modules, fused)
  parameters = [parameter for module in modules for parameter in module.parameters()]
  averages = [parameter.detach().clone() for parameter in parameters]
  move = get_ema_multi_avg_fn(config.ema_decay)

  def step_and_average(images: Tensor) -> None:
    step(images)
    move(averages, parameters, None)

  return step_and_average


def optimizer(
  section: ml_collections.ConfigDict, num_steps: int, fused: bool, *modules: nn.Module
) -> Callable[[Tensor], None]:
  """Descends on a loss: gradients set to None, backward, clip, update, schedule."""
  parameters = list(itertools.chain(*(m.parameters() for m in modules)))
  more = {'fused': True} if fused else {}
  chosen = OPTIMIZERS[section.name](parameters, section, **more)

  def rate(step: int) -> float:
    if step < section.warmup_steps:
      return step / section.warmup_steps
    share = (step - section.warmup_steps) / (num_steps - section.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

  scheduled = section.schedule == 'cosine'
  scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, rate) if scheduled else None

  def descend(loss: Tensor) -> None:
    chosen.zero_grad(set_to_none=True)
    loss.backward()
    if section.clip_norm:
      nn.utils.clip_grad_norm_(parameters, section.clip_norm)
    chosen.step()
    if scheduler:
      scheduler.step()

  return descend


def vae(config: ml_collections.ConfigDict, modules: tuple[nn.Module, ...], fused: bool) -> Step:
  """The negative bound with a Bernoulli likelihood."""
  encoder, decoder = modules
  descend = optimizer(config.optimizer, config.num_steps, fused, encoder, decoder)

  def step(x: Tensor) -> None:
    x = x.flatten(1)
    mean, log_variance = encoder(x).chunk(2, dim=1)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    surprise = functional.binary_cross_entropy_with_logits(decoder(z), (x + 1) / 2, reduction='sum')
    kl = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum()
    descend((surprise + kl) / len(x))

  return step


def gan(config: ml_collections.ConfigDict, modules: tuple[nn.Module, ...], fused: bool) -> Step:
  """One step of the discriminator, one of the generator with the non-saturating loss."""
  critic, generator = modules
  latent = config.objective.latent
  descend_critic = optimizer(config.critic_optimizer, config.num_steps, fused, critic)
  descend_generator = optimizer(config.optimizer, config.num_steps, fused, generator)

  def step(x: Tensor) -> None:
    x = x.flatten(1)
    with torch.no_grad():
      fake = generator(torch.randn(len(x), latent, device=x.device)).tanh()
    descend_critic(
      functional.softplus(-critic(x)).mean() + functional.softplus(critic(fake)).mean()
    )
    critic.requires_grad_(False)  # its gradients would be thrown away
    fake = generator(torch.randn(len(x), latent, device=x.device)).tanh()
    descend_generator(functional.softplus(-critic(fake)).mean())
    critic.requires_grad_(True)

  return step


def wgan(config: ml_collections.ConfigDict, modules: tuple[nn.Module, ...], fused: bool) -> Step:
  """Steps of the critic on fresh images, its weights clipped after each, one of the generator."""
  critic, generator = modules
  latent, window = config.objective.latent, config.objective.clip
  turns = config.objective.critic_steps
  descend_critic = optimizer(config.critic_optimizer, config.num_steps, fused, critic)
  descend_generator = optimizer(config.optimizer, config.num_steps, fused, generator)
  weights = list(critic.parameters())

  def step(x: Tensor) -> None:
    for real in x.flatten(1).chunk(turns):
      with torch.no_grad():
        fake = generator(torch.randn(len(real), latent, device=x.device)).tanh()
      descend_critic(critic(fake).mean() - critic(real).mean())
      with torch.no_grad():
        torch._foreach_clamp_min_(weights, -window)
        torch._foreach_clamp_max_(weights, window)
    critic.requires_grad_(False)
    fake = generator(torch.randn(len(real), latent, device=x.device)).tanh()
    descend_generator(-critic(fake).mean())
    critic.requires_grad_(True)

  return step


def alpha_bars(steps: int, device: torch.device) -> Tensor:
  """(steps + 1,) of the linear schedule, the first of them 1."""
  betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
  return torch.cat([torch.ones(1), (1 - betas).cumprod(0)]).float().to(device)


def ddpm(config: ml_collections.ConfigDict, modules: tuple[nn.Module, ...], fused: bool) -> Step:
  """L_simple."""
  (network,) = modules
  descend = optimizer(config.optimizer, config.num_steps, fused, network)
  timesteps = config.objective.timesteps
  abar = alpha_bars(timesteps, next(network.parameters()).device)

  def step(x: Tensor) -> None:
    t = torch.randint(1, timesteps + 1, (len(x),), device=x.device)
    noise, kept = torch.randn_like(x), abar[t][:, None, None, None]
    x_t = kept.sqrt() * x + (1 - kept).sqrt() * noise
    descend(functional.mse_loss(network(x_t, t).float(), noise))

  return step


def edm(config: ml_collections.ConfigDict, modules: tuple[nn.Module, ...], fused: bool) -> Step:
  """The preconditioned squared error (Karras et al. 2022, sec. 5), of images without their mean."""
  (network,) = modules
  descend = optimizer(config.optimizer, config.num_steps, fused, network)
  objective = config.objective
  data, mean = objective.sigma_data, objective.mean

  def step(x: Tensor) -> None:
    x = x - mean
    normal = torch.randn(len(x), 1, 1, 1, device=x.device)
    sigma = torch.exp(objective.P_mean + objective.P_std * normal)
    x_t = x + sigma * torch.randn_like(x)
    total = (sigma**2 + data**2).sqrt()
    output = network(x_t / total, 250 * sigma.log().flatten()).float()
    wanted = (x - (data / total) ** 2 * x_t) * total / (sigma * data)
    descend(functional.mse_loss(output, wanted))

  return step


def denoise(
  network: nn.Module,
  config: ml_collections.ConfigDict,
  shape: tuple[int, int, int, int],
  device: torch.device,
) -> Tensor:
  """Samples in [-1, 1], ancestral or DDIM, with the predicted image clipped."""
  timesteps = config.objective.timesteps
  abar = alpha_bars(timesteps, device)
  times = torch.linspace(0, timesteps, config.sampler.steps + 1).long().tolist()
  x = torch.randn(shape, device=device)
  for s, t in reversed(list(itertools.pairwise(times))):
    eps = network(x, torch.full(shape[:1], t, device=device)).float()
    x_0 = ((x - (1 - abar[t]).sqrt() * eps) / abar[t].sqrt()).clamp(-1, 1)
    if config.sampler.name == 'ddim':
      eps = (x - abar[t].sqrt() * x_0) / (1 - abar[t]).sqrt()
      x = abar[s].sqrt() * x_0 + (1 - abar[s]).sqrt() * eps
    else:
      alpha = abar[t] / abar[s]
      x_0_weight = abar[s].sqrt() * (1 - alpha) / (1 - abar[t])
      x_weight = alpha.sqrt() * (1 - abar[s]) / (1 - abar[t])
      x = x_0_weight * x_0 + x_weight * x
      if s > 0:
        x = x + ((1 - alpha) * (1 - abar[s]) / (1 - abar[t])).sqrt() * torch.randn_like(x)
  return x
