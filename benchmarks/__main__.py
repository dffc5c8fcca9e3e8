"""Run all benchmarks and write benchmarks/README.md."""

import argparse
from pathlib import Path

from benchmarks import answering, depthwise, extract, ingest, machine, scale
from kinoflow.system import errors, files

README = Path(__file__).parent / "README.md"
# what stands below this heading is written by hand
_OTHERS = "## Benchmarks with pages of their own"


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    # `extract` keeps its process to one core for a while, so what needs every core goes first
    scaling = scale.report()
    ingesting = ingest.report()
    answers = answering.report()
    decoding = extract.report()
    convolving = depthwise.report()
    _, _, others = README.read_text(encoding="utf-8").partition(_OTHERS)
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
{_OTHERS}{others}""",
    )
    print(README.read_text(encoding="utf-8"))


if __name__ == "__main__":
    errors.run(main)
