"""Write the shell completions of dfghdr with Typer's own generator: generate.py FOLDER.

The files hold no command or option: on TAB they ask the program itself.
"""

import sys
from pathlib import Path

from typer.completion import get_completion_script

FILES = {
    "bash": "dfghdr.bash",
    "zsh": "_dfghdr",
    "fish": "dfghdr.fish",
    "powershell": "dfghdr.ps1",
}


def main() -> None:
    """Write one file a shell into the folder named on the command line."""
    folder = Path(sys.argv[1])
    for shell, name in FILES.items():
        script = get_completion_script(
            prog_name="dfghdr", complete_var="_DFGHDR_COMPLETE", shell=shell
        )
        if shell == "zsh":
            script = _complete_at_once(script)
        (folder / name).write_text(f"{script}\n", encoding="utf-8")


def _complete_at_once(script: str) -> str:
    """Let zsh's first TAB complete, too.

    zsh loads a file of its $fpath as the body of a function when the first completion is asked
    for; Typer's script then only defines and registers another function, for the next time.
    """
    now = 'if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then _dfghdr_completion "$@"; fi'
    return f"{script}\n{now}"


if __name__ == "__main__":
    main()
