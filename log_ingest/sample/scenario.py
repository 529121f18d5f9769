"""The story that the sample tells: which deliveries exist, when they leave, which links they carry, what changes.

Belongs here: decisions that are known before any recipient acts. Does not: message rows and events (messages,
behaviour) or how anything is written.

A run of the scenario has a fixed core of twelve deliveries; large samples add weekly letters of a bounded size,
so that no delivery outgrows memory.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from log_ingest.sample import clock

SIGN_BIT = 2**31
MAX_EVENTS_PER_DELIVERY = 300_000

EMAIL_CLICK, OPEN, OPT_OUT, MIRROR_PAGE, OFFER_CLICK = 1, 2, 3, 6, 11
UNSUBSCRIPTION_URL = 2**52 - 1
"""URL id of an unsubscription that only a provider tells of."""
OPEN_URL_ID = 1
HONEYPOT = "honeypot"
"""Category of a link that is hidden from people."""

TRACKING_LOG, NGINX, APACHE, PROVIDER = range(4)
"""Who tells of an act: a redirection server's log, the access log of a collector without one, or only a provider."""

PARAMS = (
    "",
    "p1=FR",
    "p1=EN&p2=gold",
    "utm_source=newsletter&utm_medium=email",
    "utm_source=newsletter&utm_medium=email&utm_campaign=printemps%20",
    "utm_campaign=spring-sale&utm_content=hero",
    "ref=a%2Fb&sku=00417",
    "ap_visitorId=3f1c&ap_category=facebook&ap_deliveryId=2a1",
    "ap_visitorId=77b0&ap_category=twitter&ap_deliveryId=2a1",
    "ap_visitorId=0c44&ap_category=linkedin&ap_deliveryId=2a1",
    "ap_visitorId=91de&ap_category=email&ap_deliveryId=2a1",
    "ap_oid=5012",
    "ap_oid=5013&p1=EN",
)
"""Query strings as logged: at most 64 characters, one of them cut there."""

SHARED_ON = ("facebook", "twitter", "linkedin", "email")
"""Networks that letters are shared on: an open by somebody it was shared with names one and the delivery."""
_MAX_PROVIDER_MESSAGES = 3_000

_PLAIN = (0, 7)
_OFFER = (11, 2)
_NONE = (0, 1)
_SHARE = {"facebook": (7, 1), "twitter": (8, 1), "linkedin": (9, 1), "email": (10, 1)}


@dataclass(frozen=True)
class Link:
    """One tracked URL. params is a slice (first, length) of PARAMS; new_label is the second extract's label."""

    url_id: int
    label: str
    source_url: str
    category: str
    url_type: int
    weight: float
    params: tuple[int, int] = _NONE
    new_label: str = ""

    @property
    def newest_label(self) -> str:
        return self.new_label or self.label


@dataclass(frozen=True)
class DeliveryPlan:
    """One delivery. weight is its share of the events; fixed_messages overrides it for tiny deliveries.

    collector: who logs its hits. provider tells of at most provider_messages of its messages (empty: of none).
    share_params: position of the first of its texts in Scenario.params, one per network of SHARED_ON.
    """

    delivery_id: int
    key: str
    label: str
    campaign: str
    typology: str
    language: str
    sent_ms: int
    weight: float = 1.0
    fixed_messages: int = 0
    links: tuple[Link, ...] = ()
    unknown_url_id: int = 0
    is_proof: bool = False
    is_text_only: bool = False
    is_seeds_only: bool = False
    is_pending: bool = False
    is_declared: bool = True
    has_sent_at: bool = True
    covers_all_statuses: bool = False
    new_label: str = ""
    activity: float = 1.0
    collector: int = TRACKING_LOG
    provider: str = ""
    provider_messages: int = 0
    share_params: int = 0
    index: int = field(default=0)

    @property
    def newest_label(self) -> str:
        return self.new_label or self.label


