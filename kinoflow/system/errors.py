"""How commands end: with one line that tells the user what to do, or with a bug's traceback."""

import errno
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from kinoflow.system import lean, terminal

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


# exit codes; that of Unavailable is EX_TEMPFAIL of BSD's sysexits.h
_USER_ERROR = 2
MAY_PASS = 75


class UserError(Exception):
    """A fault that the user can mend. Its text is one line: what, where, and what to do."""


class Unavailable(UserError):
    """A fault that may pass by itself, such as a server that does not answer: try again later."""


def run(
    main: Callable[[], None],
    *,
    missing: Callable[[FileNotFoundError], str | None] = lambda error: None,
) -> NoReturn:
    """Run a command's `main` and exit.

    The exit code is 0, or 2 with one line on stderr for a UserError, a full disk, or a missing
    file that `missing` explains, or 75 likewise for Unavailable, or 130 after Ctrl-C. Other
    exceptions are bugs and pass through.

    Args:
        main: the command.
        missing: returns one line on what to do about a missing file, or None if it knows nothing.
    """
    terminal.quiet()
    lean.start_sooner()
    try:
        main()
    except Unavailable as error:
        fail(str(error), MAY_PASS)
    except UserError as error:
        fail(str(error))
    except FileNotFoundError as error:
        if (explanation := missing(error)) is None:
            raise
        fail(explanation)
    except OSError as error:
        if not no_space(error):
            raise
        fail(
            f"no space left to write {error.filename or 'a file'} ({error.strerror or error}): "
            "free some and run again, finished work is kept"
        )
    except KeyboardInterrupt:
        print("interrupted: run again to go on from here", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def no_space(error: OSError) -> bool:
    """Whether the disk is full, or a quota or a limit on file size is exceeded."""
    # HDF5 gives the error number only in its message
    hidden = re.search(r"errno = (\d+)", str(error))
    return (int(hidden[1]) if hidden else error.errno) in _NO_SPACE


def fail(message: str, code: int = _USER_ERROR) -> NoReturn:
    """Print `error: message` as a single line on stderr and exit with `code`."""
    print("error: " + terminal.printable(" ".join(message.split())), file=sys.stderr)
    sys.exit(code)
