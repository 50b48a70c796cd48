"""The compare phase: runs side by side, and those that cannot be."""

import json
import shutil

import numpy as np
import pytest
import tools
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from tf_transfer.console import Console, Nowhere
from tf_transfer.errors import UserError
from tf_transfer.phases import compare
from tf_transfer.run.directory import RunDir


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, and another that is right on other pictures."""
    folder = tmp_path_factory.mktemp("compared")
    for name in ("one", "other"):
        shutil.copytree(tools.tiny_run(tmp_path_factory), folder / name)
    path = folder / "other/evaluate/predictions.npz"
    with np.load(path) as arrays:
        changed = dict(arrays)
    rng = np.random.default_rng(0)
    changed[tools.exported(folder / "one")] = (
        np.eye(10, dtype=np.float32)[np.where(rng.random(797) < 0.9, changed["labels"], 0)] * 5
    )
    np.savez(path, **changed)
    return folder


def test_runs_stand_side_by_side_with_paired_tests(runs, tmp_path):
    done = tools.run_py(
        "--phase=compare", f"--runs={runs / 'one'},{runs / 'other'}", f"--run_dir={tmp_path / 'out'}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "one - other" in done.stdout and "compare.html" in done.stdout
    found = json.loads((tmp_path / "out/compare.json").read_text())
    right, model = {}, tools.exported(runs / "one")
    for name in ("one", "other"):
        with np.load(runs / name / "evaluate/predictions.npz") as arrays:
            right[name] = arrays[model].argmax(1) == arrays["labels"]
    assert [r["model"] for r in found["runs"]] == [model, model]
    assert [r["accuracy"]["value"] for r in found["runs"]] == pytest.approx([r.mean() for r in right.values()])
    only = [int((right[a] & ~right[b]).sum()) for a, b in (("one", "other"), ("other", "one"))]
    assert found["pairs"][0]["p_value"] == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue, rel=1e-6)
    html = (tmp_path / "out/compare.html").read_text()
    assert "<script" not in html and "http://" not in html and html.count("<svg") == 1


def test_where_guessing_is_nearly_as_good_the_balanced_accuracy_comes_first(runs, tmp_path, capsys):
    metrics = {"accuracy": {"value": 0.97, "low": 0.95, "high": 0.98}, "balanced_accuracy": {"value": 0.1}}
    for name in ("one", "other"):
        shutil.copytree(runs / name, tmp_path / name)
        RunDir(tmp_path / name).record("blind_guess", phase="evaluate", split="test", **{"class": "7"}, metrics=metrics)
    compare.compare(f"{tmp_path / 'one'},{tmp_path / 'other'}", str(tmp_path / "out"), Console())
    header, _, line, *rest = capsys.readouterr().out.splitlines()
    assert header.index("test balanced accuracy (95 % interval)") < header.index(" accuracy  ")
    with np.load(tmp_path / "one/evaluate/predictions.npz") as arrays:
        value = balanced_accuracy_score(arrays["labels"], arrays[tools.exported(runs / "one")].argmax(1))
    assert f" {100 * value:.1f} % (" in line and "compare  always naming '7' is right on 97.0 %" in rest[1]
    assert "balanced accuracy" in (tmp_path / "out/compare.html").read_text()


@pytest.mark.parametrize(("listing", "same"), [("equal", True), ("other", False), (None, False)])
def test_networks_of_other_sizes_are_compared_on_one_data_set(runs, tmp_path, listing, same):
    """Their test examples have other digests; names and labels tell."""
    for name, size, fingerprint in (("small", 8, "a"), ("large", 16, "b")):
        shutil.copytree(runs / "one", tmp_path / name)
        path = tmp_path / name / "config.json"
        config = json.loads(path.read_text())
        config["model"]["input_size"] = size
        path.write_text(json.dumps(config))
        done = json.loads((tmp_path / name / "evaluate/done.json").read_text())
        assert len(done["listing"]) == 32
        told = {"fingerprint": fingerprint, "listing": f"{listing}{fingerprint if listing == 'other' else ''}"}
        (tmp_path / name / "evaluate/done.json").write_text(
            json.dumps(done | told | ({} if listing else {"listing": None}))
        )
    asked = f"{tmp_path / 'small'},{tmp_path / 'large'}", str(tmp_path / "out"), Console(Nowhere())
    if same:
        assert compare.compare(*asked).name == "compare.html"
    else:
        with pytest.raises(UserError, match="not evaluated on the same test pictures"):
            compare.compare(*asked)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runs={one}"], "expected two run directories"),
        (["--runs={one},{one}"], "twice"),
        (["--runs={one},{one}/head"], "no run"),
        (["--runs={one},nowhere"], "no run"),
        (["--runs={one},{bare}"], "not evaluated yet"),
        (["--runs={one},{short}"], "not evaluated on the same test pictures"),
        (["--runs={one},{broken}"], "is damaged"),
        ([], "say which run directories"),
        (["--runs={one},{other}", "--phase=compare,report"], "give it alone"),
    ],
)
def test_what_cannot_be_compared_is_told(runs, tmp_path, flags, message):
    places = {name: runs / name for name in ("one", "other")}
    for name in ("bare", "short", "broken"):
        places[name] = tmp_path / name
        shutil.copytree(runs / "one", places[name])
    shutil.rmtree(places["bare"] / "evaluate")
    path = places["short"] / "evaluate/predictions.npz"
    with np.load(path) as arrays:
        shorter = {k: v[:100] for k, v in arrays.items()}
    np.savez(path, **shorter)
    (places["broken"] / "evaluate/predictions.npz").write_bytes(b"nothing")
    done = tools.run_py("--phase=compare", *(f.format(**places) for f in flags), cwd=tmp_path)
    tools.assert_refused(done, message)
