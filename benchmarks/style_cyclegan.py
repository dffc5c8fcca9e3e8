"""What `make style` measured of its CycleGAN, as a section of benchmarks/style.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinoflow.system import files

NAMES = {
    "identity": "left as it is",
    "colour_transfer": "colour transfer (Reinhard)",
    "frames": "CycleGAN, frame by frame",
    "temporal": "CycleGAN with the temporal loss",
}
DIRECTIONS = ("a_to_b", "b_to_a")
AHEAD = 0.15  # of the better baseline's similarity


class Measured:
    """The figures in a folder that the stage style_evaluate wrote."""

    def __init__(self, folder: Path) -> None:
        self.metrics: Mapping[str, Any] = files.read_json(folder / "metrics.json")
        self.speed = float(files.read_json(folder / "timing.json")["frames_per_second"])

    def section(self) -> str:
        """Both directions, a line for each method."""
        lines = [
            "## CycleGAN\n",
            "`make style` measured these on held-out recordings of the embedded films, with the "
            "looks that `style` of params.yaml names: a to b, and back. SSIM and L1 are to the "
            "truth, the same frames in the other look; the 95% interval resamples recordings.\n",
            "| | | SSIM | 95% interval | L1 | warping error |",
            "|---|---|---:|---:|---:|---:|",
        ]
        for direction in DIRECTIONS:
            for method, scores in self._methods(direction):
                warping = f"{1000 * scores['warping_error']:.2f}"
                truth = ("", "", "")
                if "similarity" in scores:
                    truth = (
                        f"{scores['similarity']:.3f}",
                        f"{scores['low']:.3f} to {scores['high']:.3f}",
                        f"{scores['difference']:.3f}",
                    )
                name = NAMES.get(method, method)
                cells = " | ".join((direction.replace("_", " "), name, *truth, warping))
                lines.append(f"| {cells} |")
        return "\n".join([*lines, ""])

    def goals(self) -> list[str]:
        """Lines of the table of figures to reach."""
        lines = []
        for direction in DIRECTIONS:
            found = [
                f"{NAMES.get(method, method)} {scores['ahead']:+.3f} "
                f"({scores['ahead_low']:+.3f} to {scores['ahead_high']:+.3f})".replace("-", "−")
                for method, scores in self._methods(direction)
                if "ahead" in scores
            ]
            best = max(
                (scores["ahead"] for _, scores in self._methods(direction) if "ahead" in scores),
                default=None,
            )
            if best is not None:
                reached = "reached" if best >= AHEAD else "**missed**"
                lines.append(
                    f"| CycleGAN's SSIM is at least {AHEAD} above the better baseline, "
                    f"{direction.replace('_', ' ')} | {'; '.join(found)} | {reached} |"
                )
        return lines

    def line(self) -> str:
        """Its line of the comparison of methods."""
        ahead = [
            f"{direction.replace('_', ' ')} {max(found):.3f}"
            for direction in DIRECTIONS
            if (found := [s["similarity"] for _, s in self._methods(direction) if "ahead" in s])
        ]
        held_out = f"; SSIM on held-out recordings {', '.join(ahead)}" if ahead else ""
        return (
            "| CycleGAN (Zhu) | many pictures of each look, unpaired | "
            f"both directions at once | {self.speed:.0f} frames/s | "
            f"the looks that it learned{held_out} | none after training |"
        )

    def _methods(self, direction: str) -> list[tuple[str, Mapping[str, float]]]:
        return [
            (method, scores)
            for method, scores in self.metrics[direction].items()
            if isinstance(scores, dict)
        ]
