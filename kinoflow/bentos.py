"""The .bento files in dist/: which one is served, and what is in one."""

import hashlib
import lzma
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from kinoflow.system import files
from kinoflow.system.errors import UserError

# model.keras of a bundle; of a form model.onnx, model.xml.gz with model.bin and so on, or a folder
_MODEL = re.compile(r"\./src/bundle/model(\.[\w.]+$|/)")

Identity = tuple[str, int, int, int]  # path, inode, bytes and time of change of a file


def newest(folder: Path) -> Path:
    """The .bento file that was made last. Raises UserError if the folder holds none."""
    bentos = sorted(folder.glob("[!.]*.bento"), key=lambda path: path.stat().st_mtime)
    if not bentos:
        raise UserError(f"{folder}/ holds no Bento: make one with `make repro`")
    return bentos[-1]


def champion(file: Path) -> Path | None:
    """The .bento file that is to be served.

    Args:
        file: `Workspace.champion`: one line, the name of a .bento file in the same folder.

    Returns None if there is no such file. Raises UserError if it holds something else.
    """
    try:
        name = file.read_text(encoding="utf-8").rstrip("\n")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        name = ""
    if not name.endswith(".bento") or name != Path(name).name or not name.isprintable():
        raise UserError(
            f"{file} does not name a .bento file in its folder: promote one, or delete it"
        )
    return file.with_name(name)


def crown(file: Path, bento: Path) -> None:
    """Have a .bento file served from now on: running services change to it.

    Args:
        file: `Workspace.champion`, which is replaced in one step.
        bento: the .bento file, in the same folder.

    Raises UserError if there is no such file in that folder.
    """
    if bento.parent.resolve() != file.parent.resolve() or not bento.is_file():
        raise UserError(f"there is no file {bento} in {file.parent}/")
    files.write_text(file, f"{bento.name}\n")


@dataclass(frozen=True)
class Source:
    """Where to find the .bento file that is to be served.

    Args:
        bento: the file; None: the champion of a folder or, without one, its newest.
        champion: `Workspace.champion`, in that folder.
    """

    bento: Path | None
    champion: Path

    def find(self) -> Path:
        """The .bento file. Raises UserError if there is none."""
        found = self.bento or champion(self.champion) or newest(self.champion.parent)
        if not found.is_file():
            raise UserError(f"there is no file {found}")
        return found


def identify(bento: Path) -> Identity:
    """What tells a file from the one that replaces it. Raises FileNotFoundError."""
    path = bento.resolve()
    about = path.stat()
    return str(path), about.st_ino, about.st_size, about.st_mtime_ns


def version(bento: Path) -> str:
    """The version of the Bento in a .bento file. Raises UserError if it is no Bento."""
    try:
        # as a stream: to look up a name would unpack the whole file, weights and all
        with tarfile.open(bento, "r|*") as archive:
            entry = next((entry for entry in archive if entry.name == "./bento.yaml"), None)
            description = archive.extractfile(entry) if entry else None
            found = re.search(
                rb"^version: '?([\w.-]+)", description.read() if description else b"", re.M
            )
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        found = None
    if found is None:
        raise UserError(f"{bento} is no Bento, or a damaged one")
    return found[1].decode()


def extract_bento(bento: Path, folder: Path) -> None:
    """Extract a .bento file into a folder. Raises UserError if it is missing or no whole Bento."""
    if not bento.is_file():
        raise UserError(f"there is no file {bento}")
    try:
        with tarfile.open(bento) as archive:
            # "data": nothing lands outside the folder, no links out of it, no devices
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        raise UserError(f"{bento} is no Bento, or a damaged one") from None
    if not (folder / "bento.yaml").is_file():
        raise UserError(f"{bento} is no Bento")


def model_md5(bento: Path) -> str:
    """The MD5 of the model in a .bento file. Raises UserError if it is no whole Bento."""
    found = hashlib.md5(usedforsecurity=False)
    files_of_model = 0
    try:
        with tarfile.open(bento, "r|*") as archive:
            # in the order of their names, as `stages.package_build` writes them
            for entry in archive:
                if _MODEL.match(entry.name) and (content := archive.extractfile(entry)):
                    files_of_model += 1
                    found.update(content.read())
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        files_of_model = 0
    if not files_of_model:
        raise UserError(f"{bento} is no Bento, or a damaged one")
    return found.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of the model in the folder of a bundle or a form, in the order of their names."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and _MODEL.match(f"./src/bundle/{path.relative_to(folder).as_posix()}")
    )


def keep(bento: Path) -> Path:
    """Copy a .bento file beside itself, under a name with its version, and return the copy.

    A copy that is there already stays. At every moment there is no copy or a whole one.
    """
    copy = bento.with_name(f"kinoflow-{version(bento)}.bento")
    if not copy.exists():
        with files.replacing(copy) as partial:
            shutil.copyfile(bento, partial)
    return copy
