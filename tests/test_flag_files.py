"""Flag files as editors and systems save them; they stand for their lines."""

import codecs

import pytest

from tf_transfer import flag_files
from tf_transfer.errors import UserError

TEXT = "# A preset.\n--dataset=Größe\n\n// More.\n  --phase=head  \n"
FLAGS = ["--dataset=Größe", "--phase=head"]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_marks_encodings_and_line_ends(tmp_path, encoding, ends):
    (tmp_path / "preset.flags").write_bytes(TEXT.replace("\n", ends).encode(encoding))
    found = flag_files.expanded(["run.py", "--seed=1", "--flagfile=preset.flags", "--seed=2"])
    assert found == ["run.py", "--seed=1", *FLAGS, "--seed=2"]


def test_where_a_file_may_stand(tmp_path):
    (tmp_path / "inner").write_bytes(codecs.BOM_UTF8 + b"--seed=7")
    (tmp_path / "outer").write_text("--phase=head\n--flagfile=inner\n-flagfile inner\n")
    (tmp_path / "two").write_text("--flagfile=inner\n--flagfile=inner\n")
    assert flag_files.expanded(["run.py", "--flagfile", "inner"]) == ["run.py", "--seed=7"]
    assert flag_files.expanded(["run.py", "-flagfile=two"]) == ["run.py", "--seed=7", "--seed=7"]
    assert flag_files.expanded(["run.py", "--flagfile="]) == ["run.py"]
    assert flag_files.expanded(["run.py", "--", "--flagfile=inner"]) == ["run.py", "--", "--flagfile=inner"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"--flagfile=bad.flags\n", "bad.flags names itself"),
        (b"--dataset=caf\xe9\n", "cannot be decoded; save it as a UTF-8 text"),
        (b"\xff\xfe\x00\xd8\x00", "cannot be decoded"),
        (b"--phase=head\0\n", "cannot be decoded, it is no text"),
    ],
)
def test_what_is_no_flag_file(tmp_path, content, message):
    (tmp_path / "bad.flags").write_bytes(content)
    with pytest.raises(UserError, match=f"--flagfile: .*{message}") as error:
        flag_files.expanded(["--flagfile=bad.flags"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "message"), [("absent", "No such file"), (".", "Is a directory")])
def test_what_cannot_be_read(name, message):
    with pytest.raises(UserError, match=f"--flagfile: {name} cannot be read: {message}"):
        flag_files.expanded([f"--flagfile={name}"])
