"""Bring the videos of `dataset` into data/ and pin them in data.dvc.

This is a sync: files that are there and unchanged are not fetched again, files that the source no
longer has are removed, and data.dvc changes only when the data did.
"""

import argparse
import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import names
from kinoflow.system import dvc_rwlock, files, locks
from kinoflow.system.errors import UserError
from kinoflow.system.terminal import progress
from kinoflow.workspace import LISTS, TRUTH, Workspace, run
from stages.sources import registry
from stages.sources.item import Item, copied
from stages.sources.remote.addresses import redacted
from stages.sources.subset import select_items

# reasons that DVC gives for a failure, and what to do about each
_REMEDIES = {
    "is not a git repository": "run `git init` there, the pin belongs into git",
    "not inside of a DVC repository": "run this at the root of the repository",
}


def items(params: Params, downloads: Path) -> list[Item]:
    """Everything that data/ should hold; `downloads` is the folder .downloads/.

    Raises UserError as the source does, if `dataset.lists` holds no split lists, and for names
    that data/ cannot hold. Every name from every source is checked here.
    """
    dataset = params.dataset
    found = registry.find(dataset.source)(dataset, params.seed, downloads)
    selected = select_items([*found, *_list_items(dataset.lists)], dataset)
    place = redacted(dataset.path or dataset.source)
    videos = (item.name.removeprefix(f"{LISTS}/") for item in selected if item.name != TRUTH)
    names.check_videos(videos, place)
    return selected


def sync(
    wanted: Iterable[Item], folder: Path, manifest: Path, *, workers: int = 1, prune: bool = False
) -> list[str]:
    """Make `folder` hold exactly the wanted files.

    Args:
        wanted: the files to hold.
        folder: where they go.
        manifest: a JSON file that remembers what was fetched before.
        workers: how many files are fetched at a time.
        prune: remove files that are neither wanted nor in the manifest.

    Returns the names of the files that are new, have new content or were removed.

    Raises UserError for files in `folder` that are neither wanted nor in the manifest, unless
    `prune` is set: a user may have put them there. Raises what fetching raises, too.
    """
    by_name = {item.name: item for item in wanted}
    files.sweep(folder)
    known = _known(manifest)
    extra, stale = _differences(by_name, folder, known)
    strangers = sorted(extra - known.keys())
    if strangers and not prune:
        raise UserError(
            f"{folder}/ holds {len(strangers)} files that the dataset does not have, the first "
            f"{strangers[0]}: move them away, or remove them with "
            "`python -m stages.download --prune`"
        )

    folder.mkdir(parents=True, exist_ok=True)
    for name in extra:
        (folder / name).unlink()
    _remove_empty_folders(folder)
    changed = sorted(extra) + _fetch_all([by_name[name] for name in stale], folder, workers)
    if changed:
        files.flush(folder)
    files.write_json(
        manifest, {name: _entry(item, folder / name) for name, item in sorted(by_name.items())}
    )
    return changed


def _known(manifest: Path) -> dict[str, Any]:
    """What was fetched before, by the names of files."""
    return files.read_json(manifest) if manifest.exists() else {}


def _differences(
    wanted: Mapping[str, Item], folder: Path, known: Mapping[str, Any]
) -> tuple[set[str], list[str]]:
    """The names of files in `folder` that are not wanted, and of those that are to be fetched.

    Args:
        wanted: the files that `folder` should hold, by name.
        folder: where they lie.
        known: what was fetched before.
    """
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    stale = [
        name
        for name, item in wanted.items()
        if name not in present or known.get(name) != _entry(item, folder / name)
    ]
    return present - wanted.keys(), sorted(stale)


