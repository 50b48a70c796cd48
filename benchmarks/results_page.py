"""Records of benchmarks.results to Markdown."""

from collections.abc import Sequence
from statistics import mean, stdev

from benchmarks import artefacts, assessments
from benchmarks.runner import table

# README.md holds the headline between these two lines.
BEGIN, END = "<!-- headline: python -m benchmarks.results --readme -->", "<!-- end of headline -->"
_NAMES = {
    "source": "source model as it is",
    "head": "head",
    "full": "head, then full",
    "scratch": "from scratch",
}


def render(records: dict) -> str:
    """Returns the page; a section that has not been run is left out."""
    parts = [
        "# Results",
        "",
        "Written by `python -m benchmarks.results` from `docs/results.json`; not edited by hand.",
        "",
    ]
    for name, section in (
        ("quickstart", _quickstart),
        ("cifar10", _cifar10),
        ("flowers", _flowers),
        ("bn_policy", _bn),
        ("engine", _engine),
    ):
        if name in records:
            parts += [*section(records[name]), ""]
    parts += artefacts.sections(records)
    parts += assessments.sections(records)
    return "\n".join(parts)


def headline(records: dict) -> str:
    """Returns the table of README.md: CIFAR-10 by ours and by the recipe of the Keras guide, each with its time."""
    runs, guides = records["cifar10"]["runs"], records["cifar10"]["guides"]
    epochs = sum(phase["epochs"] for phase in guides[0]["phases"])
    full = [run["models"]["full"] for run in runs]
    rows = [
        (
            "ours, `flags/cifar10_mobilenet.flags`: head, then full",
            f"{mean(m['validation'] for m in full):.3f}",
            _mean_and_range([m["test"]["value"] for m in full], 3),
            _mean_and_range([run["seconds"] for run in runs], 0),
        ),
        (
            f"the Keras guide's recipe, {epochs} epochs",
            f"{mean(guide['phases'][-1]['validation_accuracy'] for guide in guides):.3f}",
            _mean_and_range([guide["test_accuracy"] for guide in guides], 3),
            _mean_and_range([guide["wall_seconds"] for guide in guides], 0),
        ),
    ]
    header = ("ImageNet to CIFAR-10, MobileNet(0.25), 96 px", "validation accuracy", "test accuracy", "seconds")
    return "\n".join(
        [
            *table(header, rows),
            "",
            f"Mean (range) of {len(runs)} runs of ours, a seed each, in turns with {len(guides)} of the guide's; "
            f"{full[0]['test']['n']:,} test images. Seconds are of the process, from its start to the tested model. "
            f"{_machine(records['cifar10'])}",
        ]
    )


