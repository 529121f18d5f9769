"""Taking a newer list of a network's addresses."""

import csv
from datetime import date
from pathlib import Path

import pytest

from orchestration.machine_networks import replace

DAY = date(2026, 11, 25)


def seed(folder: Path) -> Path:
    path = folder / "machine_networks.csv"
    path.write_text(
        "network,first_address,last_address,listed_on\n"
        "other,10.0.0.0,10.0.0.255,2020-01-01\nrelay,192.0.2.0,192.0.2.0,2020-01-01\n"
    )
    return path


def test_a_list_replaces_its_network_and_no_other(tmp_path: Path) -> None:
    """As Apple publishes it: ranges with places behind them, neighbours, repetitions, one address alone, IPv6."""
    listing = tmp_path / "list.csv"
    listing.write_text(
        "198.51.100.0/31,GB,GB-EN,London,\n198.51.100.2/31,GB,,,\n198.51.100.0/31,DE,,,\n\n"
        "203.0.113.9\n2001:db8:0:1::/64,US,,,\n2001:db8::/64\n"
    )
    path = seed(tmp_path)
    assert replace(path, "relay", listing, DAY) == 3
    with path.open(newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    assert rows == [
        ("other", "10.0.0.0", "10.0.0.255", "2020-01-01"),
        ("relay", "198.51.100.0", "198.51.100.3", "2026-11-25"),
        ("relay", "203.0.113.9", "203.0.113.9", "2026-11-25"),
        ("relay", "2001:db8::", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2026-11-25"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("198.51.100.0/31\nnonsense\n", "line 2: not a range"),
        ("\n# nothing\n", "holds no range"),
        ("1.2.3.4/99\n", "line 1"),
    ],
)
def test_a_list_that_is_none_changes_nothing(tmp_path: Path, text: str, words: str) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(text)
    path = seed(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        replace(path, "relay", listing, DAY)
    assert path.read_bytes() == before
