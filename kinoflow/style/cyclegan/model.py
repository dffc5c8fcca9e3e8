"""A CycleGAN as one Keras model: its losses in one step, on every backend.

The paper updates the generators, and then the discriminators on the fakes from before that update.
So both updates follow from the same weights, and one optimizer that knows all weights (Adam treats
each by itself) makes both at once.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kinoflow.explain.tracing import make_deterministic
from kinoflow.style.cyclegan.networks import SPREAD, discriminator, generator
from kinoflow.style.cyclegan.pool import Pool
from kinoflow.style.losses import temporal_distance
from kinoflow.style.settings import CycleGan

# what is reported of each epoch
SCORES = ("adversarial", "cycle", "identity", "temporal", "discriminator")


class Translation(NamedTuple):
    """One direction of a CycleGAN, from pictures of a domain to those of the other."""

    fake: Any  # of the other domain
    back: Any  # the fake translated back
    same: Any  # pictures of the other domain, which should stay as they are; None: not computed
    before: Any  # the fake of the frame before; None: not computed


class CycleGANModel(keras.Model):
    """Two generators and two discriminators, and what they are trained by.

    It takes a dict with the pictures of both domains, `a` and `b`: RGB in [0, 1], (B, H, W, 3). If
    there is a temporal loss, it also takes for both domains, here for a: `a_before`, the frames
    before; `a_places` and `a_shares`, as `flow_as_places` gives them; `a_visible`, (B, H, W, 1).

    Args:
        settings: the section `style.cyclegan` of params.yaml.
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.
        seed: of what is chosen at random.
    """

    def __init__(self, settings: CycleGan, height: int, width: int, seed: int) -> None:
        super().__init__(name="cyclegan")
        self.settings = settings
        painter = (settings.filters, settings.blocks, settings.halvings)
        self.a_to_b = generator(*painter, name="a_to_b")
        self.b_to_a = generator(*painter, name="b_to_a")
        judge = (settings.discriminator_filters, settings.patch)
        self.judge_a = discriminator(*judge, name="judge_a")
        self.judge_b = discriminator(*judge, name="judge_b")
        self.pool_a = self.pool_b = None
        if settings.pool:
            self.pool_a = Pool(settings.pool, height, width, seed, name="pool_a")
            self.pool_b = Pool(settings.pool, height, width, seed + 1, name="pool_b")
        self.scores = {name: keras.metrics.Mean(name=name) for name in SCORES}
        self.built = True

    def call(self, inputs, training=None):
        a, b = inputs["a"], inputs["b"]
        identity = self.settings.identity > 0
        before_a, before_b = inputs.get("a_before"), inputs.get("b_before")
        fake_b, same_b, earlier_b = _repaint(self.a_to_b, a, b if identity else None, before_a)
        fake_a, same_a, earlier_a = _repaint(self.b_to_a, b, a if identity else None, before_b)
        return (
            Translation(fake_b, self.b_to_a(fake_b), same_b, earlier_b),
            Translation(fake_a, self.a_to_b(fake_a), same_a, earlier_a),
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        to_b, to_a = (Translation(*each) for each in y_pred)
        weights = self.settings
        judge_a, judge_b = _Judge(self.judge_a), _Judge(self.judge_b)
        fooling = _towards(judge_b.frozen(to_b.fake), 1.0)
        fooling += _towards(judge_a.frozen(to_a.fake), 1.0)
        cycle = _apart(to_b.back, x["a"]) + _apart(to_a.back, x["b"])
        total = fooling + weights.cycle * cycle
        parts = {"adversarial": fooling, "cycle": cycle}
        if to_b.same is not None:
            parts["identity"] = _apart(to_b.same, x["b"]) + _apart(to_a.same, x["a"])
            total += weights.identity * parts["identity"]
        if to_b.before is not None:
            parts["temporal"] = _flicker(to_b, x, "a") + _flicker(to_a, x, "b")
            total += weights.temporal * parts["temporal"]
        parts["discriminator"] = _judgement(judge_a, x["a"], to_a.fake, self.pool_a)
        parts["discriminator"] += _judgement(judge_b, x["b"], to_b.fake, self.pool_b)
        for name, value in parts.items():
            self.scores[name].update_state(value)
        return total + parts["discriminator"]


class _Judge:
    """A discriminator in one step, with its weights as they are before the update.

    They are read once, for the losses of both sides. Were they read again for the generators, where
    no gradient reaches them, TensorFlow 2.21 would now and then update them before that: its graph
    optimizer loses the order.
    """

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        # not `convert_to_tensor`, which leaves a TensorFlow variable to be read later
        self._weights = [ops.copy(each) for each in network.trainable_variables]

    def __call__(self, pictures):
        return self._says(pictures, self._weights)

    def frozen(self, pictures):
        """What it says, without learning from it."""
        return self._says(pictures, [ops.stop_gradient(each) for each in self._weights])

    def _says(self, pictures, weights):
        return self._network.stateless_call(
            weights, self._network.non_trainable_variables, pictures
        )[0]


class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that stays, and then falls to 0 in a straight line.

    Args:
        rate: at first.
        steps: how many there are in all.
        decay: the fraction of them over which it falls.
    """

    def __init__(self, rate: float, steps: int, decay: float) -> None:
        self.rate, self.steps, self.decay = rate, steps, decay

    def __call__(self, step):
        left = (self.steps - ops.cast(step, "float32")) / max(self.decay * self.steps, 1.0)
        return self.rate * ops.clip(left, 0.0, 1.0)

    def get_config(self):
        return {"rate": self.rate, "steps": self.steps, "decay": self.decay}


