"""The ``featx`` command: each subcommand is a thin skin over one public function.

Owns exit statuses: 0 done, 1 something was found wrong (``doctor``, ``cache verify``), 2 a mistake of the user's, told in one
line without a traceback, 130 interrupted. Results go to standard output; progress, warnings and errors to standard error.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Parameters
    ----------
    arguments : list of str, optional
        Words after ``featx``; None takes those of the process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        from featx.cli.running import run

        return run(words)
    except KeyboardInterrupt:  # while Python was still loading modules
        return 130
