"""Averaged weights: the exponential moving average over steps is validated and kept."""

import keras


class AveragedWeights(keras.callbacks.Callback):
    """Puts the optimizer's averages of the weights into the model between epochs.

    A model trains with its latest weights. In validation, and for later callbacks at the end of an
    epoch, the model holds the averages and the optimizer the latest weights.
    `keras.callbacks.SwapEMAWeights` does the same, but cannot be told that a training resumes from
    a checkpoint whose model holds the averages.

    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992).

    Args:
        swapped: whether the model holds the averages at first, as after resuming.
    """

    def __init__(self, *, swapped: bool = False) -> None:
        super().__init__()
        self.swapped = swapped

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._hold(averages=False)

    def on_test_begin(self, logs=None) -> None:
        self._hold(averages=True)

    def on_test_end(self, logs=None) -> None:
        self._hold(averages=False)

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._hold(averages=True)

    def _hold(self, *, averages: bool) -> None:
        if averages != self.swapped:
            for weight, average in zip(
                self.model.trainable_variables, _averages(self.model.optimizer), strict=True
            ):
                _swap(weight, average)
            self.swapped = averages


def _averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The optimizer's averages, in the order of the trainable variables; needs `use_ema`."""
    return [variable for variable in optimizer.variables if variable.path.endswith("_average")]


def _swap(one: keras.Variable, other: keras.Variable) -> None:
    # By sums, without a third copy. SwapEMAWeights does so on TensorFlow; with the same rounding,
    # both give the same weights for the same seed.
    total = one + other
    other.assign(total - other)
    one.assign(total - other)
