"""The recipients: who they are, which mailbox and devices they use, and how they are disposed.

Belongs here: lasting traits of a person, drawn once. Does not: messages sent to them (messages) or what they do
with one (behaviour). Memory: about 16 bytes per recipient, at most MAX_RECIPIENTS of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from log_ingest.sample import clock
from log_ingest.sample.user_agents import PROFILE_APPLE_MPP, PROFILE_GMAIL, PROFILES

MAX_RECIPIENTS = 2_000_000
FIRST_RECIPIENT_ID = 1_000_001

DOMAINS = (
    ("gmail.example", "Gmail", 0.27), ("googlemail.example", "Gmail", 0.01), ("yahoo.example", "Yahoo", 0.06),
    ("outlook.example", "Microsoft", 0.07), ("hotmail.example", "Microsoft", 0.10),
    ("orange.example", "Orange", 0.11), ("wanadoo.example", "Orange", 0.05), ("free.example", "Free", 0.08),
    ("sfr.example", "SFR", 0.04), ("laposte.example", "La Poste", 0.03), ("icloud.example", "Apple", 0.08),
    ("corp-north.example", "", 0.04), ("city-hall.example", "", 0.02), ("university.example", "", 0.02),
    ("tiny-company.example", "", 0.01), ("GMAIL.EXAMPLE", "", 0.01),
)  # fmt: skip
"""Domain, its label in mail_domains (empty: unlisted), share of the recipients."""

_GATEWAY_DOMAINS = ("corp-north.example", "city-hall.example", "university.example")
_FIRST_NAMES = (
    "Camille", "Léa", "Hugo", "Chloé", "Louis", "Manon", "Jules", "Inès", "Emma", "Noah", "Olivia", "Liam", "Ava",
    "Mason", "Sophia", "Zoë", "Marie", "John", "Florian", "Henry",
)  # fmt: skip
_LAST_NAMES = (
    "Martin", "Bernard", "Dubois", "Thomas", "Robert", "Petit", "Durand", "Leroy", "Moreau", "O'Brien", "Smith",
    "Jones", "Taylor", "Brown", "Williams", "Wilson", "Evans", "Lefèvre", "d'Arc", "Müller",
)  # fmt: skip
_TIME_ZONES = ("Europe/Paris", "Europe/London", "America/New_York", "Europe/Brussels")
_TIERS = ("bronze", "silver", "gold")


@dataclass(frozen=True)
class Population:
    """One array element per recipient; recipient n has id FIRST_RECIPIENT_ID + n."""

    domain: npt.NDArray[np.uint8]
    first_name: npt.NDArray[np.uint8]
    last_name: npt.NDArray[np.uint8]
    profile: npt.NDArray[np.uint8]
    time_zone: npt.NDArray[np.uint8]
    tier: npt.NDArray[np.uint8]
    refuses_cookies: npt.NDArray[np.bool_]
    blocks_images: npt.NDArray[np.bool_]
    has_gateway: npt.NDArray[np.bool_]
    is_denylisted: npt.NDArray[np.bool_]
    activity: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.domain)

    def addresses(self, who: npt.NDArray[np.int64]) -> pa.Array:
        """The e-mail addresses of the recipients at the positions `who`."""
        local = pc.binary_join_element_wise(
            pa.array(_ascii(_FIRST_NAMES)).take(pa.array(self.first_name[who])),
            pa.array(_ascii(_LAST_NAMES)).take(pa.array(self.last_name[who])),
            pa.array(who).cast(pa.string()),
            ".",
        )
        domain = pa.array([name for name, _, _ in DOMAINS]).take(pa.array(self.domain[who]))
        return pc.binary_join_element_wise(local, domain, "@")

    def table(self, who: npt.NDArray[np.int64]) -> pa.Table:
        """The rows of the recipients reference entity, with one further column (loyalty_tier)."""

        def words(values: tuple[str, ...], index: npt.NDArray[np.uint8]) -> pa.Array:
            return pa.array(values).take(pa.array(index[who]))

        created_ms = clock.START_MS - 400 * clock.DAY_MS + (who * 7_919_777) % (390 * clock.DAY_MS)
        zone = self.time_zone[who]
        return pa.table(
            {
                "recipient_id": pa.array(who + FIRST_RECIPIENT_ID),
                "email": self.addresses(who),
                "first_name": words(_FIRST_NAMES, self.first_name),
                "last_name": words(_LAST_NAMES, self.last_name),
                "time_zone": words(_TIME_ZONES, self.time_zone),
                "language": pa.array(("en", "fr")).take(pa.array(((zone == 0) | (zone == 3)).astype(np.int8))),
                "created_at": pa.array((created_ms // 1000 * 1_000_000).astype("datetime64[us]")),
                "is_denylisted": pa.array(self.is_denylisted[who]),
                "loyalty_tier": words(_TIERS, self.tier),
            }
        )


def draw_population(events: int, rng: np.random.Generator) -> Population:
    """About 0.4 recipients per event, at least 400 and at most MAX_RECIPIENTS."""
    size = int(min(MAX_RECIPIENTS, max(400, events * 0.4)))

    def pick(weights: list[float]) -> npt.NDArray[np.uint8]:
        return np.searchsorted(np.cumsum(weights) / sum(weights), rng.random(size)).astype(np.uint8)

    domain = pick([weight for _, _, weight in DOMAINS])
    profile = pick([item.weight for item in PROFILES])
    # Gmail's own mailboxes read through Gmail's proxy, Apple's through Apple's: the rest as drawn.
    names = [name for name, _, _ in DOMAINS]
    profile[domain == names.index("gmail.example")] = PROFILE_GMAIL
    profile[domain == names.index("icloud.example")] = PROFILE_APPLE_MPP
    gateway_domains = [names.index(name) for name in _GATEWAY_DOMAINS]
    return Population(
        domain=domain,
        first_name=rng.integers(0, len(_FIRST_NAMES), size, dtype=np.uint8),
        last_name=rng.integers(0, len(_LAST_NAMES), size, dtype=np.uint8),
        profile=profile,
        time_zone=pick([0.6, 0.2, 0.1, 0.1]),
        tier=pick([0.6, 0.3, 0.1]),
        refuses_cookies=rng.random(size) < 0.06,
        blocks_images=rng.random(size) < 0.08,
        has_gateway=np.isin(domain, gateway_domains) & (rng.random(size) < 0.8),
        is_denylisted=rng.random(size) < 0.01,
        activity=rng.beta(2.0, 2.0, size).astype(np.float32),
    )


def _ascii(names: tuple[str, ...]) -> list[str]:
    table = str.maketrans("éèëüïçâ", "eeeuica", "' ")
    return [name.lower().translate(table) for name in names]
