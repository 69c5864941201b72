"""One module per command, each with add_options(parser) and run(arguments) -> exit code."""
