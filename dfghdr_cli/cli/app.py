"""The program `dfghdr`: root options, sub-commands, and which error ends with which exit code.

Nothing heavy is imported here: a shell runs this module on every TAB and for every `--help`.
A sub-command is a thin module beside this one that imports torch, OpenCV and the pipeline inside
its function; it is registered at the end of this file, once it works.
"""

from __future__ import annotations

import errno
import gc
import os
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dfghdr_cli import __version__
from dfghdr_cli.cli import (
    config,
    console,
    doctor,
    evaluate,
    explore,
    help,
    merge,
    models,
    process,
    settings,
    tonemap,
    train,
)
from dfghdr_cli.errors import (
    DeviceError,
    DfghdrError,
    InputError,
    OutputError,
    is_out_of_memory,
)

EXIT_INTERNAL = 1
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141

EPILOG = """\
Exit codes: 0 done, 1 internal error or part of a batch failed, 2 wrong usage, \
3 the output exists already, 4 unusable input, 5 unusable model, \
6 device absent or too little memory, \
7 the output cannot be written, \
129 hung up, 130 interrupted, 141 nobody reads the output, 143 terminated.
"""


_ANYWHERE = ("--verbose", "-v", "-vv", "-vvv", "--quiet", "-q", "--debug")
"""Options of the root command that may also come after the command."""


class Commands(TyperGroup):
    """The root command, which turns every exception of a sub-command into a sentence and a code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the root's own flags from wherever they stand before `--`."""
        end = args.index("--") if "--" in args else len(args)
        flags = [text for text in args[:end] if text in _ANYWHERE]
        others = [text for text in args[:end] if text not in _ANYWHERE]
        return super().parse_args(ctx, [*flags, *others, *args[end:]])

    def _run(self, ctx: Any) -> Any:
        """Run the sub-command; what fails while it cleans up after a signal is no news."""
        try:
            ctx.default_map = settings.default_map(settings.commands_with_settings(self))
            return super().invoke(ctx)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, process.EndedError):
                    raise cause from error
                cause = cause.__context__
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; `ctx` is Typer's own context, whose defaults settings replace.

        Raises:
            typer.Exit: with the exit code of the `DfghdrError` that was raised, 130 after Ctrl-C,
                1 after any other exception. Wrong usage (2), and the end of input stay with
                Typer.
        """
        try:
            return self._run(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException, EOFError):
            raise
        except BrokenPipeError as error:
            raise typer.Exit(EXIT_CLOSED_PIPE) from error
        except KeyboardInterrupt as error:
            console.print_plain("Interrupted.")
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except DfghdrError as error:
            _print_traceback(ctx)
            console.print_error(str(error))
            raise typer.Exit(error.exit_code) from error
        except Exception as error:
            _print_traceback(ctx)
            if is_out_of_memory(error):
                console.print_error(
                    "There is not enough memory for this; close other programs or give smaller "
                    "pictures."
                )
                raise typer.Exit(DeviceError.exit_code) from error
            if isinstance(error, OSError) and (refused := _refused_by_system(error)):
                console.print_error(str(refused))
                raise typer.Exit(refused.exit_code) from error
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            console.print_error(
                f"This is a bug in dfghdr {__version__} ({cause}): please report it, "
                "with what `dfghdr --debug ...` prints for the same command."
            )
            raise typer.Exit(EXIT_INTERNAL) from error


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_OUT_OF_REACH = (
    *(errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR),
    *(errno.EIO, errno.ESTALE, errno.EINVAL, errno.EILSEQ),
)


def _refused_by_system(error: OSError) -> DfghdrError | None:
    """What the system said of a file that nobody expected it to say; None if it is another error.

    Everything that can go wrong where a path is looked at for the first time ends here.
    """
    if error.errno in _FULL:
        place = f"{error.filename} cannot be written" if error.filename else "There is no room left"
        return OutputError(f"{place} ({error.strerror}); free some space.")
    if error.errno in _OUT_OF_REACH and error.filename is not None:
        return InputError(
            f"{os.fsdecode(error.filename)} cannot be looked at ({error.strerror}); check its name "
            "and its permissions."
        )
    if error.errno == errno.ENOENT:  # os.getcwd names no file
        return InputError("The working folder is no longer there; change to one that is.")
    return None


def _print_traceback(ctx: typer.Context) -> None:
    if ctx.params.get("debug"):
        console.print_plain(traceback.format_exc())


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dfghdr {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="Say more; -vv for details."
        ),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Errors only, and no progress bar.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the Python traceback of an error.")
    ] = False,
) -> None:
    """Merge a hand-held exposure bracket into one clean HDR image, without ghosts."""
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other.")
    from dfghdr_cli.resources import keep_freed_memory, let_threads_sleep

    console.set_up_logging(-1 if quiet else verbose)
    Path.cwd()  # without which oneMKL, under PyTorch, ends the process without a word
    keep_freed_memory()
    let_threads_sleep()


app = typer.Typer(
    name="dfghdr",
    cls=Commands,
    callback=root,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # frames, which not every terminal can show
    context_settings={"help_option_names": ["--help", "-h"]},
)


def main() -> None:
    """Run the program on `sys.argv`; always ends in SystemExit with a code listed in `EPILOG`."""
    try:
        process.run(lambda: app(prog_name="dfghdr"))
    finally:
        # At its end Python looks for cycles in all that PyTorch made: half a second, for nothing.
        gc.freeze()


app.command("merge", cls=help.Command, epilog=merge.EXAMPLES)(merge.merge)
app.command("tonemap", cls=help.Command)(tonemap.tonemap)
app.command("train", cls=help.Command)(train.train)
app.command("eval", cls=help.Command)(evaluate.evaluate)
app.command("explore-disentangle", cls=help.Command)(explore.explore_disentangle)
app.command("doctor", cls=help.Command)(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
