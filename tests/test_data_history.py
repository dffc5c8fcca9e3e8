"""New data beside those that were accepted last, with films of the synthetic source."""

import cv2
import numpy as np
import pytest

from kinoflow.data import history, looks
from kinoflow.data.history import Accepted, Known
from kinoflow.video.sampling import frame_indices
from kinoflow.video.spec import Frames
from stages.sources.synthetic import CLASSES, SyntheticVideo, render

LABELS = (0, 2, 4)  # three that are not each other backwards
OLD, NEW = range(1, 13), range(13, 18)  # recordings


def clip(label: int, group: int, seed: int) -> Frames:
    """What the clip store would hold of one film."""
    film = render(SyntheticVideo(seed, label, group, 1, 64, 48))
    chosen = film[frame_indices(len(film), 16)]
    return np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in chosen])


@pytest.fixture(scope="module")
def clips() -> dict[tuple[int, int], Frames]:
    """By class and recording; the new recordings come from another seed."""
    return {
        (label, group): clip(label, group, 7 if group in OLD else 8)
        for label in LABELS
        for group in (*OLD, *NEW)
    }


def known(label: str, group: object, clip: Frames, md5: str | None = None) -> Known:
    name = f"{label}/{group}.avi"
    look = tuple(looks.look(clip).tolist())
    return Known(video=name, label=label, group=f"{label} {group}", md5=md5 or name, look=look)


def data(*videos: Known, unreadable: int = 0, spec: str = "16x32x32") -> Accepted:
    return Accepted(dataset="{}", spec=spec, unreadable=unreadable, videos=videos)


def name(label: int) -> str:
    return CLASSES[label][0]


@pytest.fixture(scope="module")
def before(clips: dict[tuple[int, int], Frames]) -> Accepted:
    return data(*(known(name(label), g, clips[label, g]) for label in LABELS for g in OLD))


def new(
    clips: dict[tuple[int, int], Frames], light: float = 1, swapped: tuple[int, int] = (0, 0)
) -> list[Known]:
    """The new recordings; some darker, or with the labels of two classes swapped."""
    labels = {label: name(label) for label in LABELS}
    one, other = swapped
    labels[one], labels[other] = labels[other], labels[one]
    return [
        known(labels[label], f"new {label} {group}", (clips[label, group] * light).astype(np.uint8))
        for label in LABELS
        for group in NEW
    ]


def unexpected(now: Accepted, before: Accepted, *accept: str) -> list[str]:
    return history.unexpected(now, before, unreadable_jump=0.02, look_alpha=0.01, accept=accept)


def test_new_recordings_of_the_same_kind_pass(
    before: Accepted, clips: dict[tuple[int, int], Frames]
) -> None:
    assert unexpected(data(*before.videos, *new(clips)), before) == []
    # nor do renamed and deleted videos stand against anything
    renamed = [video.model_copy(update={"video": f"x/{video.video}"}) for video in before.videos]
    assert unexpected(data(*renamed[::2]), before) == []


def test_darker_videos_are_found_and_named(
    before: Accepted, clips: dict[tuple[int, int], Frames]
) -> None:
    dark = new(clips, light=0.6)
    [sentence] = unexpected(data(*before.videos, *dark), before)
    assert "brightness" in sentence or "contrast" in sentence
    assert "15 videos of 15 recordings" in sentence
    assert "validation.accept" in sentence
    names = [name(label) for label in LABELS]
    assert all(label in sentence for label in names)
    assert unexpected(data(*before.videos, *dark), before, *names) == []
    # two recordings of a class are too few to tell, but all classes are tested together as well
    few = [video for video in dark if video.group.endswith((" 13", " 14"))]
    assert len(few) == 6
    assert unexpected(data(*before.videos, *few), before)
    assert unexpected(data(*before.videos, *few[:2]), before) == []


@pytest.mark.parametrize("swapped", [(0, 2), (0, 4), (2, 4)])
def test_swapped_labels_of_new_videos_are_found(
    before: Accepted, clips: dict[tuple[int, int], Frames], swapped: tuple[int, int]
) -> None:
    sentences = unexpected(data(*before.videos, *new(clips, swapped=swapped)), before)
    named = {name(label) for label in swapped}
    assert len(sentences) == 2
    for sentence, label in zip(sentences, sorted(named), strict=True):
        assert sentence.startswith(f"the new videos of the class {label} look different")
        assert "5 videos of 5 recordings" in sentence


