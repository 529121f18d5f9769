"""What the warehouse must find of page hits: counted from what the generator decided.

Belongs here: visits, purchases, outcomes, the path. Does not: acts on messages (truth), how hits are drawn (web).
Memory: one byte per recipient.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from log_ingest.sample.behaviour import COOKIE, FORWARD_COOKIE, NO_AMOUNT
from log_ingest.sample.user_agents import HUMAN
from log_ingest.sample.web import KEPT, OUTCOMES, PAGES, PATH, PATH_LABEL, TRANSACTION, UNATTRIBUTED

PAGE_COLUMNS = ("delivery_id", "page_visit_count", "transaction_count", "transaction_amount", "article_count")
_IS_TRANSACTION = np.array([page.url_type == TRANSACTION for page in PAGES])
_KIND_MASK = np.uint64(0xF << 60)


@dataclass(frozen=True)
class PageCounts:
    """Kept hits of one delivery. cents leaves out what cannot be read."""

    visits: int = 0
    transactions: int = 0
    cents: int = 0
    articles: int = 0

    def row(self, delivery_id: int) -> tuple[object, ...]:
        """In the order of PAGE_COLUMNS; the amount has two decimals."""
        amount = f"{self.cents // 100}.{self.cents % 100:02d}"
        return delivery_id, self.visits, self.transactions, amount, self.articles


class WebTruth:
    """Counts page hits delivery by delivery."""

    def __init__(self, recipient_count: int) -> None:
        self._outcomes = np.zeros((2, len(OUTCOMES)), dtype=np.int64)
        self._recipient_depth = np.zeros(recipient_count, dtype=np.uint8)
        self._friends_at = np.zeros(len(PATH), dtype=np.int64)
        self.kept_count = 0
        self.dropped_count = 0

    def add(self, hits: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.void], PageCounts]:
        """The hits of one delivery that are kept, and their counts."""
        is_human = hits["rule"] == HUMAN
        for form, chosen in enumerate((hits, hits[is_human])):
            self._outcomes[form] += np.bincount(chosen["mode"], minlength=len(OUTCOMES))
        is_kept = np.isin(hits["mode"], KEPT)
        kept = hits[is_kept]
        self.kept_count += len(kept)
        self.dropped_count += len(hits) - len(kept)
        self._add_steps(kept)
        bought = kept[_IS_TRANSACTION[kept["page"]]]
        readable = bought["amount"] != NO_AMOUNT
        return kept, PageCounts(
            len(kept), len(bought), int(bought["amount"][readable].sum()), int(bought["articles"].sum())
        )

    def outcome_rows(self) -> Iterable[tuple[object, ...]]:
        """outcome, is_kept, web_hit_count, human_web_hit_count."""
        for mode, name in enumerate(OUTCOMES):
            if name:
                all_hits, people = self._outcomes[:, mode].tolist()
                yield name, "true" if mode < UNATTRIBUTED else "false", all_hits, people

    def path_rows(self) -> Iterable[tuple[object, ...]]:
        """path_label, step_number, path_visitor_count: visitors who saw the steps up to this one in order."""
        for step in range(1, len(PATH) + 1):
            visitors = int((self._recipient_depth >= step).sum()) + int(self._friends_at[step - 1 :].sum())
            yield PATH_LABEL, step, visitors

    def _add_steps(self, kept: npt.NDArray[np.void]) -> None:
        """A visit goes from the first step on without a gap, so its last step tells all. Friends visit once."""
        kind = kept["visitor"] & _KIND_MASK
        depth = kept["page"].astype(np.int64) + 1
        ours = kind == COOKIE
        who = (kept["visitor"][ours] & ~_KIND_MASK).astype(np.int64)
        np.maximum.at(self._recipient_depth, who, depth[ours].astype(np.uint8))
        friends = kind == FORWARD_COOKIE
        visitors, which = np.unique(kept["visitor"][friends], return_inverse=True)
        deepest = np.zeros(len(visitors), dtype=np.int64)
        np.maximum.at(deepest, which, depth[friends])
        self._friends_at += np.bincount(deepest, minlength=len(PATH) + 1)[1:]