def pin(folder: Path) -> None:
    """Record the content of `folder`, which lies at the root of the repository, in its .dvc file.

    Raises UserError if DVC refuses, with its reason and, where known, what to do.
    """
    # with --quiet DVC would give no reason
    added = subprocess.run(
        [sys.executable, "-m", "dvc", "add", folder.name],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if added.returncode:
        reason = _reason(added.stderr) or f"it ended with {added.returncode} and no reason"
        remedy = next((advice for text, advice in _REMEDIES.items() if text in reason), "")
        raise UserError(
            f"{folder}/ is here but not pinned, `dvc add {folder.name}`: {reason}"
            + (f": {remedy}" if remedy else "")
        )


def share(wanted: Iterable[Item], folder: Path) -> None:
    """Replace each item's original by a hard link to the file in `folder`, to store it only once.

    The files in `folder` stay as they are, because DVC has linked those to its cache.
    """
    for item in wanted:
        if item.original is None or item.original.samefile(folder / item.name):
            continue
        with contextlib.suppress(OSError), files.replacing(item.original) as link:
            link.hardlink_to(folder / item.name)


def _reason(said: str) -> str:
    """The errors among what DVC said, or all of it where it marks none as an error."""
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    return "; ".join(line.removeprefix("ERROR: ").strip() for line in errors) or said.strip()


def _fetch_all(items: list[Item], folder: Path, workers: int) -> list[str]:
    """Fetch the items, several at a time; return the names whose content is new."""
    targets = [folder / item.name for item in items]
    if not items:
        return []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(items)), mp_context=context, initializer=_end_with_parent
    ) as pool:
        done = pool.map(_fetch, items, targets, chunksize=4)
        try:
            is_new = list(progress(done, "download", total=len(items)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [item.name for item, new in zip(items, is_new, strict=True) if new]


def _end_with_parent() -> None:
    """End this process when its parent ends, even if it is killed: the parent holds the lock."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _fetch(item: Item, target: Path) -> bool:
    """Fetch an item; return whether its content is new."""
    with files.replacing(target, durable=False) as partial:
        item.fetch(partial)
        new = not target.exists() or files.md5(target) != files.md5(partial)
        if new and target.exists():
            # DVC may have linked the file to its cache: replace it, never write through the link
            target.unlink()
    return new


def _entry(item: Item, path: Path) -> dict[str, Any]:
    return {"fingerprint": item.fingerprint, "bytes": path.stat().st_size}


def _list_items(folder: Path | None) -> list[Item]:
    """The published split lists in a folder of the user."""
    if folder is None:
        return []
    folder = folder.expanduser()
    lists = sorted({*folder.glob("t*list*.txt"), *folder.glob("*_test_split*.txt")})
    if not lists:
        raise UserError(
            f"dataset.lists {folder} holds neither trainlistNN.txt and testlistNN.txt, as UCF-101 "
            "has them, nor <class>_test_splitN.txt, as HMDB-51 has"
        )
    return [copied(path, f"{LISTS}/{path.name}") for path in lists]


def _remove_empty_folders(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _unpinned(workspace: Workspace) -> Path:
    """A file that exists while data/ may differ from its pin: the run after a stopped one pins."""
    return workspace.downloaded.with_name("unpinned")


def _is_pinned(workspace: Workspace) -> bool:
    return workspace.data_dvc.exists() and not _unpinned(workspace).exists()


def check(workspace: Workspace, params: Params) -> None:
    """Say whether data/ is as its source has it, and end with exit code 1 if it is not."""
    wanted = {item.name: item for item in items(params, workspace.downloads)}
    extra, stale = _differences(wanted, workspace.data, _known(workspace.downloaded))
    if extra or stale or not _is_pinned(workspace):
        print(f"download: {len(extra) + len(stale)} files are new, changed or to be removed")
        sys.exit(1)
    print(f"download: nothing new, {len(wanted)} in {workspace.data}/ ({params.dataset.source})")


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.download", description=__doc__)
    parser.add_argument(
        "--prune", action="store_true", help="remove files in data/ that the dataset does not have"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="only say whether data/ is up to date: exit code 0 or 1",
    )
    arguments = parser.parse_args()
    params = config.load(workspace.params)
    if arguments.check:
        check(workspace, params)
        return
    # every run of the pipeline begins here
    dvc_rwlock.mend(workspace.root)
    unpinned = _unpinned(workspace)
    with locks.held(workspace.lock("data"), "bringing the data"):
        wanted = items(params, workspace.downloads)
        pinned = _is_pinned(workspace)
        files.write_text(unpinned, "")
        changed = sync(
            wanted,
            workspace.data,
            workspace.downloaded,
            workers=params.compute.workers or os.cpu_count() or 1,
            prune=arguments.prune,
        )
        if changed or not pinned:
            pin(workspace.data)
            share(wanted, workspace.data)
        unpinned.unlink()
    what = f"{len(changed)} files new or removed" if changed else "nothing new"
    print(f"download: {what}, {len(wanted)} in {workspace.data}/ ({params.dataset.source})")


if __name__ == "__main__":
    run(main)
