"""The class of a device by its user agent: desktop, phone, tablet, other or unknown.

Belongs here: the words that tell a class, and the list of models for Android, where words do not suffice: tablets that
call themselves mobile, telephones that do not, televisions. Does not: systems and browsers (user_agents).
"""

import re
from functools import cache

from log_ingest.user_agent_lists import DeviceBrands, Pattern, UserAgentList, bounded

_OTHER = re.compile(
    r"smart-?_?tv|hbbtv|googletv|appletv|apple tv|android ?tv|andr0id|\bcrkey|bravia|web0s|webos\.?tv|viera|roku"
    r"|netcast|nettv|ce-html|inettvbrowser|\bopr/.* omi/|\bmb\d+/\d|brightsign|sraf/|aquosbrowser|dunehd"
    r"|tizen.* tv|\btv safari|playstation|xbox|nintendo|apple ?watch|smart ?display|tesla/|qtcarbrowser"
    r"|aft[a-z]{1,6}\d? build|\baft[a-z]{1,4}\b"
)
_TABLET = re.compile(r"ipad|tablet(?! pc)|kindle|silk/|playbook|\bhp-tablet")
_PHONE = re.compile(
    r"iphone|\biph\d|ipod|mobile|phone|\bmobi\b|blackberry|\bbb10\b|opera mini|symbian|series ?[46]0|\bs60\b|midp|j2me"
    r"|kaios|bada/|nokia|lumia|windows ce|up\.browser|netfront|maui|brew|palmsource|webos/[12]"
)
_DESKTOP_SYSTEMS = {
    *("Windows", "Mac OS X", "Linux", "Ubuntu", "Chrome OS", "Fedora", "Debian", "FreeBSD", "OpenBSD", "NetBSD"),
    *("Solaris", "Red Hat", "Mandriva", "Slackware", "SUSE", "Linux Mint", "Kubuntu", "CentOS", "Gentoo", "Arch Linux"),
}
_LISTED = {
    **dict.fromkeys(("smartphone", "phablet", "feature phone"), "phone"),
    **{name: name for name in ("tablet", "desktop")},
}
"""Classes of device-detector in our words; the rest (televisions, consoles, cars, cameras, watches …) are other."""


def device_class(text: str, system: str | None) -> str:
    """The class of the device that sent the text. system: the operating system that the parser found in it."""
    lower = text.lower()
    if _OTHER.search(lower):
        return "other"
    if "android" in lower or " adr " in lower:
        # Android says "Mobile" on telephones only, by Google's advice to makers; some heed it and some do not.
        return _models().class_of(text) or ("phone" if _PHONE.search(lower) else "tablet")
    if _TABLET.search(lower):
        return "tablet"
    if _PHONE.search(lower):
        return "phone"
    if system in _DESKTOP_SYSTEMS:
        return "desktop"
    return "other" if system else "unknown"


class _Models:
    """The brands and models of device-detector. The models of a brand are compiled when first asked for."""

    def __init__(self) -> None:
        self._brands = DeviceBrands()
        # A name is a template: "$" would call for a group.
        self._list = UserAgentList(
            Pattern(bounded(brand["regex"]), str(place)) for place, brand in enumerate(self._brands.brands)
        )
        self._models: dict[int, UserAgentList] = {}

    def class_of(self, text: str) -> str | None:
        found = self._list.find(text)
        if found is None:
            return None
        place = int(found[0])
        kind = self._brands.brands[place].get("device")
        models = self._brands.models(place)
        if any(model.get("device", kind) != kind for model in models):
            if place not in self._models:
                self._models[place] = UserAgentList(
                    Pattern(bounded(model["regex"]), str(number)) for number, model in enumerate(models)
                )
            model = self._models[place].find(text)
            if model is not None:
                kind = models[int(model[0])].get("device", kind)
        return _LISTED.get(kind, "other") if kind else None


@cache
def _models() -> _Models:
    return _Models()
