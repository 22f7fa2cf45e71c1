"""A folder that the database's account cannot reach is replaced by one outside, and both are deleted together."""

from pathlib import Path

import pytest

from mintwire.stack import places
from mintwire.stack.errors import StackError


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    monkeypatch.setattr(places, "_OUTSIDE", folder)
    return folder


def closed(tmp_path: Path) -> Path:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o700)
    return folder / "stack" / "postgres"


def test_behind_a_closed_folder_a_link_leads_outside(tmp_path: Path, outside: Path) -> None:
    wanted = closed(tmp_path)
    made = places.reachable_folder(wanted)
    assert made.parent == outside
    assert wanted.readlink() == made
    assert places.reachable_folder(wanted) == made


def test_removing_takes_the_place_outside_too(tmp_path: Path, outside: Path) -> None:
    wanted = closed(tmp_path)
    (places.reachable_folder(wanted) / "data").write_text("x")
    places.remove(wanted)
    assert not wanted.is_symlink()
    assert not list(outside.iterdir())


def test_a_link_to_elsewhere_is_refused_and_what_it_points_to_is_kept(tmp_path: Path, outside: Path) -> None:
    """Following a planted link would write our data, or delete files, at a place of an attacker's choice."""
    precious = tmp_path / "precious"
    precious.mkdir()
    link = tmp_path / "postgres"
    link.symlink_to(precious)
    with pytest.raises(StackError):
        places.reachable_folder(link)
    places.remove(link)
    assert precious.is_dir()


def test_a_name_planted_in_the_shared_place_is_refused(tmp_path: Path, outside: Path) -> None:
    """Another user of the machine could own the database's folder."""
    wanted = closed(tmp_path)
    places.outside_folder(wanted, outside).symlink_to(tmp_path)
    with pytest.raises(StackError):
        places.reachable_folder(wanted)


def test_what_is_not_to_be_kept_lives_in_memory_and_goes_with_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(places, "_MEMORY", memory)
    monkeypatch.setattr(places, "_MEMORY_FREE_BYTES", 0)
    made = places.memory_folder(tmp_path / "run" / "postgres")
    assert made.parent == memory
    assert places.forgotten_in_memory() == []
    (tmp_path / "run" / "postgres").unlink()
    assert places.forgotten_in_memory() == [made]


def test_where_memory_is_scarce_the_disk_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's default of 64 MB would fill up in the middle of the tests."""
    monkeypatch.setattr(places, "_MEMORY_FREE_BYTES", 2**60)
    monkeypatch.setattr(places, "is_reachable", lambda path: True)
    assert places.memory_folder(tmp_path / "postgres") == tmp_path / "postgres"
