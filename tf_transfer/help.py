"""The flags of the command line that are not options of a run, and the text of `--help`."""

import textwrap

from tf_transfer import config
from tf_transfer.phases.catalogue import ALL, PHASES

# Flags that are not options of a run, with default and help.
COMMAND_FLAGS = {
    "phase": (None, "what to do: one of the phases, a comma-separated list, or all"),
    "restart": (
        False,
        "train or evaluate again what this run directory already holds; options that are not given stay as they were; "
        "predict: drop the answers of a command that did not finish",
    ),
    "dry_run": (False, "print the configuration, parameters, time and memory expected, and stop"),
    "debug": (False, "show the traceback of an error"),
    "saved_model": (None, "predict, serve, evaluate: an exported model (default: this run's)"),
    "inputs": (None, "predict: a file, a folder, a glob or a .csv list of paths; several, separated by commas"),
    "top": (None, "predict: how many of the likeliest classes to name"),
    "watch": (
        None,
        "predict: also predict files that arrive or change, until stopped, or until idle for this many seconds",
    ),
    "runs": (None, "compare: run directories, separated by commas"),
    "predictions": (None, "predict: the .csv, .jsonl or .parquet file to write (default: in the run directory)"),
    "port": (None, "serve: the port [8501]"),
    "host": (None, "serve: the address; 0.0.0.0 lets others in, and there is no authentication [127.0.0.1]"),
    "model_name": (None, "serve: as clients call the model (default: the name of the run directory)"),
    "max_batch": (None, "serve: most rows of one call of the model; requests that wait are joined [32]"),
    "max_request_mb": (None, "serve: largest request [32]"),
    "rate_limit": (None, "serve: requests a second of one client; 0 for any number [0]"),
}
# Older names of these flags.
ALIASES = {"images": "inputs"}
PREDICT_FLAGS = ("saved_model", "inputs", "predictions", "top", "watch")
SERVE_FLAGS = ("port", "host", "model_name", "max_batch", "max_request_mb", "rate_limit")
_GROUPS = (
    ("Command", ("phase", "restart", "dry_run", "debug")),
    ("Data", "data"),
    ("Model", "model"),
    ("Training (a value, or one a phase: --epochs=head:5,full:8)", "training"),
    ("Run", "run"),
    ("Assess", "assess"),
    ("Predict", PREDICT_FLAGS),
    ("Serve", SERVE_FLAGS),
    ("Compare", ("runs",)),
)


def help_text() -> str:
    """Returns the text of `--help`: phases, then flags grouped by stage."""
    lines = ["Fine-tune a pretrained model on your domain and measure how well it adapted."]
    lines += ["", "usage: python run.py --phase=PHASE[,PHASE...] [flags]", "", "Phases"]
    lines += [f"  {name:<10}{row.help}" for name, row in PHASES.items()]
    lines += [f"  {'all':<10}{','.join(ALL)}"]
    options = config.option_fields()
    for title, members in _GROUPS:
        names = [n for n, (stage, _) in options.items() if stage == members] if isinstance(members, str) else members
        lines += ["", title]
        for name in names:
            lines += _flag_help(name, options)
    lines += ["", "  --flagfile=FILE reads flags from a file, such as flags/quickstart.flags; flags after it win.", ""]
    return "\n".join(lines)


def _flag_help(name: str, options: dict) -> list[str]:
    text, default = (
        (options[name][1].metadata["help"], options[name][1].default)
        if name in options
        else (COMMAND_FLAGS[name][1], None)
    )
    choices = options[name][1].metadata["choices"] if name in options else None
    text += f"; one of {', '.join(choices)}" if choices else ""
    text += f" [{default}]" if default not in (None, "") else ""
    return textwrap.wrap(text, 110, initial_indent=f"  --{config.flag(name):<21}", subsequent_indent=" " * 25)
