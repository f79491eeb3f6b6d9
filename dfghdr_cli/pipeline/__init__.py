"""One function per subcommand: paths in, results out, no printing."""
