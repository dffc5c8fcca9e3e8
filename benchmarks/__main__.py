"""Run all benchmarks and write benchmarks/README.md."""

import argparse
from pathlib import Path

from benchmarks import answering, depthwise, extract, ingest, machine, scale
from kinoflow.system import errors, files

README = Path(__file__).parent / "README.md"


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    # `extract` keeps its process to one core for a while, so what needs every core goes first
    scaling = scale.report()
    ingesting = ingest.report()
    answers = answering.report()
    decoding = extract.report()
    convolving = depthwise.report()
    files.write_text(
        README,
        f"""# Benchmarks

`make benchmarks` measures on the machine at hand and writes this page. It uses the real clips in
`ucf101-mini/` of the folder that `KINOFLOW_REAL_DATA` names, or else rendered videos. Each table
was measured in one run. Its ratios hold better for other machines than its seconds.

{machine.name()}
{machine.versions()}

## Decoding

{decoding}
kinoflow decodes with PyAV, and PyAV's fastest way is as fast. But that way trusts the header for
the number of frames, which is wrong in many files; kinoflow checks it.

## Ingest

{ingesting}
## Scale

{scaling}
## Answering

{answers}
## Depthwise convolution

{convolving}
## Benchmarks with pages of their own

- `python -m benchmarks.accuracy`: how accurate the architectures are; it takes an hour and more.
  [accuracy.md](accuracy.md)
- `python -m benchmarks.drift`: how often monitoring raises a false alarm, and what it finds.
  [drift.md](drift.md)
- `python -m benchmarks.exporting`: which architecture exports to which format, how far its answers
  then are from Keras', and how large it is. [exporting.md](exporting.md)
- `python -m benchmarks.numerics`: how far tests are from their bounds on other processors.
  [numerics.md](numerics.md)
- `python -m benchmarks.pruning --into FOLDER`: accuracy, size and time of candidates without some
  of their channels or weights; it takes half an hour. [pruning.md](pruning.md)
- `python -m benchmarks.repeats`: how repeatable training is. [repeats.md](repeats.md)
- `python -m benchmarks.serve --bento FILE`: how fast the service answers, beside itself without
  batching and beside a plain service, and how it bears ten minutes of overload.
  [serve.md](serve.md)
- `python -m benchmarks.slim CANDIDATE ...`: a Bento without TensorFlow beside the one with it: its
  size, its start, its memory and its speed. [slim.md](slim.md)
- `python -m benchmarks.style --weights FILE`: how much repainted films flicker, how well they keep
  to style and content, and how fast each way of repainting is. [style.md](style.md)
- `python -m benchmarks.training --torch PYTHON`: milliseconds, processor seconds, compilation and
  memory of a step of training, for every architecture, beside an earlier commit and PyTorch; and
  whether training waits for batches. It takes half an hour and more on two cores.
  [training.md](training.md)
""",
    )
    print(README.read_text(encoding="utf-8"))


if __name__ == "__main__":
    errors.run(main)
