"""Makes docs/results.md: runs what it tells, keeps the records in docs/results.json, writes the page from them.

    python -m benchmarks.results --shared=../shared/data [--only=quickstart,cifar10,flowers,assess_digits,...]
    python -m benchmarks.results --readme       # runs nothing: writes the table of README.md from docs/results.json

Every run is a fresh process, timed whole (imports, data, training, test), on the machine of the moment.
"""

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import artefacts, assessments, results_page, runner
from benchmarks.runner import ROOT
from tf_transfer.machine.timing import timed

SEEDS = (0, 1, 2)
# What the page tells of a plan.
_TOLD = ("epochs", "batch_size", "learning_rate", "bn", "unfreeze", "augment", "ema")


# run.py with every normalisation left beside its convolution.
_UNFOLDED = (
    "from tf_transfer.models import folding; folding.adopt = lambda model: []; from tf_transfer import cli; cli.run()"
)


def run_phases(folder: Path, *flags: str, program: Sequence[str] = ("run.py",)) -> dict:
    """Runs run.py in a fresh process; returns its wall seconds and, by model, what its records say."""
    command = [sys.executable, *program, *flags, f"--run_dir={folder}"]
    (seconds,) = timed(lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr))
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    models: dict[str, dict] = {}
    for r in records:
        if r["kind"] == "phase_end":
            models.setdefault(r["phase"], {}).update(seconds=r["seconds"], validation=r["validation_accuracy"])
        elif r["kind"] == "plan":
            plan = {k: r["plan"][k] for k in _TOLD}
            models.setdefault(r["phase"], {}).update(plan=plan, trained=r["parameters"]["trained"])
        elif r["kind"] == "evaluation":
            models.setdefault(r["model"], {}).update(test=r["metrics"]["accuracy"], ece=r["metrics"]["ece"]["value"])
    start = next(r for r in records if r["kind"] == "start")
    sizes = [r["splits"] for r in records if r["kind"] == "data"][-1]
    return {
        "seconds": seconds,
        "models": models,
        "splits": sizes,
        "device": start["device"],
        "versions": start["versions"],
    }


def quickstart(shared: Path, work: Path) -> dict:
    """The embedded default, as `make quickstart` runs it."""
    return {"runs": [run_phases(work / "quickstart", "--flagfile=flags/quickstart.flags")]}


def cifar10(shared: Path, work: Path) -> dict:
    """CIFAR-10 with MobileNet(0.25): three seeds, in turns with a plain Keras-guide script."""
    data = f"--data_dir={shared / 'tfds'}"
    runs, guides = [], []
    for seed in SEEDS:
        flags = ("--flagfile=flags/cifar10_mobilenet.flags", "--phase=head,full,evaluate", data, f"--seed={seed}")
        runs.append(run_phases(work / f"cifar10-{seed}", *flags))
        guides.append(_guide(data, work / f"guide-{seed}.json"))
    return {"runs": runs, "guides": guides}


def _guide(data: str, output: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.keras_guide", data, f"--json={output}"]
    (seconds,) = timed(lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr))
    return json.loads(output.read_text()) | {"wall_seconds": seconds}


def flowers(shared: Path, work: Path) -> dict:
    """Five kinds of flowers from an image folder."""
    source = f"--dataset=folder(path={shared / 'flowers'})"
    flags = ("--flagfile=flags/own_folder.flags", "--phase=head,full,scratch,evaluate", source)
    return {"runs": [run_phases(work / f"flowers-{seed}", *flags, f"--seed={seed}") for seed in SEEDS]}


def bn_policy(shared: Path, work: Path) -> dict:
    """BatchNorm frozen or trained in the full phase, on the networks with real weights: sets the default."""
    source = f"--dataset=folder(path={shared / 'flowers'})"
    found = {}
    # The second one's weights are those for 224 px, which Keras takes for sizes that have none of their own.
    for backbone, size in (("mobilenet(alpha=0.25)", 96), ("mobilenet_v2(alpha=0.35)", 112)):
        for bn in ("frozen", "train"):
            flags = (f"--backbone={backbone}", f"--image_size={size}", source, f"--bn=full:{bn}", "--phase=head,full")
            name = f"bn-{backbone.split('(')[0]}-{bn}"
            found[f"{backbone} {bn}"] = run_phases(work / name, *flags)["models"]["full"]
    return {"policies": found}


def engine(shared: Path, work: Path) -> dict:
    """CIFAR-10 with and without folding, in float32 and bfloat16, and with and without features beforehand."""
    preset = ("--flagfile=flags/cifar10_mobilenet.flags", f"--data_dir={shared / 'tfds'}", "--feature_store=off")
    steps = ("--phase=head", "--optimizer=sgd", "--epochs=5", "--precision=float32")
    trained = ("--phase=head,full", "--epochs=full:3")
    frozen = (*trained, "--bn=full:frozen")
    single, half = "--precision=float32", "--precision=bfloat16"
    plain, unfolded = ("run.py",), ("-c", _UNFOLDED)
    variants = {
        "BatchNorm frozen, folded, float32": ((*frozen, single), plain, SEEDS),
        "BatchNorm frozen, not folded, float32": ((*frozen, single), unfolded, SEEDS),
        "BatchNorm frozen, folded, bfloat16": ((*frozen, half), plain, SEEDS),
        "BatchNorm trained, float32": ((*trained, single), plain, SEEDS),
        "BatchNorm trained, bfloat16": ((*trained, half), plain, SEEDS),
        "head: SGD, 5 epochs, features beforehand": (steps, plain, SEEDS[:1]),
        "head: SGD, 5 epochs, features in each step": ((*steps, "--feature_views=0"), plain, SEEDS[:1]),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for number, (name, (flags, program, seeds)) in enumerate(variants.items()):
        for seed in seeds:
            run = run_phases(work / f"engine-{number}-{seed}", *preset, *flags, f"--seed={seed}", program=program)
            for phase, model in run["models"].items():
                found.setdefault(name, {}).setdefault(phase, []).append(model["validation"])
    return {"variants": found, "epochs": 3}


SECTIONS: dict[str, Callable[[Path, Path], dict]] = {
    "quickstart": quickstart,
    "cifar10": cifar10,
    "flowers": flowers,
    "bn_policy": bn_policy,
    "engine": engine,
    **artefacts.SECTIONS,
    **assessments.SECTIONS,
}


def write_readme() -> None:
    """Writes the table of README.md anew from the records that are kept."""
    readme = ROOT / "README.md"
    records = json.loads((ROOT / "docs/results.json").read_text())
    readme.write_text(results_page.with_headline(readme.read_text(), records))


def main() -> None:
    """Runs the sections asked for, writes the page and the table of README.md."""
    parser = runner.options(__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections to run anew; empty: only write the page")
    parser.add_argument("--readme", action="store_true", help="run nothing, only write the table of README.md")
    args = parser.parse_args()
    if args.readme:
        write_readme()
        return
    runner.prepare(args)
    with tempfile.TemporaryDirectory() as work:
        measures = {name: functools.partial(section, args.shared, Path(work)) for name, section in SECTIONS.items()}
        runner.refresh("results", args.only, measures, results_page.render)
    write_readme()


if __name__ == "__main__":
    main()
