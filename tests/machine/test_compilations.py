"""The folder of compilations: for which machine, under what limit, and in which of TensorFlow's flags."""

import os

import pytest

from tf_transfer.machine import compilations


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """A machine whose driver tells of a GPU."""
    driver = tmp_path / "nvidia"
    (driver / "gpus/0000:01:00.0").mkdir(parents=True)
    (driver / "gpus/0000:01:00.0/information").write_text("Model: \t\t NVIDIA H200\nIRQ:   12\n")
    (driver / "version").write_text("NVRM version: 580\n")
    monkeypatch.setattr(compilations, "DRIVER", driver)
    for name in ("XLA_FLAGS", "TF_XLA_FLAGS"):
        # Set first, so that what is set later goes with the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return driver


def test_without_a_gpu_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compilations, "DRIVER", tmp_path / "none")
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    compilations.keep(str(tmp_path / "cache"), 10**9)
    assert "TF_XLA_FLAGS" not in os.environ and not (tmp_path / "cache").exists()


def test_it_is_off_where_asked(gpu, tmp_path):
    compilations.keep("off", 10**9)
    assert "TF_XLA_FLAGS" not in os.environ and compilations.folder_of("off") is None


def test_another_driver_has_another_folder(gpu, tmp_path):
    first = compilations.folder_of(str(tmp_path))
    (gpu / "version").write_text("NVRM version: 590\n")
    assert first.parent == compilations.folder_of(str(tmp_path)).parent == tmp_path
    assert first != compilations.folder_of(str(tmp_path))


def test_flags_of_the_users_own_stay(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/mine")
    compilations.keep(str(tmp_path / "cache"), 10**9)
    folder = compilations.folder_of(str(tmp_path / "cache"))
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_persistent_cache_directory=/mine"
    assert os.environ["XLA_FLAGS"] == (
        f"--xla_dump_to=/tmp/x --xla_gpu_per_fusion_autotune_cache_dir={folder / 'autotune'}"
    )
    assert (folder / "autotune").is_dir()


def test_what_was_used_longest_ago_makes_room(gpu, tmp_path):
    folder, other = compilations.folder_of(str(tmp_path / "cache")), tmp_path / "cache/other"
    for place in (folder, other):
        place.mkdir(parents=True)
    files = [other / "old.pb", folder / "middle.pb", folder / "new.pb"]
    for age, file in enumerate(files):
        file.write_bytes(b"x" * 400)
        os.utime(file, (1000 + age, 1000 + age))
    (folder / "costs.json").write_text("{}")
    compilations.keep(str(tmp_path / "cache"), 900)
    assert [f.exists() for f in files] == [False, True, True] and (folder / "costs.json").exists()


def test_a_folder_with_a_space_keeps_nothing(gpu, tmp_path):
    compilations.keep(str(tmp_path / "my cache"), 10**9)
    assert "TF_XLA_FLAGS" not in os.environ and "XLA_FLAGS" not in os.environ and not (tmp_path / "my cache").exists()


def test_a_folder_that_cannot_be_made_keeps_nothing(gpu, tmp_path):
    (tmp_path / "file").write_text("")
    compilations.keep(str(tmp_path / "file"), 10**9)
    assert "TF_XLA_FLAGS" not in os.environ


def test_folders_of_the_users_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert str(compilations.cache_folder("xla")) == "/cache/tf_transfer/xla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/of")
    assert str(compilations.cache_folder("features")) == "/home/of/.cache/tf_transfer/features"
