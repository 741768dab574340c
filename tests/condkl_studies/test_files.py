"""Files are whole or as they were before, and the folders are those that the environment names."""

import json
from pathlib import Path

import pytest

from condkl_studies.__main__ import main
from condkl_studies.cache import cache_folder
from condkl_studies.files import DataError, data_folder, write_folder, write_json, write_whole


class Death(BaseException):
    """What ends a process, as far as a test can show it."""


def dying(method, monkeypatch):
    """Die in a method of Path; with half of the bytes written, if it writes."""
    done = getattr(Path, method)

    def dies(self, *args):
        if method == "write_bytes":
            done(self, args[0][: len(args[0]) // 2])
        raise Death

    monkeypatch.setattr(Path, method, dies)


@pytest.mark.parametrize("death", ["write_bytes", "replace"])
@pytest.mark.parametrize("write", [write_whole, lambda path, raw: write_json(path, {"new": raw.decode()})])
def test_a_death_while_a_file_is_written_leaves_what_was_there(write, death, folder, monkeypatch):
    file = folder / "a" / "file"
    write_whole(file, b"the old content")
    dying(death, monkeypatch)
    with pytest.raises(Death):
        write(file, b"the new content, which is longer")
    assert file.read_bytes() == b"the old content"
    monkeypatch.undo()
    write_whole(file, b"a third")  # what was left beside it is not in the way
    assert [path.read_bytes() for path in file.parent.iterdir()] == [b"a third"]


def test_a_number_that_is_none_is_not_written_over_what_was_there(folder):
    write_json(folder / "file", {"x": 1.0})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(folder / "file", {"x": float("nan")})
    assert json.loads((folder / "file").read_text()) == {"x": 1.0}


@pytest.mark.parametrize("death", ["write_bytes", "rename"])
def test_an_end_while_a_folder_is_written_leaves_none(death, folder, monkeypatch):
    dying(death, monkeypatch)
    with pytest.raises(Death):
        write_folder(folder / "studies" / "run", {"a": b"aa", "b": b"bb"})
    assert list((folder / "studies").iterdir()) == []


@pytest.mark.parametrize(("variable", "place"), [("CONDKL_DATA", data_folder), ("CONDKL_CACHE", cache_folder)])
def test_a_folder_may_be_named_from_home_or_from_here_and_is_absolute(variable, place, folder, monkeypatch):
    (folder / "some").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv(variable, "~/some")
    assert place() == folder / "some"
    monkeypatch.chdir(folder)
    monkeypatch.setenv(variable, "some")
    found = place()
    monkeypatch.chdir("/")
    assert found == folder / "some"


def test_without_a_word_the_data_are_those_of_the_repository(monkeypatch):
    monkeypatch.delenv("CONDKL_DATA")
    assert data_folder() == Path(__file__).parents[2] / "data"


def test_a_folder_that_is_not_there_is_named_as_it_is(folder, monkeypatch):
    monkeypatch.setenv("CONDKL_DATA", "nowhere")
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=rf"^{folder / 'nowhere'}: no such data folder"):
        data_folder()


@pytest.mark.parametrize("command", ["status", "verify", "export"])
def test_without_data_the_command_line_says_so_in_one_line(command, monkeypatch, capsys):
    monkeypatch.setenv("CONDKL_DATA", "/nonexistent")
    assert main([command]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("/nonexistent: no such data folder. Install")
    assert said.err.count("\n") == 1
