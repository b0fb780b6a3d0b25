"""Entry point of `bench`: finds the verb, parses its options, turns a BenchError into one line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from bench import __version__
from bench.core.errors import BenchError, memory_lack, nearest
from bench.core.output import printable_output
from bench.core.processes import check_address_space

VERBS = {
    "run": "run a suite: train, predict, score, and write the boards",
    "plan": "show what a run would do: cells to run, to reuse, what is missing, expected cost",
    "list": "list components: tasks, datasets, matchers, detectors, backbones, configs",
    "leaderboard": "rebuild boards from the committed entries",
    "predict": "find the ships in scenes of your own, of any size, with a finished cell's detector or with cfar",
    "submit": "put another tool's predictions on a board: boxes, or distances of pairs",
    "score": "score stored predictions again, without model or data",
    "explain": "where a number comes from: command, code, data, weights, the cells it depends on",
    "compare": "the paired difference of two rows of a board",
    "merge": "merge finished cells of other machines' runs folders into this one",
    "selftest": "feed known predictions through every metric and compare with what must come out",
    "doctor": "what is installed, which backends work, which data are found, and what to do about the rest",
    "data": "look at data: info, verify, audit, cut, split, coco, toy, weights",
    "export": "write a trained backbone for mmdet, torchvision, timm, ultralytics or darknet",
    "clean": "show what can be freed in the runs folder, and free it",
    "docs": "print a page of the documentation, or list the pages",
}
EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
OPTIONS = {"settings": "set", "roots": "root"}  # parameter of a function -> the option that sets it, where names differ


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are ours: one line, exit code 2.

    Attributes:
        intermixed: whether options may stand between the words of a verb that takes many.
    """

    intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        self.intermixed = False  # what follows comes here again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True

    def error(self, message: str) -> NoReturn:
        raise BenchError(f"{message}; see `{self.prog} --help`")


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the chosen verb's module is imported and given its options."""
    parser = Parser(
        prog="bench",
        description="Benchmark harness for SAR-optical matching and SAR ship detection.",
        epilog="example:\n  bench run --config quickstart\n\nbench VERB --help shows a worked example of each verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"saropt-bench {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        if verb is not None and name != verb:
            verbs.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"bench.cli.{name if name != 'list' else 'list_'}")
        child = verbs.add_parser(
            name,
            help=summary,
            description=(module.__doc__ or "").strip().split("\n\n")[0],
            epilog="examples:\n" + module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        child.set_defaults(execute=module.execute, parser=child)
        module.add_arguments(child)
        child.intermixed = getattr(module, "INTERMIXED", False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code (0 good, 1 a cell failed, 2 bad input, 130 interrupted)."""
    with printable_output() as output:
        code = _main(argv)
        unwritten = output.unwritten()
        if unwritten:
            print(
                f"bench: error: cannot write to standard output: {unwritten}; the work itself is done", file=sys.stderr
            )
    return code or (EXIT_BAD_INPUT if unwritten else 0)


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if not word.startswith("-")), None)
    if verb != "doctor":  # which shows the machine as it is
        # small matrices: threads cost more than they give; workers get their number in the job
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        check_address_space()
        if verb is not None and verb not in VERBS:
            raise BenchError(f"unknown verb {verb!r}{nearest(verb, VERBS)}")
        args, rest = build_parser(verb).parse_known_args(arguments)
        if rest:
            raise BenchError(_not_understood(rest[0], args.parser))
        return int(args.execute(args) or 0)
    except BenchError as error:
        print(f"bench: error: {shown(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except SystemExit as done:  # argparse has shown a help text or the version
        return int(done.code or 0)
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        message = memory_lack(error)
        if (
            message is None and isinstance(error, OSError) and error.filename is not None
        ):  # too long a name, no permission
            message = f"cannot read or write {str(error.filename)[:200]}: {error.strerror}"
        if message is None:
            raise
        print(f"bench: error: {message}", file=sys.stderr)
        return EXIT_BAD_INPUT


def shown(error: BenchError) -> str:
    """Return an error's message with the option that sets its parameter: in place of the parameter's name where the
    message begins with it, else behind the message.
    """
    if not error.parameter:
        return str(error)
    option = "--" + OPTIONS.get(error.parameter, error.parameter).replace("_", "-")
    name, text = error.parameter, str(error)
    return option + text.removeprefix(name) if re.match(rf"{name}[ :]", text) else f"{text} ({option})"


def _not_understood(word: str, parser: argparse.ArgumentParser) -> str:
    if not word.startswith("-"):
        return f"{word!r} is one word too many; see `{parser.prog} --help`"
    options = re.findall(r"--[a-z-]+", parser.format_usage())
    return f"{parser.prog} has no option {word.partition('=')[0]!r}{nearest(word.partition('=')[0], options)}"


if __name__ == "__main__":
    sys.exit(main())
