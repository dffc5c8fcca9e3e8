"""Build a Bento and export it as a file that holds no dates."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from kinoflow.system.errors import UserError

_ENTRYPOINT = """\
#!/bin/sh
# This replaces the script of BentoML. That one starts `bentoml serve`, which opens a second port
# over which everybody on this machine can start programs. The argument `serve`, and options, start
# the server of this Bento, `keys` makes keys for it; any other arguments are a command to run.
set -e
case "${1:-serve}" in
  serve) shift $(( $# > 0 )) ;;
  -*) ;;
  keys) shift; cd "$BENTO_PATH/src"; exec python -m serving.keys "$@" ;;
  *) exec "$@" ;;
esac
cd "$BENTO_PATH/src"
exec python -m serving.server --host 0.0.0.0 --port "${PORT:-3000}" "$@"
"""

# the oldest date that every archive format can hold
_DATE = "1980-01-01T00:00:00+00:00"
_SECONDS = 315532800


def build(context: Path, version: str, home: Path) -> Path:
    """Build a Bento from what was assembled in `context`, offline.

    Args:
        context: the assembled folder.
        version: of the Bento.
        home: a BENTOML_HOME of its own, which must not lie in `context`.

    Returns the folder of the Bento. Raises UserError with the last lines that BentoML printed if
    it fails.
    """
    command = [sys.executable, "-m", "bentoml", "build", "--version", version, str(context)]
    built = subprocess.run(
        command,
        env={**os.environ, "BENTOML_HOME": str(home)},
        cwd=context.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise UserError(f"bentoml build: {tail(built.stdout + built.stderr)}")
    return home / "bentos" / "kinoflow" / version


def export(built: Path, target: Path) -> None:
    """Write a built Bento as a .bento file, as `bentoml export` does but without any dates.

    A container that is made of it starts `serving.server`.
    """
    (built / "env" / "docker" / "entrypoint.sh").write_text(_ENTRYPOINT, encoding="utf-8")
    description = built / "bento.yaml"
    text = description.read_text(encoding="utf-8")
    description.write_text(
        re.sub(r"^creation_time: .*", f"creation_time: '{_DATE}'", text, flags=re.MULTILINE),
        encoding="utf-8",
    )
    # trained weights hardly shrink, so a higher preset would only take longer
    with tarfile.open(target, "w:xz", preset=1) as archive:
        for path in sorted(built.rglob("*")):
            name = f"./{path.relative_to(built).as_posix()}"
            archive.add(path, name, recursive=False, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = _SECONDS
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def tail(text: str) -> str:
    """The last four lines that are not empty, joined into one."""
    return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-4:])
