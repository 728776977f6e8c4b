"""The one exception that a user's mistake raises, and how a command line shows it."""

import re
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
    except Exception as error:
        if not (reason := disk_full(error)):
            raise
        sys.exit(_complain(f"Expected room on the disk, got '{reason}'."))
    sys.exit(status or 0)


def disk_full(error: BaseException) -> str | None:
    """The system's words where an error, of whatever library, says that a disk or a quota is full."""
    found = re.search(r"No space left on device|Disk quota exceeded", str(error))
    return found[0] if found else None


def _complain(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 2
