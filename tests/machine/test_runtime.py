import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.errors import UserError
from tf_transfer.machine import devices
from tf_transfer.machine.precision import precision_policy, resolve_precision
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.modalities.backbones import BACKBONES


@pytest.mark.parametrize(("name", "replicas"), [("one", 1), ("auto", 1), ("mirrored", 2)])
def test_strategies(name, replicas):
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == replicas
    found = devices.facts(strategy, "float32")["device"]
    assert (found["replicas"], found["precision"], found["devices"]) == (replicas, "float32", ["CPU", "CPU"])


def test_runs_of_one_process_reduce_different_shapes():
    """Two mirrored strategies would give their reductions the same keys; the second shape would be refused."""
    for size in (3, 5):
        strategy = make_strategy("mirrored")
        reduce = tf.function(
            lambda size: tf.distribute.get_replica_context().all_reduce("SUM", tf.ones(size)), autograph=False
        )
        run = tf.function(lambda size=size, s=strategy, r=reduce: s.run(r, args=(size,)), autograph=False)
        for part in strategy.experimental_local_results(run()):
            np.testing.assert_array_equal(part, np.full(size, 2.0))


@pytest.mark.parametrize(
    ("flags", "depthwise", "dense"),
    [
        ("fpu amx_bf16 amx_tile avx512_bf16", "bfloat16", "bfloat16"),
        ("fpu avx512_bf16", "float32", "bfloat16"),
        ("fpu avx512f", "float32", "float32"),
    ],
)
def test_auto_precision_is_half_where_the_processor_gains_by_it(monkeypatch, flags, depthwise, dense):
    monkeypatch.setattr(pathlib.Path, "read_text", lambda self: f"processor: 0\nflags\t\t: {flags}\n")
    found = {name: resolve_precision("auto", spec.dense) for name, spec in BACKBONES.items()}
    assert found["mobilenet"] == found["efficientnetb7"] == found["small_resnet"] == depthwise
    assert found["resnet50"] == found["vgg16"] == found["densenet121"] == dense
    assert resolve_precision("float32") == "float32" and resolve_precision("bfloat16") == "bfloat16"


def test_without_a_list_of_processor_features_precision_is_single(monkeypatch):
    def missing(self):
        raise FileNotFoundError

    monkeypatch.setattr(pathlib.Path, "read_text", missing)
    assert resolve_precision("auto") == "float32"


def test_unknown_names_are_told():
    with pytest.raises(UserError, match="--strategy='two': expected one of auto, one, mirrored"):
        make_strategy("two")
    with pytest.raises(UserError, match="--precision='float16': expected one of auto, float32, bfloat16"):
        resolve_precision("float16")


def test_precision_policy_holds_inside_only():
    before = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError), precision_policy("bfloat16"):
        layer = keras.layers.Dense(1)
        layer.build((None, 2))
        raise RuntimeError
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
    assert keras.config.dtype_policy().name == before
    with precision_policy("float32"):
        assert keras.layers.Dense(1).compute_dtype == "float32"


def test_seeds_are_set():
    draws = []
    for seed in (1, 1, 2):
        devices.set_up(seed)
        draws.append((keras.random.normal((2,)).numpy().tolist(), np.random.random(), tf.random.normal(()).numpy()))
    assert draws[0] == draws[1] != draws[2]