def compiled(settings: CycleGan, shape: tuple[int, int], seed: int, steps: int) -> CycleGANModel:
    """A CycleGAN with its first weights, ready for training in `steps` batches.

    Args:
        settings: the section `style.cyclegan` of params.yaml.
        shape: of the pictures that it is trained on: height and width in pixels.
        seed: the same seed gives the same weights.
        steps: in all epochs.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    # so that a training that was killed ends with the weights of one that was not
    make_deterministic()
    model = CycleGANModel(settings, *shape, seed)
    # once more by a generator of their own: other threads may draw from Keras' seeds meanwhile
    rng = np.random.default_rng(seed)
    for weights in model.trainable_variables:
        if weights.name == "kernel":
            weights.assign(rng.normal(0.0, SPREAD, weights.shape))
    rate = LinearDecay(settings.learning_rate, steps, settings.decay)
    averaging = {"use_ema": True, "ema_momentum": settings.ema} if settings.ema else {}
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=0.5, **averaging))
    model.optimizer.build(model.trainable_variables)
    return model


def _repaint(network: keras.Model, pictures: Any, same: Any, before: Any) -> list[Any]:
    """What a generator makes of up to three batches of pictures, in one call."""
    given = [each for each in (pictures, same, before) if each is not None]
    made = iter(ops.split(network(ops.concatenate(given)), len(given)))
    return [None if each is None else next(made) for each in (pictures, same, before)]


def _judgement(judge: _Judge, real: Any, fake: Any, pool: Pool | None) -> Any:
    """The loss of a discriminator: half of what it mistakes, real and fake."""
    fake = ops.stop_gradient(fake) if pool is None else pool(fake)
    says_real, says_fake = ops.split(judge(ops.concatenate([real, fake])), 2)
    return (_towards(says_real, 1.0) + _towards(says_fake, 0.0)) / 2.0


def _flicker(translation: Translation, x: Any, domain: str) -> Any:
    warped = warp(translation.before, x[f"{domain}_places"], x[f"{domain}_shares"])
    distance = temporal_distance(translation.fake, warped, x[f"{domain}_visible"])
    return ops.mean(distance)


def warp(pictures: Any, places: Any, shares: Any) -> Any:
    """Move what pictures show to where the next frame shows it; pictures get gradients.

    Args:
        pictures: (B, H, W, 3).
        places: for each pixel of the next frame, the four pixels that it comes from, as indices
            into the H * W pixels: int32 (B, H * W, 4).
        shares: how much of each of the four: float32 (B, H * W, 4).

    Returns (B, H, W, 3).
    """
    _, height, width, depth = pictures.shape
    flat = ops.reshape(pictures, (-1, height * width, depth))
    moved = 0.0
    for corner in range(4):
        there = ops.take_along_axis(flat, places[..., corner : corner + 1], axis=1)
        moved += shares[..., corner : corner + 1] * there
    return ops.reshape(moved, (-1, height, width, depth))


def _towards(judgements: Any, value: float) -> Any:
    # least squares: Mao et al., "Least Squares Generative Adversarial Networks" (ICCV 2017)
    return ops.mean(ops.square(judgements - value))


def _apart(pictures: Any, others: Any) -> Any:
    # twice, since the paper's weights are for colours in [-1, 1]
    return 2.0 * ops.mean(ops.abs(pictures - others))
