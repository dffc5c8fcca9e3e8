"""Three of kinoflow's networks in PyTorch, with the same weights: R3D, R(2+1)D and LRCN.

`benchmarks.training` runs this file in processes of its own, by a Python that has PyTorch and
NumPy and need not have anything else, and gives it a `Job` as JSON.
"""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

# what the builders of kinoflow.models have as defaults
_WIDTHS = (16, 32, 64, 128)
_LRCN = ((16, 4), (32, 4), (64, 2), (64, 2))  # channels of each block, and the side of its pooling
_UNITS = 32


@dataclasses.dataclass(frozen=True)
class Job:
    """What to train, and for how long."""

    model: str
    training: dict[str, Any]  # the section `training` of params.yaml
    weights: str  # the .npz file with clips, and the weights and answers of Keras' network
    channels_last: bool  # whether channels come last in memory
    threads: int
    seconds: float  # train at least this long, after the first step
    steps: int  # and at least so many steps, without the first


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    # as Keras trains; but nobody reads memory that was not written
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    kept = np.load(job.weights)
    classes = len(kept["head.bias"])
    network = Lrcn(classes) if job.model == "lrcn" else Residual(job.model, classes)
    load(network, kept)
    if job.channels_last:
        network = network.to(memory_format=network.layout)
    clips = torch.from_numpy(kept["clips"])
    network.eval()
    with torch.no_grad():
        answers = network(_pixels(clips, network, job)).softmax(-1)
    apart = float((answers - torch.from_numpy(kept["answers"])).abs().max())
    parameters = sum(each.numel() for each in network.parameters() if each.requires_grad)
    print(json.dumps(trained(network, clips, job) | {"apart": apart, "parameters": parameters}))


# === Networks ===


