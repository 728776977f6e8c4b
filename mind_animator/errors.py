"""The one exception that a user's mistake raises, and how a command line shows it."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Something a user can mend: what was expected, what was found, and where (file, key, subject).

    Command lines print its text as one line and exit with status 2; everything else is a bug and keeps its
    traceback.
    """


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command line's ``main``; an `InputError` or a full disk becomes one line on stderr, exit 2."""
    try:
        status = main()
    except InputError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        sys.exit(_complain(f"Expected room on the disk, got '{error.strerror}' at {error.filename}."))
    sys.exit(status or 0)


_DISK_FULL = (28, 122)  # ENOSPC, EDQUOT


def _complain(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 2
