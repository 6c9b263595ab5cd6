"""The operators against reference implementations.

python -m benchmarks run       measures, writes JSON
python -m benchmarks report    draws tables and plots of what was measured
python -m benchmarks compare   says how two results, or two commits, differ
"""

from __future__ import annotations

import argparse

from benchmarks import compare, report, run


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, do it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in (("run", run), ("report", report), ("compare", compare)):
        command = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        command.description = module.__doc__
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(command)
        command.set_defaults(command=module.main)
    options = parser.parse_args(arguments)
    options.command(options)


if __name__ == "__main__":
    main()