def test_a_mix_up_that_shows_in_no_single_number_shows_in_the_likeness_to_the_class() -> None:
    rng = np.random.default_rng(1)

    def video(label: str, like: str, number: int) -> Known:
        look = rng.normal(0.5 if like == "A" else -0.5, 1, len(looks.NAMES))
        file = f"{label}{number}"
        return Known(video=file, label=label, group=file, md5=file, look=tuple(look.tolist()))

    before = data(*(video(label, label, number) for label in "AB" for number in range(30)))
    right = [video(label, label, number) for label in "AB" for number in range(30, 36)]
    wrong = [video(label, like, number) for label, like in ("AB", "BA") for number in range(30, 36)]
    assert unexpected(data(*before.videos, *right), before) == []
    sentences = unexpected(data(*before.videos, *wrong), before)
    assert sentences
    assert all(looks.LIKENESS in sentence for sentence in sentences)


def test_changed_videos_are_compared_with_what_they_were(
    before: Accepted, clips: dict[tuple[int, int], Frames]
) -> None:
    # each recording is there before and now, so that even small changes show
    darker = [
        known(name(label), g, (clips[label, g] * 0.9).astype(np.uint8), f"darker {label} {g}")
        for label in LABELS
        for g in OLD
    ]
    assert unexpected(data(*darker), before)
    # of clips that are made in another way, looks say nothing
    assert unexpected(data(*darker, spec="32x32x32"), before) == []


def test_vanished_classes_and_unreadable_videos_are_said_with_how_to_accept_them(
    before: Accepted,
) -> None:
    odd = '<b>\n1e3\u202e"'
    videos = [*before.videos, before.videos[0].model_copy(update={"label": odd})]
    [vanished] = unexpected(before, data(*videos))
    assert vanished.startswith("the class <b>\\n1e3")
    assert "1 of its videos" in vanished
    assert unexpected(before, data(*videos), odd) == []

    assert unexpected(data(*before.videos, unreadable=0), before) == []
    [unreadable] = unexpected(data(*before.videos, unreadable=2), before)
    assert unreadable.startswith("5.3% of the videos cannot be read (2 of 38), and 0.0%")
    assert "validation.unreadable_jump" in unreadable
    # a person has chosen other data
    other = before.model_copy(update={"dataset": '{"source": "folder"}'})
    assert unexpected(other, data(*videos)) == []


def test_classes_with_few_recordings_are_left_out_instead_of_tested_in_vain() -> None:
    rng = np.random.default_rng(0)

    def sample(old: int, new: int, shift: float) -> looks.Sample:
        groups = np.array([f"g{number}" for number in range(old + new)], object)
        is_new = np.arange(old + new) >= old
        return looks.Sample(
            groups, is_new, rng.normal(size=(old + new, 5)) + shift * is_new[:, None]
        )

    found = looks.changes({"many": sample(20, 5, 4), "few": sample(3, 1, 4)}, 0.01)
    assert {*found} == {"many", None}
    assert {*looks.significant(found, 0.01)} == {"many", None}
    assert found["many"].now > found["many"].before
    quiet = looks.changes({str(number): sample(20, 5, 0) for number in range(20)}, 0.05)
    assert looks.significant(quiet, 0.05) == []
    assert looks.significant({}, 0.05) == []
    p: dict[str | None, looks.Change] = {
        key: found["many"]._replace(p=p) for key, p in {"a": 0.01, "b": 0.03, "c": 0.02}.items()
    }
    assert looks.significant(p, 0.05) == ["a", "c", "b"]
    assert looks.significant(p, 0.039) == ["a"]


def test_looks_of_tiny_blank_and_single_frames_are_numbers() -> None:
    for shape in ((1, 16, 16, 3), (2, 8, 8, 3), (32, 16, 16, 3)):
        for level in (0, 9, 255):
            found = looks.look(np.full(shape, level, np.uint8))
            assert found.shape == (len(looks.NAMES),)
            assert np.isfinite(found).all()
