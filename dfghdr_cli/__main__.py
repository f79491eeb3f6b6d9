"""`python -m dfghdr_cli` is the same as `dfghdr`."""

from dfghdr_cli.cli.app import main

if __name__ == "__main__":
    main()
