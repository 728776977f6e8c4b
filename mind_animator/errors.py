"""The exception raised for user errors, and its presentation on the command line."""

import re
import sys
from collections.abc import Callable


class InputError(ValueError):
    """An error that the user can fix. The message states the expected and the found value and the file, key or subject.

    Command-line programs print the message as one line and exit with status 2. Any other exception is a bug and is
    shown with its traceback.
    """


def run_command(main: Callable[[], int | None]) -> None:
    """Run ``main`` of a command-line program. An `InputError` or a full disk gives one line on stderr and
    exit status 2."""
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
    """The message of the operating system if an error of any library reports a full disk or quota, otherwise None."""
    found = re.search(r"No space left on device|Disk quota exceeded", str(error))
    return found[0] if found else None


def _complain(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 2