@dataclass(frozen=True)
class _Draft:
    """A delivery before ids and dates are dealt out."""

    key: str
    label: str
    campaign: str
    typology: str
    language: str
    day: float
    links: str
    weight: float = 1.0
    fixed_messages: int = 0
    flags: tuple[str, ...] = ()
    new_label: str = ""
    activity: float = 1.0


_CORE = (
    _Draft("DM101", "Lettre d'information d'avril", "Printemps 2024", "Newsletter", "fr", 0.30, "letter_fr",
           1.2, flags=("covers_all_statuses",)),
    _Draft("DM102", "Spring sale – 20% off", "Spring 2024", "Promotion", "en", 3.25, "sale_en", 1.5,
           new_label="Spring sale: 20 % off"),
    _Draft("DM103", "PROOF 1 – Nouvelle collection", "Printemps 2024", "Promotion", "fr", 5.40, "launch_fr",
           fixed_messages=6, flags=("is_proof",)),
    _Draft("DM104", "Nouvelle collection", "Printemps 2024", "Promotion", "fr", 6.30, "launch_fr"),
    _Draft("DM105", "Service notice: new terms", "", "Service", "en", 9.45, "notice_en", 0.25,
           flags=("is_text_only",)),
    _Draft("DM106", "Seed list check, May letter", "Spring 2024", "Newsletter", "en", 12.10, "letter_en",
           fixed_messages=8, flags=("is_seeds_only",)),
    _Draft("DM107", "Newsletter May", "Spring 2024", "Newsletter", "en", 13.30, "letter_en", 1.2, activity=1.2),
    _Draft("DM108", "Vente flash, 48 h", "Printemps 2024", "Promotion", "fr", 17.50, "sale_fr", 0.8),
    _Draft("DM109", "Votre carte de fidélité", "Fidélité", "Loyalty", "fr", 21.35, "launch_fr", 0.7, activity=1.5),
    _Draft("DM110", "Welcome to the club", "", "Transactional", "en", 24.60, "sale_en", 0.5,
           flags=("no_sent_at",)),
    _Draft("DM111", "Newsletter June; \"early summer\", part 1", "Summer 2024", "Newsletter", "en", 29.30,
           "letter_en"),
    _Draft("DM112", "Lettre d'information de juillet", "Été 2024", "Newsletter", "fr", 33.00, "letter_fr",
           fixed_messages=40, flags=("is_pending",)),
)  # fmt: skip

_COLLECTORS = {"DM104": NGINX, "DM108": APACHE}
_PROVIDERS = {"DM102": "sendgrid", "DM109": "mailgun", "DM110": "ses", "DM111": "postmark"}

_SITE = "https://www.shop.example.com"
_LinkDraft = tuple[str, str, str, int, float, tuple[int, int], str]


def _letter(words: dict[str, str]) -> tuple[_LinkDraft, ...]:
    """A letter: the same label at two positions, four sharing links, and a relabelled one."""
    return (
        (words["mirror"], f"{_SITE}/mirror", "", MIRROR_PAGE, 2, _NONE, ""),
        (words["read"], f"{_SITE}/stories/garden", "content", EMAIL_CLICK, 20, _PLAIN, ""),
        (words["shop"], f"{_SITE}/shop?from=letter&pos=top", "shop", EMAIL_CLICK, 14, _PLAIN, ""),
        (words["recipe"], f"{_SITE}/stories/recipe", "content", EMAIL_CLICK, 9, _PLAIN, words["new_recipe"]),
        (words["read"], f"{_SITE}/stories/garden#more", "content", EMAIL_CLICK, 8, _PLAIN, ""),
        ("Facebook", f"{_SITE}/share/facebook", "facebook", EMAIL_CLICK, 2, _SHARE["facebook"], ""),
        ("Twitter", f"{_SITE}/share/twitter", "twitter", EMAIL_CLICK, 1, _SHARE["twitter"], ""),
        ("LinkedIn", f"{_SITE}/share/linkedin", "linkedin", EMAIL_CLICK, 1, _SHARE["linkedin"], ""),
        (words["friend"], f"{_SITE}/share/email", "email", EMAIL_CLICK, 1, _SHARE["email"], ""),
        (words["out"], f"{_SITE}/unsubscribe", "", OPT_OUT, 3, _NONE, ""),
        # No person sees it: whoever follows it is a machine.
        (words["trap"], f"{_SITE}/trap", HONEYPOT, EMAIL_CLICK, 0, _NONE, ""),
    )


