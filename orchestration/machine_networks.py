"""The seed of networks that machines use: taking a newer list of one of them.

Belongs here: reading a published list of address ranges and writing the seed. Does not: what an address proves
(machine_rules.csv, the models).
"""

import csv
import ipaddress
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

COLUMNS = ("network", "first_address", "last_address", "listed_on")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def replace(seed: Path, network: str, listing: Path, listed_on: date) -> int:
    """Replace the rows of `network` in the seed by the ranges of `listing`; returns how many there are.

    listing: one range a line (CIDR or a single address), as first field where the line has several, as in the
    list that Apple publishes. Raises ValueError, saying where, for a line that is none; nothing is written then.
    """
    rows = [row for row in _rows(seed) if row[0] != network]
    fresh = [(network, str(first), str(last), listed_on.isoformat()) for first, last in ranges(_read(listing))]
    if not fresh:
        raise ValueError(f"{listing} holds no range of addresses; nothing was changed")
    draft = seed.with_suffix(".draft")
    with draft.open("w", encoding="ascii", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sorted(rows) + fresh)
    draft.rename(seed)
    return len(fresh)


def ranges(networks: Iterable[Network]) -> Iterator[tuple[ipaddress._BaseAddress, ipaddress._BaseAddress]]:
    """First and last address of each range in rising order, IPv4 before IPv6; what touches or overlaps is one."""
    found = list(networks)
    for version in (4, 6):
        merged: list[list[ipaddress._BaseAddress]] = []
        of_version = (network for network in found if network.version == version)
        for network in sorted(ipaddress.collapse_addresses(of_version)):  # type: ignore[type-var]
            if merged and int(merged[-1][1]) + 1 == int(network[0]):
                merged[-1][1] = network[-1]
            else:
                merged.append([network[0], network[-1]])
        yield from ((first, last) for first, last in merged)


def _read(listing: Path) -> Iterator[Network]:
    with listing.open(encoding="utf-8", errors="replace", newline="") as stream:
        for number, line in enumerate(csv.reader(stream), 1):
            if not line or not line[0].strip() or line[0].lstrip().startswith("#"):
                continue
            try:
                yield ipaddress.ip_network(line[0].strip(), strict=False)
            except ValueError:
                raise ValueError(f"{listing}, line {number}: not a range of addresses such as 192.0.2.0/24") from None


def _rows(seed: Path) -> list[tuple[str, str, str, str]]:
    if not seed.exists():
        return []
    with seed.open(encoding="ascii", newline="") as stream:
        return [(network, first, last, day) for network, first, last, day in csv.reader(stream)][1:]
