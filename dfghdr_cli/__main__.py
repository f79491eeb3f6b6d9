"""The program: `dfghdr`, and the same as `python -m dfghdr_cli`."""

import os
import signal
import sys


def main() -> None:
    """Run the program on `sys.argv`; always ends in SystemExit.

    What it is made of is imported here, so that Ctrl-C or a lack of memory meanwhile is no
    traceback either.
    """
    try:
        from dfghdr_cli.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.stderr.flush()
        if sys.platform != "win32":  # die of it, so that a shell ends its loop
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        raise SystemExit(130) from None
    except (ImportError, MemoryError) as error:
        if isinstance(error, MemoryError):  # let go of all that the frames that failed hold
            error.__traceback__ = error.__context__ = error.__cause__ = None
        from dfghdr_cli.errors import DeviceError, is_out_of_memory

        if not is_out_of_memory(error):
            raise
        sys.stderr.write("error: There is not enough memory to start; close other programs.\n")
        raise SystemExit(DeviceError.exit_code) from None


if __name__ == "__main__":
    main()
