"""What a request is told when its upload cannot be decoded, or not in time."""

import time
from pathlib import Path

import pytest

from kinoflow.system.sandbox import Bounds
from kinoflow.video.spec import ClipSpec
from serving.decoding import decode
from serving.refusals import Refusal
from tests.attack.video_bombs import burning_gif
from tests.children import nothing_runs

CLIP = ClipSpec(4, 16, 16)


@pytest.mark.parametrize(("left", "status", "says"), [(0, 503, "busy"), (0.5, 504, "not decoded")])
def test_a_request_is_told_whose_fault_it_was(
    tmp_path: Path, left: float, status: int, says: str
) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(burning_gif())
    begun = time.monotonic()
    with pytest.raises(Refusal, match=says) as refusal:
        decode(path, CLIP, Bounds(60, 2048), begun + left)
    assert refusal.value.status == status
    assert time.monotonic() - begun < 5
    assert nothing_runs()


def test_a_file_that_takes_too_much_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(burning_gif())
    with pytest.raises(
        Refusal, match=r"cannot be read as a video: .*longer than 0\.5 s"
    ) as refusal:
        decode(path, CLIP, Bounds(0.5, 2048), time.monotonic() + 60)
    assert refusal.value.status == 400
