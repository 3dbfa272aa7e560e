"""Becomes another program, one that the kernel kills when its parent is gone: `leash.py PARENT COMMAND...`.

A supervisor cleans up after itself on every path but one: `kill -9`. This closes that one. It is run by its
path and imports nothing of this package, so that it starts quickly and in any environment. A hook between
fork and exec would need no extra program, but is unsafe in a process that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_NOT_STARTED = 127


def main(arguments: list[str]) -> int:
    """Become the command in `arguments[1:]`; the result is a failure's exit status."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":  # elsewhere there is no such promise to be had
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return _NOT_STARTED  # it went before the promise was made
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming that command is the whole purpose
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return _NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
