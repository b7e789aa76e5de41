"""How a command ends: its exit status, and one line for whatever went wrong.

Owns the way out of the process: mistakes of the user's, interruptions, closed pipes and full disks end here and not in a
traceback; a traceback is a bug of featx's.
"""

from __future__ import annotations

import warnings
from typing import Any

import typer

from featx.cli.app import app
from featx.cli.output import close_output, finish_output, print_error
from featx.errors import FeatxError, FeatxWarning

__all__ = ["run"]

_INTERRUPTED = 130
_RESUMES = {"train", "predict", "embed", "evaluate", "finetune"}

# typer carries a click of its own in some versions and imports click in others; this is whichever it raises.
_UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status; see :mod:`featx.cli`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of other packages are a developer's and would only worry
        warnings.simplefilter("always", FeatxWarning)
        warnings.showwarning = _show_warning
        status = _status(arguments)
    if status == _INTERRUPTED:
        resumes = bool(arguments) and arguments[0] in _RESUMES
        hint = " What was computed is in the cache: the same command goes on from there." if resumes else ""
        print_error(f"interrupted.{hint}")
    if status:
        close_output()
    return status


def _status(arguments: list[str]) -> int:
    try:
        result = app(args=arguments, prog_name="featx", standalone_mode=False)
        finish_output()
    except _UsageError as error:
        error.show()
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED  # some versions of typer return it themselves
    except BrokenPipeError:
        close_output()
        return 0  # whoever reads has seen enough
    except FeatxError as error:
        print_error(str(error))
        return 2
    except OSError as error:
        # A last resort for what the rooms do not put into words of their own.
        print_error(f"{error.filename or 'the system'}: {error.strerror or error}.")
        return 2
    return result if isinstance(result, int) else 0


def _show_warning(message: Warning | str, category: type[Warning], *details: Any, **named: Any) -> None:
    print_error(f"warning: {message}")
