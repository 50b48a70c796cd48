"""The compare phase: several runs on the same test examples, side by side, with paired tests. Needs no TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_transfer import config as configs
from tf_transfer.console import Console
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import comparison, right
from tf_transfer.evaluation.calibration import adaptive_ece, calibration_interval
from tf_transfer.evaluation.score import estimate
from tf_transfer.modalities import backbones, base
from tf_transfer.phases import catalogue, choice
from tf_transfer.registry import split_list
from tf_transfer.report import compare_page, control, summary, tables
from tf_transfer.run.directory import RunDir

FOLDER = "runs/compare"


@dataclass(frozen=True)
class Entry:
    """One run in a comparison.

    Attributes:
        name: the run's folder, shortened to the part that differs from the others.
        model: the model of the run that is compared.
        settings: `dataset`, `backbone`, `weights`, `input_size` and `seed`.
        logits: float `[N, C]` on the test examples.
        labels: int `[N]`.
        class_names: C names.
        fingerprint: digest of the test examples; None where the evaluation did not record it.
        listing: digest of their names and labels; None likewise.
        cost: `seconds` and `trained_parameters` of the phase that made the model.
        blind: the record of the blind guess, where it must stand beside the model; else empty.
        leading: the metric that comes first for the model, see `control.leading`.
    """

    name: str
    model: str
    settings: dict
    logits: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str | None
    listing: str | None
    cost: dict
    blind: Mapping
    leading: str


def compare(runs: str, where: str | None, console: Console) -> Path:
    """Compares runs that were evaluated on the same examples; prints a table and writes a page.

    Args:
        runs: run directories, separated by commas.
        where: folder for `compare.html` and `compare.json`.
        console: prints the table.

    Raises:
        UserError: fewer than two runs, a run without evaluation, or runs evaluated on different examples.
    """
    folders = [Path(part).expanduser() for part in split_list(runs)]
    if len(folders) < 2:
        raise UserError(f"--runs={one_line(runs)!r}: expected two run directories or more, separated by commas.")
    entries = [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    _check_same(entries)
    found = _measured(entries)
    console.line(tables.aligned(_rows(found), left=2))
    if found["control"]:
        console.line(f"compare  {found['control']}")
    for pair in found["pairs"]:
        d = pair["difference"]
        console.line(
            f"{one_line(pair['a'], 40)} - {one_line(pair['b'], 40)}: accuracy {100 * d['value']:+.1f} points "
            f"({100 * d['low']:+.1f} to {100 * d['high']:+.1f}), McNemar p {pair['p_value']:.3g}, "
            f"Holm {pair['p_holm']:.3g}"
        )
    folder = RunDir(where or FOLDER)
    folder.write_json("compare.json", found)
    page = folder.write_text("compare.html", compare_page.render(found))
    console.line(f"compare  {one_line(page)}")
    return page


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the last parts of the paths, as many as are needed to distinguish them."""
    for parts in range(1, max(len(f.parts) for f in folders) + 1):
        names = ["/".join(f.parts[-parts:]) for f in folders]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"--runs names {one_line(folders[0])!r} twice.")


