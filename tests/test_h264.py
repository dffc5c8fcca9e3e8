"""Films as H.264: equal frames give equal bytes, whatever the memory held before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.system import files

# a pattern that moves before a still ground, 64 pixels wide: x264 predicts blocks from each other
_WRITE = """
import sys
from fractions import Fraction
from pathlib import Path
import av, cv2, numpy as np
from kinoflow.video import h264

width, height = 64, 48
noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
ground = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
with h264.creating(Path(sys.argv[1])) as out:
    stream = h264.add_stream(out, Fraction(25), {"crf": "26"})
    stream.width, stream.height = width, height
    for number in range(16):
        picture = ground.copy()
        picture[:24] = np.roll(picture[:24], 3 * number, axis=1)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    out.mux(stream.encode())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc's malloc")
def test_the_bytes_of_a_film_do_not_depend_on_what_the_memory_held(tmp_path: Path) -> None:
    written = []
    for filled in ("1", "90", "200"):  # memory that nothing was written to holds these bytes
        path = tmp_path / f"{filled}.mp4"
        subprocess.run(
            [sys.executable, "-c", _WRITE, str(path)],
            env={**os.environ, "MALLOC_PERTURB_": filled},
            check=True,
        )
        written.append(files.md5(path))
    assert len(set(written)) == 1
