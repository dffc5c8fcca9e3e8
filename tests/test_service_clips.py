"""POST /predict_clip: a clip that comes as an array."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinoflow.video import sample
from serving.answering import Answering
from tests.asgi import Client

pytest_plugins = ["tests.api_fixtures"]


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["npy", "npy by columns", "raw"])
def test_a_clip_is_answered_as_the_bundle_does(
    ask: Client, answering: Answering, video: Path, form: str
) -> None:
    clip = sample(video, answering.bundle.clip)
    body = {
        "npy": npy(clip),
        "npy by columns": npy(np.asfortranarray(clip)),
        "raw": clip.tobytes(),
    }[form]
    answer = ask("POST", "/predict_clip", content=body)
    assert answer.status_code == 200, answer.text
    (expected,) = answering.bundle.predict(clip[None])
    said = answer.json()
    assert tuple(said["probabilities"]) == answering.bundle.labels
    assert np.abs(np.array([*said["probabilities"].values()]) - expected).max() < 1e-5
    assert said["label"] == answering.bundle.labels[expected.argmax()]
    assert said["model"]["candidate"] == "voting"
    assert said["milliseconds"]["inference"] > 0


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(ask: Client, tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "exploded")
    bodies = [
        npy(np.array([bomb], dtype=object), allow_pickle=True),
        pickle.dumps(bomb),
    ]
    for body in bodies:
        answer = ask("POST", "/predict_clip", content=body)
        assert answer.status_code == 400
        assert "uint8 array of shape (4, 16, 16, 3)" in answer.json()["error"]
    assert not bomb.path.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{'descr'",
        b"\x93NUMPY\x09\x00\x00\x00",
        npy(np.zeros((4, 16, 16, 3), np.float32))[:2000],
        npy(np.zeros((4, 8, 16, 3), np.uint8)),
        npy(np.zeros((4, 16, 16, 3), np.int8)),
        npy(np.zeros((4, 16, 16, 3), np.uint8))[:-1],
        npy(np.zeros(5, np.uint8)).replace(b"(5,), ", b"(-5,),"),
    ],
)
def test_another_array_is_refused(ask: Client, wrong: bytes) -> None:
    answer = ask("POST", "/predict_clip", content=wrong)
    assert answer.status_code == 400, answer.text
    assert "send a clip as a uint8 array" in answer.json()["error"]


def test_a_body_larger_than_a_clip_is_not_read(ask: Client) -> None:
    answer = ask("POST", "/predict_clip", content=bytes(100_000))
    assert answer.status_code == 413
