"""The files that benchmarks read: made once for a run, from the sample or by repetition.

Belongs here: writing them. Does not: measuring. What a file holds is said where it is made.
"""

import random
from pathlib import Path

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
)


def plain_logs(landing: Path, target: Path) -> tuple[int, int]:
    """The tracking lines of a sample in one plain file, which a bare parse can read; re-sent copies left out. Its last
    line is ended: nothing of the file waits for more.

    Returns its lines and bytes.
    """
    from log_ingest.files import discover, read_chunks

    target.parent.mkdir(parents=True, exist_ok=True)
    lines = size = 0
    with target.open("wb") as stream:
        for file in discover(landing, "tracking_logs", (".log", ".log.gz", ".log.zst"))[0]:
            if "resent" in file.path.parts:
                continue
            for chunk in read_chunks(file):
                stream.write(chunk)
                lines += chunk.count(b"\n")
                size += len(chunk)
        stream.write(b"\n")
    return lines + 1, size + 1


def split(file: Path, count: int) -> None:
    """Put the lines of a file into so many files beside it, in their order, and remove it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        for number in range(count):
            part = stream.read(size // count) + stream.readline() if number < count - 1 else stream.read()
            file.with_name(f"{number}.log").write_bytes(part)
    file.unlink()


def long_log(target: Path, size: int) -> int:
    """A tracking log of about `size` bytes with rising pointers and no repeats; returns its lines."""
    target.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(5)
    tails = [
        f"{rng.getrandbits(32):x}\t1aeab4b6\t{rng.randrange(1, 9)}\t0\t{rng.getrandbits(128):032x}\th\tp1={n}\t"
        f"{AGENTS[n % 3]}\t10.{n % 256}.{n // 256}.7\n"
        for n in range(60_000)
    ]
    lines = written = 0
    with target.open("w", encoding="ascii") as stream:
        while written < size:
            second = lines // len(tails)
            moment = f"2024-05-{1 + second // 86400 % 28:02d}T{second // 3600 % 24:02d}:{second // 60 % 60:02d}"
            block = "".join(
                f"50x{0xFD7E000 + lines + n:016X}\t{moment}:{second % 60:02d}.{n % 100:02d}\t{tail}"
                for n, tail in enumerate(tails)
            )
            stream.write(block)
            written += len(block)
            lines += len(tails)
    return lines


def tiny_logs(folder: Path, count: int) -> int:
    """`count` tracking logs of three lines each; returns the lines."""
    for number in range(count):
        part = folder / f"{number // 1000:04d}"
        if number % 1000 == 0:
            part.mkdir(parents=True)
        lines = (
            f"50x{number * 4 + n:016X}\t2024-05-01T10:{n:02d}:00.00\t{number + 1:x}\t1aeab4b6\t1\t0\t\th\t\t"
            f"{AGENTS[n]}\t10.0.0.1\n"
            for n in range(3)
        )
        (part / f"{number}.log").write_text("".join(lines), encoding="ascii")
    return count * 3


def access_log(target: Path, lines: int) -> int:
    """A combined log in which one line in twenty is a tracking request; returns its bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    with target.open("w", encoding="ascii") as stream:
        for number in range(lines):
            request = (
                f"/r/?id=h{rng.getrandbits(30):x},1aeab4b6,{rng.randrange(1, 9)}&p1={number}"
                if number % 20 == 0
                else f"/assets/{rng.randrange(5000)}/picture-{rng.randrange(90)}.png?v={rng.randrange(9)}"
            )
            second = number // 40
            clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            stream.write(
                f"10.{number % 251}.{number % 13}.{number % 200} - -"
                f" [{1 + second // 86400 % 28:02d}/May/2024:{clock}"
                f' +0000] "GET {request} HTTP/1.1" 200 {rng.randrange(90_000)} "https://www.example.com/{number % 77}"'
                f' "{AGENTS[number % 3]}"\n'
            )
    return target.stat().st_size
