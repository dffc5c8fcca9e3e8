"""Read and write pictures, and bring them to the size that they are painted at."""

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import printable
from kinoflow.video.spec import Frames

Picture = NDArray[np.float32]  # RGB in [0, 1], (H, W, 3)

LEAST = 32  # pixels: what networks need at each side
_MOST = 100_000_000  # pixels of a picture that is read; that many take 300 MB, and 1.2 GB as floats
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
WRITTEN = (".png", ".jpg", ".jpeg")
# so that a browser, a viewer and a reader of ours see the same
_OPTIONS = {".png": {"compress_level": 6}}
_JPEG = {"quality": 95, "subsampling": 0}
_LEAST_SPREAD = 1e-4  # a variance of colours, so that no palette is a single colour
_MOST_CONTRAST = 3.0  # by which colours are spread at most to fit a palette
# which colours give luminance, of Rec. 601
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does, and not as a video."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=_FORMATS).close()
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def read(path: Path) -> Picture:
    """A picture, turned as its camera was, in front of white where it is transparent.

    Args:
        path: a PNG, JPEG, WebP, TIFF or BMP file.

    Raises UserError for a file that is missing, no picture or damaged, and for a picture that is
    too large or too small.
    """
    name = printable(str(path))
    if not path.is_file():
        raise UserError(f"{name}: there is no such file")
    try:
        # the size is checked below, before the pixels are read
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
        with image:
            _check_size(name, *image.size)
            upright = ImageOps.exif_transpose(image)
            return _floats(_rgb(upright))
    except Image.DecompressionBombError:
        raise UserError(f"{name} has more than {_MOST / 1e6:.0f} million pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        formats = ", ".join(_FORMATS)
        raise UserError(f"{name} is no picture, or a damaged one: give one of {formats}") from None


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > _MOST:
        raise UserError(
            f"{name} has {width}x{height} pixels, {width * height / 1e6:.0f} million: at most "
            f"{_MOST / 1e6:.0f} million are read, make it smaller"
        )
    if min(width, height) < 2:
        raise UserError(f"{name} has {width}x{height} pixels: nothing can be seen in it")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # grey of 16 bits, of which Pillow would keep the lowest 8
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def write(path: Path, picture: Picture) -> None:
    """Write a picture (H, W, 3), whole or not at all.

    Args:
        path: .png or .jpg.
    """
    options = _OPTIONS.get(path.suffix.lower(), _JPEG)
    with files.replacing(path) as partial:
        Image.fromarray(to_bytes(picture)).save(partial, **options)  # type: ignore[arg-type]


def to_bytes(picture: Picture) -> Frames:
    """Colours in [0, 1] as uint8."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def to_floats(frame: Frames) -> Picture:
    """Colours of uint8 in [0, 1]."""
    return _floats(frame)


def _floats(image: object) -> Picture:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def size_within(shape: Sequence[int], longest: int | None) -> tuple[int, int]:
    """The size, (height, width), at which something is painted: smaller, or larger if tiny.

    Its shape is kept, unless a side would have less than 32 pixels, which networks need.

    Args:
        shape: of what is to be painted: height, width, and more.
        longest: at most so many pixels for the longer side; None: as it is.
    """
    height, width = shape[:2]
    most = math.inf if longest is None else longest / max(height, width)
    scale = min(most, max(1.0, LEAST / min(height, width)))
    return max(LEAST, round(height * scale)), max(LEAST, round(width * scale))


def resized(picture: NDArray, height: int, width: int) -> NDArray:
    """A picture (H, W, C) of any type scaled to another size, without stairs."""
    if picture.shape[:2] == (height, width):
        return picture
    smaller = height * width < picture.shape[0] * picture.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (width, height), interpolation=way)
    if scaled.dtype == np.float32:
        scaled = np.clip(scaled, 0, 1)
    return scaled.reshape(height, width, -1)


def luminance(picture: Picture) -> Picture:
    """How bright the pixels are, (H, W, 1)."""
    return (picture @ _LUMA)[..., None]


def grey(picture: Picture) -> Picture:
    """The picture without its colours, (H, W, 3)."""
    return np.repeat(luminance(picture), 3, axis=2)


def recoloured(picture: Picture, colours: Picture) -> Picture:
    """The brightness of one picture with the colours of another, both (H, W, 3).

    Gatys et al., "Preserving Color in Neural Artistic Style Transfer" (2016), section 4.
    """
    # a change of luminance alone, with hue and saturation kept, is the same for red, green and blue
    return np.clip(colours + luminance(picture) - luminance(colours), 0, 1)


def as_bright_as(picture: Picture, other: Picture) -> Picture:
    """A picture whose luminance has the mean and deviation of another's, grey, (H, W, 3)."""
    light, wanted = luminance(picture), luminance(other)
    spread = min(_MOST_CONTRAST, float(wanted.std()) / max(float(light.std()), 1e-3))
    matched = (light - light.mean()) * spread + wanted.mean()
    return np.repeat(np.clip(matched, 0, 1), 3, axis=2).astype(np.float32)


class Palette(NamedTuple):
    """Which colours a picture has: their mean (3,) and covariance (3, 3)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def palette(picture: Picture) -> Palette:
    """The palette of a picture (H, W, 3)."""
    colours = picture.reshape(-1, 3).astype(np.float64)
    return Palette(colours.mean(axis=0), np.cov(colours.T) + _LEAST_SPREAD * np.eye(3))


def painted_from(picture: Picture, wanted: Palette, share: float = 1.0) -> Picture:
    """A picture with colours of another palette.

    Colours are mapped by the linear map that moves them least: Pitie and Kokaram, "The Linear
    Monge-Kantorovitch Linear Colour Mapping for Example-Based Colour Transfer" (CVMP 2007).

    Args:
        picture: (H, W, 3).
        wanted: the palette.
        share: 1 to have its colours, less to stay nearer to one's own.
    """
    own = palette(picture)
    root = _of_eigenvalues(own.covariance, np.sqrt)
    inverse = np.linalg.inv(root)
    turn = inverse @ _of_eigenvalues(root @ wanted.covariance @ root, np.sqrt) @ inverse
    # nothing but noise is in a dark frame, and it would be seen
    turn = _of_eigenvalues(turn, lambda values: np.minimum(values, _MOST_CONTRAST))
    moved = (picture - own.mean) @ turn + wanted.mean
    return np.clip(picture + share * (moved - picture), 0, 1).astype(np.float32)


def _of_eigenvalues(
    matrix: NDArray[np.float64], function: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """A function of a symmetric matrix that has no negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * function(np.maximum(values, 0))) @ vectors.T)