def _sale(words: dict[str, str]) -> tuple[_LinkDraft, ...]:
    """A promotion: offer links (type 11) beside ordinary ones."""
    return (
        (words["mirror"], f"{_SITE}/mirror", "", MIRROR_PAGE, 2, _NONE, ""),
        (words["shop"], f"{_SITE}/sale", "shop", EMAIL_CLICK, 25, _PLAIN, words["new_shop"]),
        (words["women"], f"{_SITE}/sale/women", "shop", EMAIL_CLICK, 12, _PLAIN, ""),
        (words["men"], f"{_SITE}/sale/men", "shop", EMAIL_CLICK, 9, _PLAIN, ""),
        (words["offer"], f"{_SITE}/offers/5012", "offers", OFFER_CLICK, 8, _OFFER, ""),
        (words["shop"], f"{_SITE}/sale#footer", "shop", EMAIL_CLICK, 5, _PLAIN, words["new_shop"]),
        (words["out"], f"{_SITE}/unsubscribe", "", OPT_OUT, 4, _NONE, ""),
    )


_FRENCH = {
    "mirror": "Version en ligne", "read": "Lire la suite", "shop": "Voir la boutique", "recipe": "La recette",
    "new_recipe": "La recette du mois", "friend": "Envoyer à un ami", "out": "Se désinscrire",
    "new_shop": "J'en profite", "women": "Femme", "men": "Homme", "offer": "Mon offre",
    "trap": "Ne pas suivre",
}  # fmt: skip
_ENGLISH = {
    "mirror": "View online", "read": "Read more", "shop": "Shop now", "recipe": "The recipe",
    "new_recipe": "Recipe of the month", "friend": "Send to a friend", "out": "Unsubscribe",
    "new_shop": "", "women": "Women", "men": "Men", "offer": "My offer", "trap": "Do not follow",
}  # fmt: skip

_LINK_SETS: dict[str, tuple[_LinkDraft, ...]] = {
    "letter_fr": _letter(_FRENCH),
    "letter_en": _letter(_ENGLISH),
    "sale_fr": _sale(_FRENCH),
    "sale_en": _sale(_ENGLISH),
    "launch_fr": (
        ("Version en ligne", f"{_SITE}/mirror", "", MIRROR_PAGE, 2, _NONE, ""),
        ("Découvrir", f"{_SITE}/collection", "shop", EMAIL_CLICK, 20, _PLAIN, ""),
        ("Le carnet d'inspiration", f"{_SITE}/carnet", "content", EMAIL_CLICK, 8, _PLAIN, ""),
        ("Trouver un magasin", f"{_SITE}/magasins?près=oui", "stores", EMAIL_CLICK, 5, _PLAIN, ""),
        ("Se désinscrire", f"{_SITE}/unsubscribe", "", OPT_OUT, 3, _NONE, ""),
    ),
    "notice_en": (
        ("New terms", f"{_SITE}/terms", "service", EMAIL_CLICK, 12, _PLAIN, ""),
        ("Help centre", f"{_SITE}/help", "service", EMAIL_CLICK, 4, _PLAIN, ""),
        ("Unsubscribe", f"{_SITE}/unsubscribe", "", OPT_OUT, 2, _NONE, ""),
    ),
}


