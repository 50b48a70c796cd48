"""Every refusal is one line on standard error and exit code 2: wrong commands, all run by one process."""

import json
import re
import subprocess
import sys

import pytest
import tools

# Runs commands one after the other, each in a folder of its own with the files it names, and tells how they end.
PROGRAM = """
import json, os, pathlib, sys, tempfile
from absl import flags
from tf_transfer import cli

def ended(arguments):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.argv = ["run.py", *arguments]
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            cli.run(sys.argv)
        except SystemExit as e:
            code = e.code
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        written.seek(0)
        return code, written.read().decode(errors="replace")

answers = []
for number, (files, arguments) in enumerate(json.load(sys.stdin)):
    os.makedirs(f"{number}")
    os.chdir(f"{number}")
    for name, content in files.items():
        pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(name).write_text(content)
    answers.append(ended(arguments))
    os.chdir("..")
pathlib.Path("answers.json").write_text(json.dumps(answers))
"""
HEAD = ("--phase=head", *tools.flags(**tools.TINY | {"run_dir": "run"}))
EVALUATE = ("--phase=evaluate", "--run_dir=run")
PREDICT = ("--phase=predict", "--run_dir=run", "--inputs=in")
FILE = {"file": "mine"}

# What stands beside the command, the command, and what its line says.
CASES = [
    (FILE, [*HEAD, "--run_dir=file"], r"--run_dir='file' is a file; expected a folder"),
    (FILE, [*HEAD, "--run_dir=file/run"], r"--run_dir='file/run' cannot be written: Not a directory"),
    ({}, [*HEAD, "--run_dir=/dev/null"], r"--run_dir='/dev/null' is a file"),
    ({}, [*HEAD, "--run_dir=" + "x" * 300], "cannot be written: File name too long"),
    (FILE, [*HEAD, "--feature_store=file"], r"--feature_store='file' cannot be used: Not a directory"),
    ({}, [*HEAD, "--feature_store_gb=nan"], "--feature_store_gb: expected 0.0 to "),
    ({}, [*HEAD, "--strategy=gpu"], "--strategy: expected one of auto, one, mirrored, multiworker, tpu, got 'gpu'"),
    ({}, [*HEAD, "--strategy=multiworker"], "--strategy=multiworker: set TF_CONFIG"),
    ({}, [*HEAD, "--precision=float16"], "--precision: expected one of auto, float32, bfloat16, got 'float16'"),
    ({}, [*HEAD, "--import=../up"], r"--import=\.\./up: the module cannot be imported"),
    ({}, [*HEAD, "--backbone=mobilenet(alpha=1"], r"--backbone: Expected name or name\(key=value"),
    ({}, [*HEAD, "--backbone=small_resnet(width='a')"], "SmallResNet refused its arguments, width='a': "),
    ({}, [*HEAD, "--backbone=small_resnet(width=0)"], "SmallResNet refused its arguments, width=0: "),
    ({}, [*HEAD, "--backbone=small_resnet(size=1)"], "SmallResNet does not take size; it takes: depth, width"),
    ({}, [*HEAD, "--augment=crop(pad=x)"], "'crop': expected a number for pad, got 'x'"),
    ({}, [*HEAD, "--augment=mixup(-1)"], r"--augment: mixup\(alpha\) must lie in "),
    ({}, [*HEAD, "--optimizer="], "--optimizer: Expected name or name"),
    ({}, [*HEAD, "--optimizer=sgd(momentum=nan)"], "--optimizer 'sgd': expected a number for momentum, got 'nan'"),
    ({}, [*HEAD, "--optimizer=adamw(beta_1=5)"], r"--optimizer: adamw\(beta_1\) must lie in \[0.0, 0.99999\], got 5"),
    ({}, [*HEAD, "--schedule=step((1,2,3))"], r"--schedule: step\(at\) takes shares of the phase"),
    ({}, [*HEAD, "--schedule=cosine("], "--schedule: Expected name or name"),
    ({}, [*HEAD, "--regularizer=l2(inf)"], "--regularizer 'l2': expected a number for strength, got 'inf'"),
    ({}, [*HEAD, "--method=dann"], "Unknown --method 'dann'. Known: "),
    ({}, [*HEAD, "--method=supervised(x=1)"], "unexpected argument 'x'. It takes: nothing"),
    ({}, [*HEAD, "--epochs=1e400"], "--epochs: expected 0.001 to 1000000.0, got inf"),
    ({}, [*HEAD, "--checkpoint_every=-1"], "--checkpoint_every='-1': expected steps such as 500, a time"),
    ({}, [*HEAD, "--dataset=csv()"], "missing a required argument: 'path'. It takes: path, root"),
    ({}, [*HEAD, "--dataset=folder(path=none)"], r"folder\(path=none\): expected a folder of class folders"),
    ({}, [*HEAD, "--dataset=digits(test_fraction=-1)"], "test_fraction: expected a number above 0 and up to 0.9"),
    ({}, [*HEAD, "--dataset=/etc/passwd"], "--dataset=/etc/passwd is a file; expected a folder"),
    ({}, [*HEAD, "--weights=/etc/passwd"], "--weights='/etc/passwd': expected imagenet, random, an existing"),
    ({}, ["--phase=head", "--\udce9=1"], "Unknown command line flag"),
    ({}, [*HEAD, "--dataset=\udce9"], "Unknown data set"),
    ({}, ["--phase=\udce9"], "Unknown --phase"),
    ({}, ["--flagfile=\udce9"], "--flagfile: .* cannot be read: No such file"),
    ({}, ["--flagfile"], "flagfile"),
    ({"run/config.json": "{"}, EVALUATE, r"run/config\.json is damaged .* use another --run_dir or mend it"),
    ({"run/config.json": "[]"}, EVALUATE, r"run"),
    ({"run/config.json": '{"data": {"dataset": 5}}'}, EVALUATE, "dataset"),
    ({"run/config.json": '{"model": {"input_size": "x"}}'}, EVALUATE, "--input_size: expected a value of type int"),
    ({}, EVALUATE, "run"),
    ({}, ["--phase=compare", "--runs=,"], "run"),
    ({}, PREDICT, r"expected at 'run': there is no such folder; run --phase=export first"),
    ({}, [*PREDICT, "--watch=-1"], "--watch"),
    ({}, [*PREDICT, "--top=nan"], "--top=nan: expected a whole number from 1 up"),
    ({}, [*PREDICT, "--predictions=a.xls"], r"expected a name that ends in \.csv"),
    ({}, ["--phase=assess", *HEAD[1:], "--shifted=a:"], "--shifted='a:': expected name:spec,... with each name once"),
    ({}, ["--phase=assess", *HEAD[1:], "--assess_budget=0"], "--assess_budget: expected 0.1 to 100000.0, got 0.0"),
    ({}, ["--phase=serve", "--run_dir=run"], "expected at 'run': there is no such folder"),
]  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        input=json.dumps([(files, list(arguments)) for files, arguments, _ in CASES]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "answers.json").read_text())


@pytest.mark.parametrize("number", range(len(CASES)), ids=[" ".join(case[1][-1:])[:60] for case in CASES])
def test_a_wrong_command_ends_with_one_line_and_2(answers, number):
    (code, error), (_, _, message) = answers[number], CASES[number]
    assert code == 2 and re.fullmatch(r"error: [^\n]+\n", error), (code, error)
    assert re.search(message, error), error
