"""The two optimisers that paint a picture: L-BFGS and Adam."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from kinoflow.style.canvas import Canvas, Losses
from kinoflow.style.pictures import Picture

_FIRST_MOVE = 0.02  # by how much L-BFGS changes colours at its first step, about
_BEYOND = 10.0  # the weight of the mean square by which colours lie beyond 0 and 1
_REMEMBERED = 8  # steps that L-BFGS remembers

# takes the number of a step, from 1, the losses and the picture (H, W, 3)
Report = Callable[[int, Losses, Picture], None]


def lbfgs(
    canvas: Canvas, picture: Picture, steps: int, tolerance: float, report: Report
) -> Picture:
    """Paint by SciPy's L-BFGS.

    Its bounds take longer than the network does, so colours beyond 0 and 1 have a loss instead.

    Args:
        canvas: what the picture should look like; compiled with `Slope`.
        picture: to begin with, (H, W, 3).
        steps: at most.
        tolerance: ends when a step gains less than this share of the loss.
        report: is called after each step with its number from 1, the losses and the picture.
    """
    shape = picture.shape
    # L-BFGS changes the whole picture by a length of 1 at first, as it knows nothing yet
    unit = _FIRST_MOVE * np.sqrt(picture.size)
    taken, latest = 0, Losses(0.0, 0.0, 0.0, 0.0)

    def slope(x: Any) -> tuple[float, Any]:
        nonlocal latest
        colours = (x * unit).astype(np.float32).reshape(shape)
        loss, latest, gradient = canvas.slope(colours)
        beyond = colours - np.clip(colours, 0, 1)
        loss += _BEYOND * float(np.mean(np.square(beyond)))
        gradient += 2 * _BEYOND / beyond.size * beyond
        return loss, gradient.reshape(-1).astype(np.float64) * unit

    def after(x: Any) -> None:
        nonlocal taken
        taken += 1
        report(taken, latest, (x * unit).astype(np.float32).reshape(shape))

    found = minimize(
        slope,
        np.clip(picture, 0, 1).reshape(-1).astype(np.float64) / unit,
        jac=True,
        method="L-BFGS-B",
        callback=after,
        options={
            "maxiter": steps,
            "maxfun": 2 * steps,
            "maxcor": _REMEMBERED,
            "ftol": tolerance,
            "gtol": 0.0,
        },
    )
    return np.clip(found.x * unit, 0, 1).astype(np.float32).reshape(shape)


def adam(canvas: Canvas, picture: Picture, steps: int, report: Report) -> Picture:
    """Paint by Adam, as if nothing had been painted on this canvas before.

    Args:
        canvas: what the picture should look like; compiled with Adam.
        picture: to begin with, (H, W, 3).
        steps: as many are taken.
        report: is called after each step with its number from 1, the losses and the picture.
    """
    for variable in canvas.optimizer.variables:
        if variable.name != "learning_rate":
            variable.assign(np.zeros(variable.shape))
    canvas.picture.assign(picture[None])
    for step in range(1, steps + 1):
        _, losses = canvas.step()
        # a step may leave the colours that there are
        canvas.picture.assign(np.clip(canvas.shown(), 0, 1)[None])
        report(step, losses, canvas.shown())
    return canvas.shown()
