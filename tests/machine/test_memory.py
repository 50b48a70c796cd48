import pytest
import tensorflow as tf

from tf_transfer.machine import memory


@pytest.mark.parametrize("error", [None, RuntimeError("in use"), ValueError("limited")])
def test_every_gpu_gives_memory_as_it_is_needed(monkeypatch, error):
    asked = []

    def grow(gpu, on):
        asked.append((gpu, on))
        if error:
            raise error

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1"] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", grow)
    memory.share()
    assert asked == [("GPU:0", True), ("GPU:1", True)]
