"""Averaged weights: the exponential moving average over steps is what is validated and kept."""

import keras


class AveragedWeights(keras.callbacks.Callback):
    """Puts the optimizer's averages of the weights into the model between epochs.

    A model trains on its latest weights. For validation, and for callbacks that come after this
    one at the end of an epoch, it holds their averages; the optimizer holds the latest weights
    meanwhile. Like `keras.callbacks.SwapEMAWeights`, which cannot be told that a training resumes
    from a checkpoint with the averages in the model.

    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992).

    Args:
        swapped: whether the model holds the averages to begin with, as a resumed one does.
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
    """The variables in which an optimizer with `use_ema` keeps its averages, in their order."""
    return [variable for variable in optimizer.variables if variable.path.endswith("_average")]


def _swap(one: keras.Variable, other: keras.Variable) -> None:
    # by sums, without a third copy and rounded as SwapEMAWeights does on TensorFlow: the same
    # seed gives the same weights as with that one
    total = one + other
    other.assign(total - other)
    one.assign(total - other)
