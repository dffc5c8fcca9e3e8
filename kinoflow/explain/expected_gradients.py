"""Expected gradients, as SHAP's GradientExplainer computes them; needs the extra `explain`.

Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions" (NeurIPS 2017); Erion et
al., "Improving Performance of Deep Learning Models with Axiomatic Attribution Priors and Expected
Gradients" (Nature Machine Intelligence 2021).
"""

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kinoflow.explain.tracing import SMALLEST, trace
from kinoflow.system.errors import UserError
from kinoflow.video.spec import Frames


class ExpectedGradients:
    """SHAP's gradients of one model.

    Args:
        model: the model.
        samples: how many random points between baseline and view are averaged over.

    Raises UserError if SHAP is not installed, and on a backend other than TensorFlow: for others
    SHAP has no gradients.
    """

    def __init__(self, model: keras.Model, samples: int) -> None:
        if keras.backend.backend() != "tensorflow":
            raise UserError("the method shap needs TensorFlow: choose integrated_gradients")
        try:
            import shap  # noqa: F401
        except ImportError:
            raise UserError(
                "the method shap needs SHAP: pip install 'kinoflow[explain]', or choose "
                "integrated_gradients"
            ) from None
        traced = trace(model)
        logarithms = ops.log(ops.maximum(traced.probabilities, SMALLEST))
        logits = logarithms - ops.mean(logarithms, axis=1, keepdims=True)
        self._network = keras.Model(traced.clip, logits)
        self._samples = samples

    def __call__(self, views: Frames, baselines: Frames, label: int) -> NDArray[np.float32]:
        """What each pixel adds to the class's logit; the same clip gives the same values.

        Args:
            views: uint8 (B, T, H, W, 3), as the model takes them.
            baselines: of the same shape, what stands for no evidence.
            label: index of the class.

        Returns float32 (B, T, H, W), summed over colours; negative where a pixel speaks against the
        class.
        """
        import shap

        found = []
        for view, baseline in zip(views, baselines, strict=True):
            explainer = shap.GradientExplainer(self._network, baseline[None].astype(np.float32))
            values, _ = explainer.shap_values(
                view[None].astype(np.float32),
                nsamples=self._samples,
                ranked_outputs=np.array([[label]]),
                output_rank_order="custom",
                rseed=0,
            )
            found.append(np.asarray(values, np.float32).reshape(view.shape).sum(axis=-1))
        return np.stack(found)