@dataclass(frozen=True)
class Scenario:
    """All deliveries in the order they leave, the undeclared one's id, and the days of the two extracts.

    params: PARAMS, and behind them the texts of opens of each delivery by people it was shared with.
    """

    deliveries: tuple[DeliveryPlan, ...]
    undeclared_delivery_id: int
    full_extract_ms: int
    second_extract_ms: int
    params: tuple[str, ...]


def plan_scenario(events: int, rng: np.random.Generator) -> Scenario:
    """Deals ids and dates. Half of the delivery ids, and some URL ids, lie above 2**31."""
    drafts = list(_CORE)
    core_events = MAX_EVENTS_PER_DELIVERY * 8
    extra_count = max(0, -(-(events - core_events) // MAX_EVENTS_PER_DELIVERY))
    names = ("letter_en", "sale_fr", "launch_fr", "sale_en", "letter_fr")
    for number in range(extra_count):
        links = names[number % len(names)]
        language = links[-2:]
        label = f"Lettre no {number + 1}" if language == "fr" else f"Letter {number + 1}"
        drafts.append(_Draft(f"DM{201 + number}", label, "Letters", "Newsletter", language, 34 + number / 2, links))
    low = rng.integers(2**20, SIGN_BIT, len(drafts) + 1)
    high = rng.integers(SIGN_BIT, 2**32, len(drafts) + 1)
    # The low bits make ids unique; the high ones keep them looking like a platform's.
    ids = [(int(high[n] if n % 2 else low[n]) & ~0xFFF) | ((n * 7 + 5) & 0xFFF) for n in range(len(drafts) + 1)]
    # A block of 16 per delivery; the first blocks lie below 2**31 and the later ones above it.
    url_base = SIGN_BIT - 16 * 4
    deliveries = []
    for number, draft in enumerate(sorted(drafts, key=lambda draft: draft.day)):
        first_url = url_base + number * 16
        links_of = tuple(
            Link(first_url + position, label, source_url, category, url_type, weight, params, new_label)
            for position, (label, source_url, category, url_type, weight, params, new_label) in enumerate(
                _LINK_SETS[draft.links]
            )
        )
        # Only two deliveries are relabelled: the others keep the first extract's labels.
        if draft.key not in ("DM101", "DM108"):
            links_of = tuple(replace(link, new_label="") for link in links_of)
        flags = draft.flags
        deliveries.append(
            DeliveryPlan(
                delivery_id=ids[number],
                key=draft.key,
                label=draft.label,
                campaign=draft.campaign,
                typology=draft.typology,
                language=draft.language,
                sent_ms=clock.START_MS + round(draft.day * 24 * 60) * 60_000,
                weight=0.0 if draft.fixed_messages else draft.weight,
                fixed_messages=draft.fixed_messages,
                links=links_of,
                unknown_url_id=first_url + 15,
                is_proof="is_proof" in flags,
                is_text_only="is_text_only" in flags,
                is_seeds_only="is_seeds_only" in flags,
                is_pending="is_pending" in flags,
                has_sent_at="no_sent_at" not in flags,
                covers_all_statuses="covers_all_statuses" in flags,
                new_label=draft.new_label,
                activity=draft.activity,
                collector=_COLLECTORS.get(draft.key, TRACKING_LOG),
                provider=_PROVIDERS.get(draft.key, ""),
                provider_messages=min(_MAX_PROVIDER_MESSAGES, max(60, events // 60)),
                share_params=len(PARAMS) + number * len(SHARED_ON),
                index=number,
            )
        )
    last_day = max(draft.day for draft in drafts)
    full_extract = clock.START_MS + (int(last_day) + 10) * clock.DAY_MS
    shared = (
        f"ap_visitorId={number * 7919 % 65536:04x}&ap_category={network}&ap_deliveryId={plan.delivery_id:x}"
        for number, plan in enumerate(deliveries)
        for network in SHARED_ON
    )
    return Scenario(
        tuple(deliveries), ids[-1], full_extract, full_extract + 7 * clock.DAY_MS, params=(*PARAMS, *shared)
    )
