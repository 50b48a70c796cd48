"""Epoch records as TensorBoard scalars."""

import sys

from tf_transfer.run import tensorboard

EPOCHS = [{"kind": "epoch", "epoch": e, "epochs": 2, "step": 10 * e, "train_loss": 1.0 / e} for e in (1, 2)]


def test_scalars_are_read_back_by_tensorboard(tmp_path):
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = tensorboard.Board(tmp_path / "head")
    for record in EPOCHS:
        writer.epoch(record)
    events = EventAccumulator(str(tmp_path / "head"), size_guidance={"tensors": 0})
    events.Reload()
    assert set(events.Tags()["tensors"]) == {"epoch", "train_loss"}
    assert [e.step for e in events.Tensors("train_loss")] == [10, 20]
    assert [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("train_loss")] == [1.0, 0.5]


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    tensorboard.Board(tmp_path / "head").epoch(EPOCHS[0])
    assert not list(tmp_path.iterdir())