class Convolution(nn.Module):
    """Convolution with Keras' "same" padding, group normalisation and perhaps ReLU."""

    def __init__(
        self,
        incoming: int,
        filters: int,
        kernel: tuple[int, int, int],
        strides: tuple[int, int, int],
        *,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.kernel, self.strides, self.activate = kernel, strides, activate
        # where the stride is 1, padding is the same on both sides
        padding = tuple(
            side // 2 if step == 1 else 0 for side, step in zip(kernel, strides, strict=True)
        )
        self.conv = nn.Conv3d(incoming, filters, kernel, strides, padding, bias=False)
        self.norm = nn.GroupNorm(min(8, filters), filters, eps=1e-3)

    def forward(self, x: Any) -> Any:
        around: list[int] = []
        for size, side, step in zip(x.shape[2:], self.kernel, self.strides, strict=True):
            missing = max((-(-size // step) - 1) * step + side - size, 0) if step > 1 else 0
            around = [missing // 2, missing - missing // 2, *around]  # from the last axis on
        x = functional.pad(x, around) if any(around) else x
        x = self.norm(self.conv(x))
        return functional.relu(x) if self.activate else x


class Residual(nn.Module):
    """R3D or R(2+1)D on the differences of frames: kinoflow.models.resnet3d."""

    layout = torch.channels_last_3d

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.factorised = name == "r2plus1d"
        self.stem = self._convolved(3, _WIDTHS[0], 1, 2)
        self.residuals, self.shortcuts = nn.ModuleList(), nn.ModuleList()
        incoming = _WIDTHS[0]
        for stage, width in enumerate(_WIDTHS):
            step = 1 if stage == 0 else 2
            first = self._convolved(incoming, width, step, step)
            second = self._convolved(width, width, 1, 1, activate=False)
            self.residuals.append(nn.Sequential(*first, *second))
            strides = (step, step, step)
            self.shortcuts.append(
                nn.Identity()
                if stage == 0
                else Convolution(incoming, width, (1, 1, 1), strides, activate=False)
            )
            incoming = width
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(incoming, classes)

    def _convolved(
        self, incoming: int, filters: int, time: int, space: int, *, activate: bool = True
    ) -> nn.Sequential:
        if not self.factorised:
            strides = (time, space, space)
            return nn.Sequential(
                Convolution(incoming, filters, (3, 3, 3), strides, activate=activate)
            )
        return nn.Sequential(
            Convolution(incoming, filters, (1, 3, 3), (1, space, space)),
            Convolution(filters, filters, (3, 1, 1), (time, 1, 1), activate=activate),
        )

    def forward(self, x: Any) -> Any:
        """Colours (B, 3, T, H, W) to logits (B, classes)."""
        x = x - torch.cat([x[:, :, :1], x[:, :, :-1]], dim=2)
        x = self.stem(x)
        for residual, shortcut in zip(self.residuals, self.shortcuts, strict=True):
            x = functional.relu(residual(x) + shortcut(x))
        return self.head(self.dropout(x.mean(dim=(2, 3, 4))))


class Lrcn(nn.Module):
    """LRCN: kinoflow.models.recurrent."""

    layout = torch.channels_last

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        incoming = 3
        for width, pool in _LRCN:
            if blocks:
                blocks.append(nn.Dropout(0.25))
            blocks += [nn.Conv2d(incoming, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pool)]
            incoming = width
        self.encoder = nn.Sequential(*blocks)
        self.recurrence = nn.LSTM(incoming, _UNITS, batch_first=True)
        # Keras has one bias, PyTorch the sum of two
        self.recurrence.bias_hh_l0.requires_grad_(False)
        self.head = nn.Linear(_UNITS, classes)

    def forward(self, x: Any) -> Any:
        """Colours (B, 3, T, H, W) to logits (B, classes)."""
        batch, _, frames = x.shape[:3]
        x = self.encoder(x.transpose(1, 2).flatten(0, 1))
        states, _ = self.recurrence(x.reshape(batch, frames, -1))
        return self.head(states[:, -1])


def _pixels(clips: Any, network: nn.Module, job: Job) -> Any:
    """Clips uint8 (B, T, H, W, 3) to colours in [-1, 1], float32 (B, 3, T, H, W)."""
    x = (clips.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)  # channels are still last in memory
    return x if job.channels_last else x.contiguous()


def load(network: nn.Module, kept: Any) -> None:
    """Give a network the weights of Keras' one."""
    shortcuts = [part for name, part in network.named_modules() if _is_shortcut(name, part)]
    convolutions = [
        part
        for part in network.modules()
        if isinstance(part, Convolution | nn.Conv2d) and part not in shortcuts
    ]
    for kind, parts in (("convolution", convolutions), ("shortcut", shortcuts)):
        assert f"{kind}{len(parts)}.kernel" not in kept, f"Keras' network has another {kind}"
        for number, part in enumerate(parts):
            own = {key: _tensor(kept, f"{kind}{number}.{key}") for key in _keys(part)}
            conv = part if isinstance(part, nn.Conv2d) else part.conv
            axes = range(own["kernel"].ndim - 2)
            _assign(conv.weight, own["kernel"].permute(-1, -2, *axes))  # (k..., C, F) in Keras
            if isinstance(part, nn.Conv2d):
                _assign(part.bias, own["bias"])
            else:
                _assign(part.norm.weight, own["scale"])
                _assign(part.norm.bias, own["offset"])
    if isinstance(network, Lrcn):
        _assign(network.recurrence.weight_ih_l0, _tensor(kept, "recurrence.kernel").T)
        _assign(network.recurrence.weight_hh_l0, _tensor(kept, "recurrence.state").T)
        _assign(network.recurrence.bias_ih_l0, _tensor(kept, "recurrence.bias"))
        _assign(network.recurrence.bias_hh_l0, torch.zeros(4 * _UNITS))
    head: Any = network.head
    _assign(head.weight, _tensor(kept, "head.kernel").T)
    _assign(head.bias, _tensor(kept, "head.bias"))


def _is_shortcut(name: str, part: nn.Module) -> bool:
    return name.startswith("shortcuts.") and isinstance(part, Convolution)


def _keys(part: Any) -> tuple[str, ...]:
    return ("kernel", "bias") if isinstance(part, nn.Conv2d) else ("kernel", "scale", "offset")


def _tensor(kept: Any, name: str) -> Any:
    return torch.from_numpy(kept[name])


def _assign(parameter: Any, value: Any) -> None:
    assert parameter.shape == value.shape, f"{parameter.shape} is not {value.shape}"
    with torch.no_grad():
        parameter.copy_(value)


# === Training ===


def trained(network: nn.Module, clips: Any, job: Job) -> dict[str, Any]:
    """Train on the same batch again and again: how long steps take, and peak memory."""
    beside = _beside("training_keras")
    clock = beside.Clock()
    targets, weights = (torch.from_numpy(each) for each in beside.labelled(len(clips)))
    own = job.training
    learned = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(
        learned, lr=own["learning_rate"], weight_decay=own["weight_decay"], eps=1e-7, fused=True
    )
    averages = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(own["ema"]))
    network.train()
    right = 0
    while not clock.steps or not clock.enough(job):
        if clock.steps:
            clock.begin()
        optimizer.zero_grad()
        logits = network(_pixels(clips, network, job))
        losses = functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=own["label_smoothing"]
        )
        (losses * weights).mean().backward()
        optimizer.step()
        averages.update_parameters(network)
        right += int((logits.argmax(-1) == targets.argmax(-1)).sum())
        clock.end()
    return dict(clock.result())


def _beside(name: str) -> ModuleType:
    """A module of this folder, without the package, whose requirements may be missing here."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
