"""The command line: parses flags, runs phases. Imports TensorFlow only after the flags have been checked."""

import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from absl import app, flags, logging

from tf_transfer import config, flag_files, help
from tf_transfer.console import Console, Nowhere
from tf_transfer.errors import LostWorkerError, UserError, one_line
from tf_transfer.machine import cluster, compilations, signals
from tf_transfer.machine.quiet import quiet, without_lines, without_packages
from tf_transfer.phases import catalogue
from tf_transfer.registry import split_list, unknown_name

# What decoders write about damaged pictures, which are named or have a reason of their own, and Pillow on large ones.
_OF_DECODERS = (
    "Corrupt JPEG data|Premature end of JPEG|jpeg_mem[.]cc|libpng (warning|error)|Invalid SOS parameters|"
    "DecompressionBombWarning|exceeds limit of .* could be decompression bomb|^ *warnings[.]warn"
)
_NO_MEMORY = "the memory does not suffice: give a smaller --batch_size, --input_size or --backbone, or --accumulate=4"


def _define() -> None:
    for name, (default, text) in help.COMMAND_FLAGS.items():
        define = flags.DEFINE_bool if isinstance(default, bool) else flags.DEFINE_string
        define(name, default, text)
    for name, (_, field) in config.option_fields().items():
        # All flags are strings: `config.parse_option` parses them, with one kind of message for bad values.
        flags.DEFINE_string(config.flag(name), None, field.metadata["help"])
    for old, new in {**config.ALIASES, **help.ALIASES}.items():
        flags.DEFINE_alias(old, new)
    # Flags that may be given without a value.
    flags.FLAGS["watch"].boolean = True


