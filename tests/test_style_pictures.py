"""Pictures are read as people see them, and what is none is refused in one line."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinoflow.style import pictures
from kinoflow.system.errors import UserError
from tests.media import moving_square, write_video
from tests.style import scene


def test_a_written_picture_is_read_again(tmp_path: Path) -> None:
    picture = scene()
    pictures.write(tmp_path / "a.png", picture)
    assert np.abs(pictures.read(tmp_path / "a.png") - picture).max() <= 0.5 / 255 + 1e-6
    pictures.write(tmp_path / "a.jpg", picture)
    assert np.abs(pictures.read(tmp_path / "a.jpg") - picture).mean() < 0.02
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.jpg", "a.png"]


def test_a_picture_is_turned_as_its_camera_was(tmp_path: Path) -> None:
    image = Image.fromarray(pictures.to_bytes(scene(40, 48)))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn to the right
    image.save(tmp_path / "a.png", exif=exif)
    assert pictures.read(tmp_path / "a.png").shape == (48, 40, 3)


def test_transparent_pixels_are_white_and_16_bits_are_as_bright_as_8(tmp_path: Path) -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:, :2] = (255, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    found = pictures.read(tmp_path / "clear.png")
    assert found[0, 0].tolist() == [1, 0, 0]
    assert found[0, 3].tolist() == [1, 1, 1]
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    assert pictures.read(tmp_path / "deep.png")[0, 0] == pytest.approx(128 / 255)


def png_of(width: int, height: int) -> bytes:
    """The beginning of a PNG file of any size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.png", None, "no such file"),
        ("text.png", b"no picture", "no picture, or a damaged one"),
        ("empty.png", b"", "no picture, or a damaged one"),
        ("cut.png", png_of(20, 20), "no picture, or a damaged one"),
        ("huge.png", png_of(30000, 30000), "million"),
        ("large.png", png_of(11000, 10000), "110 million: at most 100 million"),
        ("dot.png", png_of(1, 1), "nothing can be seen"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        pictures.read(tmp_path / name)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_pictures_and_videos_are_told_apart(tmp_path: Path) -> None:
    pictures.write(tmp_path / "a.jpg", scene())
    assert pictures.is_picture((tmp_path / "a.jpg").rename(tmp_path / "odd.name"))
    assert not pictures.is_picture(write_video(tmp_path / "a.avi", moving_square(3)))
    (tmp_path / "huge.png").write_bytes(png_of(30000, 30000))
    assert pictures.is_picture(tmp_path / "huge.png")


@pytest.mark.parametrize(
    ("shape", "longest", "size"),
    [
        ((240, 320), None, (240, 320)),
        ((240, 320), 512, (240, 320)),
        ((1080, 1920), 512, (288, 512)),
        ((33, 47), None, (33, 47)),
        ((8, 16), None, (32, 64)),
        ((10, 1000), 100, (32, 100)),
    ],
)
def test_sizes_keep_their_shape_and_are_large_enough_for_networks(
    shape: tuple[int, int], longest: int | None, size: tuple[int, int]
) -> None:
    assert pictures.size_within(shape, longest) == size


def test_colours_of_another_palette_have_its_mean_and_deviation() -> None:
    content, other = 0.3 + 0.2 * scene(), 0.4 + 0.2 * scene(seed=3)
    wanted = pictures.palette(other)
    found = pictures.palette(pictures.painted_from(content, wanted))
    assert np.abs(found.mean - wanted.mean).max() < 1e-3
    assert np.abs(found.covariance - wanted.covariance).max() < 1e-3
    assert np.allclose(pictures.painted_from(content, wanted, 0.0), content, atol=1e-6)


def test_noise_in_the_dark_stays_small() -> None:
    dark = 0.01 * scene()
    painted = pictures.painted_from(dark, pictures.palette(scene(seed=3)))
    assert painted.std(axis=(0, 1)).max() < 3.1 * dark.std(axis=(0, 1)).max()


def test_brightness_of_one_picture_goes_with_the_colours_of_another() -> None:
    bright, colours = 0.4 + 0.2 * scene(seed=1), 0.4 + 0.2 * scene(seed=2)
    found = pictures.recoloured(bright, colours)
    assert np.allclose(pictures.luminance(found), pictures.luminance(bright), atol=1e-5)
    differences = found - colours
    assert np.allclose(differences[..., 0], differences[..., 2], atol=1e-5)
