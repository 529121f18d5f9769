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