_define()


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    Exit codes: 0 success, 1 internal error, 2 bad input, 3 another worker lost, 130 SIGINT, 143 SIGTERM.
    """
    app.run(main, argv=argv, flags_parser=_parse)


def main(argv: Sequence[str]) -> None:
    """Runs the phases that the parsed flags name."""
    try:
        with signals.handled(), contextlib.nullcontext() if flags.FLAGS.debug else without_lines(_OF_DECODERS):
            sys.exit(_dispatch(argv))
    except LostWorkerError as e:
        _fail(str(e), 3, at_once=True)
    except UserError as e:
        _fail(str(e), 2)
    except signals.Stopped as e:
        _fail(f"stopped by {e}; {'training is saved, and ' if e.saved else ''}the same command goes on.", e.code)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on.", 130)
    except Exception as e:
        # The name alone: TensorFlow, which has the class, may not be imported.
        if "No space left on device" in str(e) or "Disk quota exceeded" in str(e):
            _fail(f"the disk is full ({one_line(e, 100)}): make room, and the same command goes on", 2)
        if isinstance(e, MemoryError) or type(e).__name__ == "ResourceExhaustedError":
            _fail(f"{_NO_MEMORY} ({one_line(e, 100)})", 2)
        _fail(f"{type(e).__name__}: {one_line(e, 300)} (an internal error: --debug shows where)", 1)


def _parse(argv: Sequence[str]) -> list[str]:
    if any(a in ("-h", "-help", "--help", "--helpshort", "--helpfull") for a in argv[1:]):
        print(help.help_text())
        sys.exit(0)
    try:
        rest = flags.FLAGS(flag_files.expanded(argv))
    except UserError as e:
        _fail(str(e), 2)
    except flags.Error as e:
        _fail(one_line(e, 300), 2)
    if len(rest) > 1:
        _fail(f"unexpected argument {one_line(rest[1])!r}; flags are written --name=value.", 2)
    return rest


def _dispatch(argv: Sequence[str]) -> int:
    values = flags.FLAGS
    names = _phases(values.phase)
    given = {
        name: config.parse_option(name, values[config.flag(name)].value)
        for name in config.option_fields()
        if values[config.flag(name)].present and values[config.flag(name)].value is not None
    }
    command = one_line(shlex.join(["python", *sys.argv]), 2000)
    chief = cluster.find(given.get("strategy", "auto")).chief
    # Only the chief prints.
    console = Console() if chief else Console(Nowhere())
    if "predict" in names:
        # A bad value is refused now, not after hours of training.
        _asked(given.get("run_dir"))
    _note_idle(console, names)
    if names == ["predict"]:
        return _predict(console, given)
    if "serve" in names:
        return _serve(console, names, given)
    if "compare" in names:
        return _compare(console, names, given)
    from tf_transfer import api

    with contextlib.nullcontext() if values.dry_run else api.writing(given):
        complete, run_dir = api.open_run(given, names, values.restart, write=not values.dry_run, note=console.note)
        with _quiet_start(complete.run):
            from tf_transfer.phases import stories
            from tf_transfer.session.session import Session
        session = Session(complete, frozenset(given), run_dir, console, command, values.restart)
        if "evaluate" in names and "predict" not in names:
            session.artefact = values.saved_model
        if values.dry_run:
            from tf_transfer.phases import dry_run

            dry_run.show(session, names)
            return 0
        stories.run(session, [name for name in names if name != "predict"])
    return _predict(console, {"run_dir": str(session.run.path)}) if "predict" in names and chief else 0


def _note_idle(console: Console, names: Sequence[str]) -> None:
    """Prints a note about flags of a phase that is not among `names`."""
    for phase, members in (("predict", help.PREDICT_FLAGS), ("serve", help.SERVE_FLAGS)):
        taken = {"saved_model"} if {"serve", "evaluate"} & set(names) else set()
        idle = [f"--{n}" for n in members if n not in taken and flags.FLAGS[n].present]
        if idle and phase not in names:
            console.note(f"{', '.join(idle)}: for --phase={phase} alone, which was not asked for.")


def _phases(text: str | None) -> list[str]:
    known = [*help.PHASES, "all"]
    if not (text or "").strip(" ,"):
        raise UserError(f"--phase: say what to do, one or a list of {', '.join(known)}; --help tells more.")
    names = []
    for name in split_list(text):
        if name not in known:
            raise unknown_name("--phase", name, known, catalogue.MEANT.get(name.lower()))
        names += help.ALL if name == "all" else [name]
    return names


def _compare(console: Console, names: Sequence[str], given: dict) -> int:
    from tf_transfer.phases import compare

    if len(names) > 1:
        raise UserError("--phase=compare compares runs that are there; give it alone.")
    if not flags.FLAGS.runs:
        raise UserError("--phase=compare: say which run directories with --runs=a,b,...")
    compare.compare(flags.FLAGS.runs, given.get("run_dir"), console)
    return 0


def _asked(run_dir: str | None):
    from tf_transfer.serving import files

    values = flags.FLAGS
    output = values.predictions or os.path.join(run_dir or "", "predictions.csv")
    return files.Asked.parse(values.inputs, output, values.top, values.watch, values.restart)


def _predict(console: Console, given: dict) -> int:
    with _quiet_start():
        from tf_transfer.serving import files

    saved_model, run_dir = flags.FLAGS.saved_model, given.get("run_dir")
    if not (saved_model or run_dir):
        run_dir = config.from_values(given).run_dir
    return 2 if files.predict(saved_model or run_dir, _asked(run_dir), console) else 0


def _serve(console: Console, names: Sequence[str], given: dict) -> int:
    from tf_transfer.serving.http import server

    if len(names) > 1:
        raise UserError("--phase=serve serves an exported model until it is stopped; give it alone.")
    values = flags.FLAGS
    place = values.saved_model or given.get("run_dir") or config.from_values(given).run_dir
    prepared = server.prepare(place, {name: values[name].value for name in help.SERVE_FLAGS})
    if not values.debug:
        # Complaints of the decoders about bad files concern the clients, not the operator.
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with _quiet_start():
        from tf_transfer.serving.http import app  # noqa: F401
    return server.run(prepared, console, values.debug)


@contextlib.contextmanager
def _quiet_start(run: config.Run | None = None):
    """Starts TensorFlow and its devices silently; inside, import modules that need it.

    On import TensorFlow prints its build options and missing GPUs to standard error, whatever its log level. That is
    dropped, and printed only where the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.ERROR)
    if run:
        compilations.keep(run.xla_cache, int(run.xla_cache_gb * 1e9))
    with quiet(shown_on=ImportError):
        # Keras imports both for helpers that no phase uses: 40 % of the time of the import.
        with without_packages("sklearn", "matplotlib"):
            import tensorflow
        from tf_transfer.machine import memory

        memory.share()
        if run and cluster.is_multiworker(run.strategy):
            # Workers must connect before anything else is computed.
            from tf_transfer.machine import strategy

            strategy.make_strategy(run.strategy, run.worker_timeout)
        tensorflow.config.list_logical_devices()
        yield


def _fail(message: str, code: int, at_once: bool = False) -> None:
    if code in (1, 2) and flags.FLAGS.is_parsed() and flags.FLAGS.debug:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr, flush=True)
    if at_once:
        # A normal exit would wait for operations that wait for the lost worker.
        os._exit(code)
    sys.exit(code)