def with_headline(readme: str, records: dict) -> str:
    """Returns the text of README.md with the table between its two markers written anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{headline(records)}\n\n{END}{after}"


def _mean_and_range(values: Sequence[float], digits: int) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in (mean(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def _quickstart(record: dict) -> list[str]:
    run = record["runs"][0]
    return [
        "## Quickstart: digits drawn from fonts to handwritten digits",
        "",
        f"`python run.py --flagfile=flags/quickstart.flags`, one seed, {run['seconds']:.0f} s in all. "
        f"{_machine(record)}",
        "",
        *_table([run], ("source", "head", "full", "scratch")),
    ]


def _cifar10(record: dict) -> list[str]:
    runs, guides = record["runs"], record["guides"]
    guide, splits = guides[0], runs[0]["splits"]
    times, others = [r["seconds"] for r in runs], [g["wall_seconds"] for g in guides]
    ours, theirs = mean(times), mean(others)
    within = "within" if ours <= theirs else "above"
    return [
        "## CIFAR-10, MobileNet(0.25) at 96 px from ImageNet",
        "",
        f"{splits['train']:,} to train, {splits['validation']:,} to validate; test: the first 1,000 official test "
        f"images. {len(runs)} seeds. {_machine(record)}",
        "",
        *_table(runs, ("head", "full"), [_guide_row(p, guide["test_accuracy"]) for p in guide["phases"]]),
        "",
        f"- Head, target 0.765: {_against(runs, 'head', 0.765)}.",
        f"- Full, target 0.900: {_against(runs, 'full', 0.90)}.",
        f"- Time from start to tested model, fresh processes in turns: ours {ours:.0f} s (mean of {len(runs)}, "
        f"{min(times):.0f} to {max(times):.0f}), the guide's 8 epochs {theirs:.0f} s (mean of {len(guides)}, "
        f"{min(others):.0f} to {max(others):.0f}); ratio {ours / theirs:.2f}, {within} the target of 1.",
        "",
        "The guide's script is `benchmarks/keras_guide.py`: the recipe of the official transfer-learning guide "
        "(Adam 1e-3 on the head, then Adam 1e-5 on the whole network, RandomFlip, Dropout 0.2).",
        "",
        f"Plan of the full phase: {_plan(runs[0]['models']['full']['plan'])}.",
    ]


def _guide_row(phase: dict, test: float) -> tuple[str, ...]:
    tested = f"{test:.3f}" if phase["phase"] == "full" else "–"
    name = f"Keras guide: {phase['phase']}, {phase['epochs']} epochs"
    return name, f"{phase['validation_accuracy']:.3f}", tested, "–", f"{phase['seconds']:.0f}"


def _flowers(record: dict) -> list[str]:
    runs = record["runs"]
    splits = runs[0]["splits"]
    return [
        "## Flowers, an image folder, MobileNet(0.25) at 96 px from ImageNet",
        "",
        f"{splits['train']:,} to train, {splits['validation']:,} to validate, "
        f"{runs[0]['models']['full']['test']['n']:,} to test. {len(runs)} seeds. {_machine(record)}",
        "",
        *_table(runs, ("head", "full", "scratch")),
        "",
        f"Plan of the full phase: {_plan(runs[0]['models']['full']['plan'])}.",
    ]


def _bn(record: dict) -> list[str]:
    rows = []
    for name, model in record["policies"].items():
        backbone, _, policy = name.rpartition(" ")
        rows.append((backbone, policy, f"{model['plan']['learning_rate']:g}", f"{model['validation']:.3f}"))
    return [
        "## BatchNorm in the full phase",
        "",
        "Flowers at 96 px and 112 px (the second), one seed, each policy at its default rate. The default policy "
        "follows this table.",
        "",
        *table(("backbone", "BatchNorm", "rate", "validation accuracy"), rows),
    ]


def _engine(record: dict) -> list[str]:
    rows = []
    for name, phases in record["variants"].items():
        told = (_spread(phases[phase]) if phase in phases else "–" for phase in ("head", "full"))
        rows.append((name, *told, _difference(record["variants"], name)))
    return [
        "## With and without folding, bfloat16 and computing features beforehand",
        "",
        f"CIFAR-10 as above, {record['epochs']} epochs of full; validation accuracy on 5,000 pictures (standard error "
        "0.004 to 0.006), mean of the seeds and their range. The last column is the mean over the seeds of the "
        "difference to the same in float32, folded where it can be, with its standard error.",
        "",
        *table(("", "head", "full", "full, difference"), rows),
    ]


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ({min(values):.4f} to {max(values):.4f})" if len(values) > 1 else "")


def _difference(variants: dict, name: str) -> str:
    other = name.replace("not folded", "folded").replace("bfloat16", "float32")
    if other == name or "full" not in variants[name]:
        return "–"
    values = [a - b for a, b in zip(variants[name]["full"], variants[other]["full"], strict=True)]
    return f"{mean(values):+.4f} ± {stdev(values) / len(values) ** 0.5:.4f}"


def _table(runs: Sequence[dict], models: Sequence[str], more: Sequence[tuple] = ()) -> list[str]:
    rows = []
    for model in (m for m in models if m in runs[0]["models"]):
        found = [r["models"][model] for r in runs]
        validation = f"{mean(m['validation'] for m in found):.3f}" if found[0].get("validation") is not None else "–"
        tests = [m["test"]["value"] for m in found]
        spread = f" ({min(tests):.3f} to {max(tests):.3f})" if len(tests) > 1 else ""
        first = f"{found[0]['test']['low']:.3f} to {found[0]['test']['high']:.3f}"
        seconds = f"{mean(m['seconds'] for m in found):.0f}" if "seconds" in found[0] else "–"
        rows.append((_NAMES[model], validation, f"{mean(tests):.3f}{spread}", first, seconds))
    header = ("model", "validation accuracy", "test accuracy, mean (range)", "95 % interval, first seed", "seconds")
    return table(header, [*rows, *more])


def _against(runs: Sequence[dict], model: str, target: float) -> str:
    validation = mean(r["models"][model]["validation"] for r in runs)
    test = mean(r["models"][model]["test"]["value"] for r in runs)
    return " and ".join(
        f"{'met' if value >= target else f'missed by {target - value:.4f}'} on {split} (mean {value:.4f})"
        for split, value in (("validation", validation), ("test", test))
    )


def _plan(plan: dict) -> str:
    told = {k: v for k, v in plan.items() if v != ""}
    return ", ".join(f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in told.items())


def _machine(record: dict) -> str:
    run = record["runs"][0]
    versions = run["versions"]
    return (
        f"{record['date']}, {run['device']['cores']} CPU cores, {run['device']['precision']}, "
        f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}."
    )
