"""Files as they are read: by whatever name, and never much more at a time than asked for."""

import gzip
import random
from pathlib import Path

import pytest
import zstandard

from log_ingest.errors import UnreadableFileError
from log_ingest.files import discover, read_chunks

MOST = 2**26
"""Bytes that two KiB of zstd can become."""


def written(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", ["a.log.gz", "A.LOG.GZ", "a.log.zst", "A.Log.Zst", "a.log", "A.LOG"])
def test_a_file_is_what_its_name_says_in_whatever_case(tmp_path: Path, name: str) -> None:
    lines = random.Random(1).randbytes(50_000).hex().encode()
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(Path(name).suffix.lower(), bytes)
    written(tmp_path / "logs", name, pack(lines))
    (file,), problems = discover(tmp_path, "logs", (".log", ".log.gz", ".log.zst"))
    assert not problems
    assert file.is_compressed == (not name.lower().endswith(".log"))
    for start in (0, 1, 99_999):
        for chunk_bytes in (1, 1000, 2**23):
            chunks = list(read_chunks(file, start, chunk_bytes))
            assert b"".join(chunks) == lines[start:]
            assert all(chunks)


def test_links_to_folders_are_named_and_nothing_behind_them_is_read(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    written(landing / "logs" / "real", "a.log", b"1")
    written(landing / "elsewhere", "b.log", b"2")
    written(tmp_path / "outside", "c.log", b"3")
    (landing / "logs" / "inside").symlink_to(landing / "elsewhere")
    (landing / "logs" / "real" / "out").symlink_to(tmp_path / "outside")
    found, problems = discover(landing, "logs", (".log",))
    assert [file.name for file in found] == ["logs/real/a.log"]
    assert problems == {
        "logs/inside/": "logs/inside/: a link to a folder; skipped",
        "logs/real/out/": "logs/real/out/: a link to a folder; skipped",
    }


@pytest.mark.parametrize("folder", ["logs", "reference/recipients"])
@pytest.mark.parametrize("is_the_first", [True, False])
def test_a_source_folder_may_be_a_link_inside_the_landing_folder_only(
    tmp_path: Path, folder: str, is_the_first: bool
) -> None:
    landing = tmp_path / "landing"
    link = landing / (folder.split("/")[0] if is_the_first else folder)
    link.parent.mkdir(parents=True)
    below = folder.removeprefix(str(link.relative_to(landing))).lstrip("/")
    for target, is_inside in ((landing / "other", True), (tmp_path / "outside", False)):
        written(target / below, "a.log", b"1")
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        found, problems = discover(landing, folder, (".log",))
        assert [file.name for file in found] == ([f"{folder}/a.log"] if is_inside else [])
        said = f"{folder}/: a link out of the landing folder; the folder was skipped"
        assert list(problems.values()) == ([] if is_inside else [said])
    link.unlink()
    assert discover(landing, folder, (".log",)) == ([], {}), "where nothing arrives nothing is wrong"
    link.symlink_to(tmp_path / "nowhere")
    assert list(discover(landing, folder, (".log",))[1].values()) == [
        f"{folder}/: No such file or directory; the folder was skipped"
    ]
    link.unlink()
    link.write_bytes(b"")
    (problem,) = discover(landing, folder, (".log",))[1].values()
    assert problem.startswith(f"{folder}/: ") and problem.endswith("skipped")


def test_frames_of_zstd_follow_one_another_and_none_ends_early(tmp_path: Path) -> None:
    parts = [bytes([65 + at]) * 10_000 for at in range(5)]
    whole = b"".join(map(zstandard.compress, parts))
    written(tmp_path / "logs", "a.log.zst", whole)
    written(tmp_path / "logs", "b.log.zst", whole[:-3])
    (file, cut), _ = discover(tmp_path, "logs", (".log.zst",))
    assert b"".join(read_chunks(file)) == b"".join(parts)
    with pytest.raises(UnreadableFileError, match="ends in the middle of a frame"):
        list(read_chunks(cut))


def test_little_zstd_that_becomes_much_comes_in_pieces(tmp_path: Path) -> None:
    size = 300_000_000
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    zeros = bytes(10_000_000)
    packed = b"".join(packer.compress(zeros) for _ in range(size // len(zeros))) + packer.flush()
    assert len(packed) * 10_000 < size
    written(tmp_path / "logs", "a.log.zst", packed)
    (file,), _ = discover(tmp_path, "logs", (".log.zst",))
    total = 0
    for chunk in read_chunks(file, chunk_bytes=4096):
        assert len(chunk) <= MOST + 4096
        total += len(chunk)
    assert total == size
