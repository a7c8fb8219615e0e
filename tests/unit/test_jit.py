"""Where compiled code is kept: what comes with a container image serves a process that may write nothing but /tmp."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from schemas import jit
from tests.faults.small_disks import mounted_tmpfs, mounting_is_permitted


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that an image brings; the process cannot write it, even where root runs the tests."""
    home = tmp_path / "image"
    folder = home / "sluiceway" / "compiled" / jit.fingerprint()
    below = folder / "decode_0123"
    below.mkdir(parents=True)
    (below / "spans.1.nbc").write_bytes(b"code")
    (folder / "whole").touch()
    folder.chmod(0o555)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).startswith(str(home)) and access(path, mode))
    return folder


def test_a_cache_that_can_be_written_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert jit._cache_folder() == tmp_path / "sluiceway" / "compiled" / jit.fingerprint()


@pytest.mark.usefixtures("built")
def test_a_cache_that_came_with_an_image_is_copied_to_a_folder_of_our_own(temporary: Path) -> None:
    folder = jit._cache_folder()

    assert folder.parent == temporary
    assert (folder / "whole").exists()
    assert (folder / "decode_0123" / "spans.1.nbc").read_bytes() == b"code"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "decode_0123")] == [0o700, 0o700]


@pytest.mark.usefixtures("built")
def test_a_restart_finds_the_copy_and_what_was_compiled_beside_it(temporary: Path) -> None:
    (jit._cache_folder() / "compiled later").touch()

    assert (jit._cache_folder() / "compiled later").exists()
    assert len(list(temporary.iterdir())) == 1


@pytest.mark.usefixtures("built", "temporary")
@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_somebody_else_could_have_filled_is_not_used(mode: int) -> None:
    first = jit._cache_folder()
    first.chmod(mode)

    assert jit._cache_folder() != first


@pytest.mark.usefixtures("built")
def test_a_link_in_the_place_of_the_copy_is_not_followed(tmp_path: Path, temporary: Path) -> None:
    first = jit._cache_folder()
    planted = tmp_path / "planted"
    first.rename(planted)
    first.symlink_to(planted)

    assert jit._cache_folder().resolve() != planted


def test_a_user_without_a_home_still_gets_a_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)

    assert jit._cache_folder().parent == temporary


@pytest.mark.skipif(not mounting_is_permitted(), reason="needs the right to mount a tmpfs")
def test_a_cache_that_does_not_fit_is_not_copied_by_half(built: Path, temporary: Path) -> None:
    (built / "decode_0123" / "logs.1.nbc").write_bytes(bytes(1 << 20))
    temporary.rmdir()
    with mounted_tmpfs(temporary, 1 << 20):
        folder = jit._cache_folder()
        assert folder.parent == temporary
        assert list(folder.iterdir()) == []
        # All of the space is there for what is compiled anew.
        (folder / "spans.1.nbc").write_bytes(bytes(3 << 18))


def test_files_without_content_are_compiled_anew_and_all_others_kept(tmp_path: Path) -> None:
    below = tmp_path / "decode_0123"
    below.mkdir()
    (tmp_path / "whole").touch()
    (below / "spans.nbi").write_bytes(b"index")
    (below / "spans.1.nbc").write_bytes(b"code")
    assert jit._without_empty_files(tmp_path) == tmp_path
    assert (tmp_path / "whole").exists()

    (below / "logs.nbi").touch()
    (below / "logs.1.nbc").touch()
    jit._without_empty_files(tmp_path)
    assert {file.name for file in below.iterdir()} == {"spans.nbi", "spans.1.nbc"}
    # So that a start compiles what is missing elsewhere, and not in the process that acknowledges.
    assert not (tmp_path / "whole").exists()
