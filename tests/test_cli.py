"""The command line: help, flags, exit codes, and one line for every mistake."""

import re
import signal
import subprocess
import sys
import time

import pytest
import tools
from absl import flags

from tf_transfer import api, cli, config, help
from tf_transfer.modalities import backbones
from tf_transfer.phases import catalogue

# Runs run.py and tells at its end whether TensorFlow was imported.
WATCHED = """
import atexit, runpy, sys
atexit.register(lambda: print("tensorflow" in sys.modules))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def watched(*arguments, cwd):
    return tools.python("-c", WATCHED, str(tools.ROOT / "run.py"), *arguments, cwd=cwd)


def test_help_is_quick_grouped_and_short(tmp_path):
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        done = watched("--help", cwd=tmp_path)
        seconds.append(time.perf_counter() - begun)
    assert (done.returncode, done.stderr) == (0, "")
    assert min(seconds) < 1.5
    text, _, imported = done.stdout.rstrip().rpartition("\n")
    assert imported == "False"
    assert max(map(len, text.splitlines())) <= 120
    titles = re.findall(r"^(\w+)", text, re.MULTILINE)
    assert titles == [
        "Fine",
        "usage",
        "Phases",
        "Command",
        "Data",
        "Model",
        "Training",
        "Run",
        "Assess",
        "Predict",
        "Serve",
        "Compare",
    ]
    listed = re.findall(r"^  --(\w+) ", text, re.MULTILINE)
    assert len(listed) == len(set(listed)) <= 68
    ours = {f.name for f in flags.FLAGS.flags_by_module_dict()[cli.__name__]}
    assert set(listed) == ours - {*config.ALIASES, *help.ALIASES}
    for phase in [*catalogue.PHASES, "all"]:
        assert re.search(rf"^  {phase} ", text, re.MULTILINE)


def test_every_phase_of_the_command_line_has_its_function():
    from tf_transfer.phases import stories

    assert {*catalogue.TRAINED, *stories.STORIES.names(), "predict", "serve", "compare"} == set(catalogue.PHASES)
    assert set(catalogue.ALL) <= set(catalogue.PHASES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--phase: say what to do"),
        (["--phase=,"], "--phase: say what to do"),
        (["--phase=haed"], r"Unknown --phase 'haed'\. Did you mean 'head'\? Known: head, "),
        (["--phase=head,ful"], "Did you mean 'full'"),
        (["--phase=train"], r"Unknown --phase 'train'\. Did you mean 'head'\?"),
        (["--phase=Eval"], r"Unknown --phase 'Eval'\. Did you mean 'evaluate'\?"),
        (["--lerning_rate=1"], r"Unknown command line flag 'lerning_rate'\. Did you mean: learning_rate"),
        (["--phase=head", "--backbone=resnet5"], r"Unknown --backbone 'resnet5'\. Did you mean 'resnet50'\? .*vgg16"),
        (["--phase=head", "--backbone=mobilenet(0.25)"], "name the arguments, as in mobilenet"),
        (["--phase=head", "--backbone=mobilenet(alpha=0.25"], "Expected name or name"),
        (["--phase=head", "--backbone=small_resnet"], "none are published for small_resnet; use --weights=random"),
        (["--phase=head", "--weights=imagnet"], "--weights='imagnet': expected imagenet, random, an existing"),
        (["--phase=head", "--weights=."], "--weights='.' is a directory without a trained model"),
        (["--phase=head", "--weights=source"], "give --source_dataset too"),
        (["--phase=head", "--image_size=31"], "--input_size=31: this backbone takes 32 px or more"),
        (["--phase=head", "--input_size=30"], "--input_size=30: this backbone takes 32 px or more"),
        (["--phase=head", "--import=absent_module"], r"--import=absent_module: .*ModuleNotFoundError.* on PYTHONPATH"),
        (["--phase=full", "--unfreeze=stage[4"], r"--unfreeze='stage\[4' is not a regular expression"),
        (["--phase=head", "--bn=froze"], "--bn: expected one of frozen, train, local, got 'froze'"),
        (["--phase=head", "--epochs=many"], "--epochs: expected a number, got 'many'"),
        (["--phase=head", "--epochs=nan"], "--epochs: expected 0.001 to 1000000.0, got nan"),
        (["--phase=head", "--epochs=head:1,ful:2"], "--epochs='head:1,ful:2': expected PHASE:VALUE"),
        (["--phase=head", "--seed=-1"], "--seed: expected 0 to 2147483647, got -1"),
        (["--phase=head", "--batch_size=1.5"], "--batch_size: expected a whole number, got '1.5'"),
        (["--phase=head", "resnet50"], "unexpected argument 'resnet50'"),
        (["--flagfile=none.flags"], "--flagfile: .*none.flags"),
        ([f"--flagfile={sys.executable}"], "--flagfile: .* cannot be decoded"),
        (["--phase=head", "--debug=maybe"], "debug"),
        (["--phase=predict"], "say which files with --inputs"),
        (["--phase=all,predict", "--images=in", "--top=0"], "--top=0: expected a whole number from 1 up"),
        (
            ["--phase=predict", "--images=in", "--predictions=a.txt"],
            "expected a name that ends in .csv, .jsonl, .parquet",
        ),
        (["--phase=serve,predict", "--images=x"], "--phase=serve serves an exported model until it is stopped"),
        (["--phase=serve", "--saved_model=none"], "expected at 'none': there is no such folder"),
        (["--phase=serve", "--saved_model=.", "--port=x"], "--port: expected a whole number, got 'x'"),
        (["--phase=head\x1b[31m\nx"], r"Unknown --phase 'head.\[31m x'"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_tensorflow(tmp_path, arguments, message):
    done = watched(*arguments, cwd=tmp_path)
    tools.assert_refused(done, message)
    assert done.stdout == "False\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"optimizer": "sgdd"}, r"Unknown --optimizer 'sgdd'\. Did you mean 'sgd'\? Known: sgd, adamw"),
        ({"optimizer": {"full": "adam"}}, r"Unknown --optimizer 'adam'\. Did you mean 'adamw'"),
        ({"optimizer": "sgd(speed=1)"}, r"'speed'.*It takes: momentum, nesterov, weight_decay"),
        ({"schedule": "cosin"}, r"Unknown --schedule 'cosin'\. Did you mean 'cosine'"),
        ({"augment": "flip,crpo"}, r"Unknown --augment operation 'crpo'\. Did you mean 'crop'"),
        ({"augment": "mixup,cutmix"}, "one of mixup and cutmix, not both"),
        ({"augment": "crop(pad=2)"}, r"crop\(pad\) must lie in \[0.0, 0.5\], got 2"),
        ({"regularizer": "l3"}, r"Unknown --regularizer 'l3'\. Did you mean 'l2'"),
        ({"regularizer": "l2(-1)"}, "must be a number of 0 or more, got -1"),
        ({"phases": ["head", "ful"]}, r"Unknown --phase 'ful'\. Did you mean 'full'"),
        ({"backbon": "resnet50"}, r"Unknown option 'backbon'\. Did you mean 'backbone'"),
    ],
)
def test_a_wrong_name_is_told_before_data_is_opened(tmp_path, monkeypatch, option, message):
    from tf_transfer.session import datasets

    def opened(*_, **__):
        raise AssertionError("data was opened")

    monkeypatch.setattr(datasets, "open_source", opened)
    with pytest.raises(api.UserError, match=message) as error:
        api.fine_tune(**{**tools.TINY, "phases": ["head"], "quiet": True, "run_dir": str(tmp_path / "run")} | option)
    assert "\n" not in str(error.value)


def test_debug_shows_the_traceback(tmp_path):
    done = tools.run_py("--phase=head", "--backbone=resnet5", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "Did you mean 'resnet50'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (KeyError("a\nb"), 1, r"error: KeyError: 'a\\nb' \(an internal error: --debug shows where\)"),
        (KeyboardInterrupt(), 130, "error: interrupted; the same command goes on."),
        (api.UserError("--x: no."), 2, "error: --x: no."),
        (OSError(28, "No space left on device"), 2, r"error: the disk is full \(\[Errno 28\] No .*\): make room, .*"),
        (
            MemoryError("4 GB\nof it"),
            2,
            r"error: the memory does not suffice: give a smaller --batch_size, .*4 GB of it\)",
        ),
        (type("ResourceExhaustedError", (Exception,), {})("OOM"), 2, "error: the memory does not suffice: .*"),
    ],
)
def test_exit_codes(monkeypatch, capsys, raised, code, line):
    def fail():
        raise raised

    monkeypatch.setattr(cli.signals, "handled", fail)
    with pytest.raises(SystemExit) as exit:
        cli.main(["run.py"])
    assert exit.value.code == code
    assert re.fullmatch(line + "\n", capsys.readouterr().err)


def test_flags_after_a_flagfile_win(tmp_path):
    (tmp_path / "preset.flags").write_text("# A preset.\n--phase=head\n--backbone=resnet5\n--image_size=8\n")
    done = tools.run_py("--flagfile=preset.flags", "--backbone=vgg16", cwd=tmp_path)
    tools.assert_refused(done, "--input_size=8: this backbone takes 32 px or more")


def test_presets_are_valid(tmp_path):
    presets = sorted((tools.ROOT / "flags").glob("*.flags"))
    assert presets
    for preset in presets:
        # The last flag is wrong: everything before it has been parsed, nothing runs.
        done = tools.run_py(f"--flagfile={preset}", "--phase=head", "--seed=-1", cwd=tmp_path)
        tools.assert_refused(done, "--seed")


def test_control_c_finishes_the_step_and_saves(tmp_path):
    options = tools.flags(**tools.TINY | {"epochs": 10_000, "run_dir": "run"})
    arguments = [sys.executable, str(tools.ROOT / "run.py"), "--phase=head", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, cwd=tmp_path, preexec_fn=tools.heed_interrupts, **pipes) as running:
        while "head  epoch" not in running.stdout.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    said = "stopping: the step or validation under way is finished and saved; the same signal again leaves at once"
    assert error == f"\n{said}\nerror: stopped by SIGINT; training is saved, and the same command goes on.\n"
    assert (tmp_path / "run/config.json").is_file()
    assert not (tmp_path / "run/head").exists()
    assert not list((tmp_path / "run").rglob(".new*"))
    # Nothing was trained: the options may still change.
    config, _ = api.open_run({"run_dir": str(tmp_path / "run"), "seed": 3, "epochs": 1.0}, ["head"], write=False)
    assert (config.run.seed, config.model.backbone, config.training.epochs) == (3, "small_resnet", 1.0)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('one\\ntwo')", r"ValueError: one two"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os.write(2, b'noise'); 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_fails_is_told_in_a_line(tmp_path, monkeypatch, capfd, code, message):
    (tmp_path / "their_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(api.UserError, match=rf"--import=their_module: .*cannot be imported \({message}") as error:
        backbones.import_modules("their_module")
    assert "\n" not in str(error.value) and capfd.readouterr().err == ""


def test_a_character_0_is_told(tmp_path):
    with pytest.raises(api.UserError, match=r"--run_dir: a character 0 stands in 'a.b'; take it out"):
        config.from_values({"run_dir": "a\0b"})
