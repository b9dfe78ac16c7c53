"""What all experiments share. An experiment's file changes what its paper changes."""

import ml_collections


def base(objective: str, dataset: str) -> ml_collections.ConfigDict:
  """The fields of every experiment."""
  config = ml_collections.ConfigDict()
  config.experiment = ''  # what reports call it; '' for the name of the experiment's file
  config.seed = 0  # of the first parameters, the order of images, all noise and all samples
  config.num_steps = 20_000  # updates; an epoch is (training images / batch_size) of them
  config.batch_size = 64  # images that an update takes, on all devices together
  config.ema_decay = 0.999  # of the moving average of the parameters; 0 for none
  config.init_from = ''  # folder of a run whose averaged parameters this one begins with
  config.steps_per_call = 1  # updates in one dispatch; pays for small networks
  # Virtual devices of a CPU, in each process; 0: one a core, but one in each of several processes.
  # Pays where networks convolve. JAX_NUM_CPU_DEVICES in the environment goes first.
  config.cpu_devices = 1
  config.reduction = 'mean'  # or ordered: the same bits for any number of devices up to 8, slower
  # Parts in which a device takes its share of a batch, one after another, where memory is short.
  config.accumulate = 1
  config.log_every = 100  # updates
  config.tracker = ''  # beside TensorBoard: wandb, or a module of your own

  config.data = ml_collections.ConfigDict()
  config.data.name = dataset  # digits, folder, npz, idx, or a dataset of tensorflow-datasets
  config.data.path = ''  # of the folder or file, or where prepared datasets lie
  config.data.image_size = 0  # side after resizing and cropping; 0 as it is
  config.data.channels = 0  # 1 grey, 3 colour; 0 as it is
  config.data.validation_fraction = 0.1  # of the training images, where there is no such split
  config.data.test_fraction = 0.2  # of all images, where there is no such split
  config.data.memory_limit = 2**31  # bytes; larger datasets are read by index
  # Pixels become black or white with the probability of their grey level: static, once, when the
  # data are read; dynamic, anew each time that a model sees the image.
  config.data.binarize = 'none'
  config.data.flip = False  # half of the training images left to right, anew at every look
  config.data.crop = 0  # pixels by which training images are moved at most, anew at every look

  config.objective = ml_collections.ConfigDict()
  config.objective.name = objective  # a module of jaxgen.objectives, or of your own package

  config.network = ml_collections.ConfigDict()
  config.network.dtype = 'float32'  # of the computation; bfloat16 where the hardware is made for it

  config.optimizer = optimizer('adam', 1e-3)

  config.checkpoint = ml_collections.ConfigDict()
  config.checkpoint.every = 1000  # updates; 0: only at the end
  config.checkpoint.keep = 2  # the last ones
  # Also kept: the best by the first number of an evaluation whose name starts so; lower is better,
  # and with a minus before the name, higher; '' keeps the last ones only
  config.checkpoint.best = 'score/fid'

  config.evaluation = evaluation()
  return config


def evaluation() -> ml_collections.ConfigDict:
  """What is looked at, in training and after it."""
  section = ml_collections.ConfigDict()
  section.every = 1000  # updates; 0: only at the end
  section.batch_size = 100  # images a device takes at once
  section.validation_images = 1000  # looked at during training
  section.training_samples = 1000  # scored during training; 0: none
  section.num_samples = 1000  # that --mode=evaluate draws and scores; 0: none
  section.raw = True  # --mode=evaluate also looks at the parameters that are no average
  # Sets of samples that --mode=evaluate draws: of one trained model, so that their spread says
  # nothing of the spread over training seeds.
  section.seeds = 1
  section.classifier_weights = ''  # a file, in place of the data's own classifier
  section.inception_weights = ''  # a file, for distances in inception's features too
  # A file, for the distance of one report; see jaxgen/evaluation/README.md.
  section.s4_legacy_weights = ''
  return section


def optimizer(name: str, learning_rate: float, **fields: float) -> ml_collections.ConfigDict:
  """The fields of one optimizer; see `jaxgen.objectives.optimizers`."""
  section = ml_collections.ConfigDict()
  section.name = name  # adam, adamw, adamax, rmsprop, sgd or momentum
  section.learning_rate = learning_rate  # after warming up, before decaying
  section.warmup_steps = 0  # updates over which the rate rises from 0
  section.schedule = 'constant'  # or cosine, linear, exponential, warm_restarts
  section.clip_norm = 0.0  # largest Euclidean norm of a gradient; 0 for any
  section.weight_decay = 0.0  # of adamw's matrices, over the rate
  section.b1 = 0.9  # Adam's; the momentum of `rmsprop` and `momentum`
  section.b2 = 0.999  # decay of the mean squared gradient, of adam, adamw, adamax and rmsprop
  section.update(fields)
  return section


def critic_optimizer(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """An optimizer for the critic that follows every field of `optimizer` which it is not given."""
  section = ml_collections.ConfigDict()
  for field in config.optimizer:
    section[field] = config.optimizer.get_oneway_ref(field)
  return section