def _read(folder: Path, name: str) -> Entry:
    run = RunDir(folder)
    config, path = run.config(), folder / "evaluate" / "predictions.npz"
    if config is None or not path.is_file():
        untrained = not any(run.done(phase) for phase in catalogue.on_target())
        steps = "head,full,evaluate" if untrained else "evaluate"
        what = "no run" if config is None else f"not evaluated yet; run --phase={steps} on it"
        raise UserError(f"--runs: {one_line(folder)!r} is {what}.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            chosen = choice.choose(run, configs.flatten(config).get("export_phase") or choice.AUTO)
            first = [chosen.model] if chosen else []
            model = next(m for m in (*first, *catalogue.by_adaptation()) if m in arrays.files)
            logits, labels = arrays[model], arrays["labels"]
    except (ValueError, OSError, KeyError, StopIteration) as e:
        raise UserError(f"--runs: {one_line(path)} is damaged; evaluate that run again with --restart.") from e
    done, fingerprint = run.done(model) or {}, run.evaluated_on()
    settings = configs.flatten(config)
    told = {k: settings.get(k) for k in ("dataset", "backbone", "weights", "input_size", "seed")}
    plans = [r for r in run.records("plan") if r.get("phase") == model]
    trained = plans[-1]["parameters"]["trained"] if plans else None
    cost = {"seconds": done.get("seconds"), "trained_parameters": trained}
    records = run.records()
    blind, evaluation = control.find(summary.current(records)), summary.evaluations(records).get(model, {})
    leading = control.leading(blind, evaluation)
    blind = blind if control.beside(blind, evaluation) else {}
    names = tuple(done.get("class_names", ()))
    listing = (run.read_json("evaluate/done.json") or {}).get("listing")
    return Entry(name, model, told, logits, labels, names, fingerprint, listing, cost, blind, leading)


def _many(entry: Entry) -> str:
    """Returns the word for the examples of a run; a general one where its network's module is not imported."""
    try:
        return base.find(backbones.find_backbone(entry.settings["backbone"]).modality).many
    except UserError:
        return "examples"


def _check_same(entries: Sequence[Entry]) -> None:
    first = entries[0]
    for other in entries[1:]:
        others = other.fingerprint != first.fingerprint and None not in (other.fingerprint, first.fingerprint)
        if others and any(first.settings[k] != other.settings[k] for k in ("backbone", "input_size")):
            # Examples of another size have other digests: there the names tell, of one data set.
            same = first.settings["dataset"] == other.settings["dataset"] and first.listing is not None
            others = not (same and first.listing == other.listing)
        if others or other.class_names != first.class_names or not np.array_equal(other.labels, first.labels):
            raise UserError(
                f"--runs: {one_line(first.name)!r} and {one_line(other.name)!r} were not evaluated on the same test "
                f"{_many(first)} ({len(first.labels):,} of {one_line(first.settings['dataset'])!r} and "
                f"{len(other.labels):,} of {one_line(other.settings['dataset'])!r}); only runs on one test split can "
                "be compared."
            )


def _measured(entries: Sequence[Entry]) -> dict:
    correct = {e.name: right(e.logits, e.labels) for e in entries}
    runs = [
        {
            "name": e.name,
            "model": e.model,
            **e.settings,
            "accuracy": comparison.accuracy_interval(correct[e.name]),
            **{metric: estimate(metric, e.logits, e.labels) for metric in (control.BALANCED, "macro_f1", "nll")},
            "adaptive_ece": calibration_interval(adaptive_ece, e.logits, e.labels),
            **e.cost,
        }
        for e in entries
    ]
    leading = next((e.leading for e in entries if e.leading != control.ACCURACY), control.ACCURACY)
    told = next((control.told(e.blind, leading) for e in entries if e.blind), None)
    found = {"n": len(entries[0].labels), "runs": runs, "pairs": comparison.pairwise(correct)}
    return found | {"leading": leading, "control": told}


def _rows(found: dict) -> list[list[str]]:
    shares = control.columns(found["leading"], found["control"] is not None)
    titles = [f"test {control.named(shares[0])} (95 % interval)", *map(control.named, shares[1:])]
    header = ["run", "model", *titles, "NLL", "adaptive ECE", "seconds"]
    rows = [
        [
            one_line(r["name"], 40),
            f"{r['model']} of {one_line(r['backbone'], 40)}",
            *(f"{100 * r[s]['value']:.1f} % ({100 * r[s]['low']:.1f} - {100 * r[s]['high']:.1f})" for s in shares),
            f"{r['nll']['value']:.3f}",
            f"{r['adaptive_ece']['value']:.3f}",
            f"{r['seconds']:.1f}" if r["seconds"] is not None else "-",
        ]
        for r in found["runs"]
    ]
    return [header, *rows]
