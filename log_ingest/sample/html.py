"""The content of a delivery: believable HTML and text with its tracked links in order.

Belongs here: mark-up. Does not: which links a delivery has (scenario). Each tracked link appears once, in the order
of the plan, with its label (`_label`) and type (`_type`) as the marketing platform writes them in its editor.
"""

from html import escape

from log_ingest.sample.scenario import HONEYPOT, MIRROR_PAGE, OFFER_CLICK, OPT_OUT, DeliveryPlan, Link

_TYPES = {MIRROR_PAGE: "mirrorPage", OPT_OUT: "optout", OFFER_CLICK: "offer"}
_WORDS = {
    "fr": ("Bonjour", "Voici ce que nous avons préparé pour vous.", "À ne pas manquer", "Nous contacter"),
    "en": ("Hello", "Here is what we have prepared for you.", "Not to be missed", "Contact us"),
}


def html_content(plan: DeliveryPlan) -> str:
    """The HTML of a delivery; empty for one that is text only."""
    if plan.is_text_only:
        return ""
    hello, intro, heading, contact = _WORDS[plan.language]
    top = [_anchor(link) for link in plan.links if link.url_type == MIRROR_PAGE]
    body = [_block(link) for link in plan.links if link.url_type not in (MIRROR_PAGE, OPT_OUT)]
    foot = [_anchor(link) for link in plan.links if link.url_type == OPT_OUT]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="{plan.language}">',
            f'<head><meta charset="utf-8"><title>{escape(plan.label)}</title></head>',
            '<body style="margin:0;background:#f4f4f4;font-family:Arial,sans-serif">',
            f'<p style="font-size:11px;text-align:center">{"".join(top)}</p>',
            '<table role="presentation" width="600" align="center" cellpadding="16" style="background:#fff">',
            f"<tr><td><h1>{escape(plan.label)}</h1>",
            f"<p>{hello} <%= recipient.firstName %>,</p><p>{intro}</p>",
            f"<h2>{heading}</h2></td></tr>",
            *body,
            '<tr><td style="font-size:11px;color:#666">',
            # Not tracked: a mail address and an anchor inside the page.
            f'<a href="mailto:hello@shop.example.com">{contact}</a> · <a href="#top">↑</a> · {"".join(foot)}',
            "</td></tr></table>",
            # The open: the platform adds it while sending, with URL id 1.
            '<img src="https://t.shop.example.com/r/?id=h0,0,1" width="1" height="1" alt="">',
            "</body></html>",
        ]
    )


def link_positions(plan: DeliveryPlan) -> dict[int, int]:
    """By URL id, which of the HTML's links it is, from 1. Those that are not tracked count, too."""
    if plan.is_text_only:
        return {}
    ends = [[link for link in plan.links if link.url_type == kind] for kind in (MIRROR_PAGE, OPT_OUT)]
    body = [link for link in plan.links if link.url_type not in (MIRROR_PAGE, OPT_OUT)]
    before = [*ends[0], *body]
    positions = {link.url_id: position for position, link in enumerate(before, start=1)}
    return positions | {link.url_id: len(before) + 2 + n for n, link in enumerate(ends[1], start=1)}


def text_content(plan: DeliveryPlan) -> str:
    """The text part of a delivery."""
    hello, intro, _, _ = _WORDS[plan.language]
    shown = [link for link in plan.links if link.url_type != MIRROR_PAGE and link.category != HONEYPOT]
    links = [f"{link.label}: {link.source_url}" for link in shown]
    return "\n".join([plan.label, "", f"{hello},", intro, "", *links])


def _block(link: Link) -> str:
    if link.category == HONEYPOT:
        return f'<tr style="display:none"><td>{_anchor(link)}</td></tr>'
    return f"<tr><td><h3>{escape(link.category.capitalize())}</h3><p>{_anchor(link)}</p></td></tr>"


def _anchor(link: Link) -> str:
    kind = _TYPES.get(link.url_type, "click")
    return (
        f'<a href="{escape(link.source_url)}" _type="{kind}" _label="{escape(link.label)}" '
        f'_category="{escape(link.category)}">{escape(link.label)}</a>'
    )
