"""Make the gallery of repainted films, reports/style/index.html, from the films below that folder.

    python -m stages.style_gallery

Films that belong together lie in one folder and have names that begin alike: `dance.before.mp4`,
`dance.waves.mp4`. What stands between the last two dots says what was made of the clip. `before`
comes first, and `truth`, what should have been made of it, last. The page holds the films, so that
it can be sent as one file.
"""

from pathlib import Path

from kinoflow.reports import page
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

BEFORE, TRUTH = "before", "truth"
_MOST = 60_000_000  # bytes of films on the page; browsers are slow with more


def grouped(folder: Path) -> dict[str, list[tuple[str, Path]]]:
    """The films below a folder by their clip: what was made of it, and the file."""
    clips: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(folder.rglob("*.mp4")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if any(part.startswith(".") for part in name.split("/")):
            continue  # unfinished
        clip, _, way = name.rpartition(".")
        clips.setdefault(clip or name, []).append((way if clip else "", path))
    for versions in clips.values():
        versions.sort(key=lambda version: (version[0] != BEFORE, version[0] == TRUTH, version[0]))
    return clips


def render(folder: Path, *, report: bool) -> str:
    """The page as HTML: as many clips as it can hold, in the order of their names.

    Args:
        folder: of the films.
        report: whether there is a page of the run to lead back to, in the folder above.

    Raises UserError if there is no film.
    """
    clips = grouped(folder)
    if not clips:
        raise UserError(
            f"{folder} holds no films: `make style` makes some, and so does "
            f"`kinoflow style CLIP --style PICTURE -o {folder}/NAME.LOOK.mp4`"
        )
    shown: list[tuple[str, list[tuple[str, bytes]]]] = []
    size = 0
    for clip, versions in clips.items():
        size += sum(path.stat().st_size for _, path in versions)
        if shown and size > _MOST:
            break
        shown.append((clip, [(way, path.read_bytes()) for way, path in versions]))
    return page.render("style.html", clips=shown, left_out=len(clips) - len(shown), report=report)


def main(workspace: Workspace) -> None:
    folder = workspace.reports / "style"
    text = render(folder, report=workspace.page.is_file())
    files.write_text(folder / "index.html", text)
    print(f"gallery: {folder / 'index.html'}, {len(text.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
