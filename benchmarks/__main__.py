"""Run all benchmarks and write benchmarks/README.md."""

import argparse
from pathlib import Path

from benchmarks import depthwise, extract, machine, scale
from kinoflow.system import errors, files

README = Path(__file__).parent / "README.md"


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    # first what needs every core, since the comparison of decoders keeps to one
    scaling = scale.report()
    decoding = extract.report()
    convolving = depthwise.report()
    files.write_text(
        README,
        f"""# Benchmarks

`make benchmarks` measures on the machine at hand and writes this page; `KINOFLOW_REAL_DATA` may
name a folder whose `ucf101-mini/` holds real clips, else films are rendered. What is compared is
compared within one run. Seconds are worth little elsewhere, ratios a little more.

{machine.name()}
{machine.versions()}

## Decoding

{decoding}
PyAV at its best is as fast as kinoflow, which uses it. The header that it then trusts is wrong in
many files, and kinoflow checks it.

## Scale

{scaling}
## Depthwise convolution

{convolving}
How accurate the architectures are is measured by `python -m benchmarks.accuracy`, which takes an
hour and more: [accuracy.md](accuracy.md).
How far tests are from their bounds on other processors: `python -m benchmarks.numerics`,
[numerics.md](numerics.md). How much of a training is the same again:
`python -m benchmarks.repeats`, [repeats.md](repeats.md).
""",
    )
    print(README.read_text(encoding="utf-8"))


if __name__ == "__main__":
    errors.run(main)
