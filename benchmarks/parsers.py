"""Other parsers of user agents, on the same texts: what each says, and how long it takes.

Belongs here: the peers' scripts, run in the environment of the labelled sets. Does not: comparing (verdicts).

A script reads JSON texts from standard input and writes one JSON object: seconds of CPU (start-up apart), and per text
[device class, system, browser] in our words for the class and in its own for the others.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FRAME = """
import json, sys, time
texts = json.load(sys.stdin)
started = time.process_time()
{setup}
say({probe!r})
loaded = time.process_time()
said = [say(text) for text in texts]
print(json.dumps({{"load": loaded - started, "seconds": time.process_time() - loaded, "said": said}}))
"""
_PROBE = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"

SCRIPTS = {
    "device-detector": """
from device_detector import DeviceDetector
CLASSES = {"smartphone": "phone", "phablet": "phone", "feature phone": "phone"}
CLASSES |= {"desktop": "desktop", "tablet": "tablet"}
def say(text):
    found = DeviceDetector(text).parse()
    kind = found.device_type()
    return [CLASSES.get(kind, "other" if kind else "unknown"), found.os_name() or None, found.client_name() or None]
""",
    "user-agents": """
import user_agents
def say(text):
    found = user_agents.parse(text)
    kind = "tablet" if found.is_tablet else "phone" if found.is_mobile else "desktop" if found.is_pc else "unknown"
    return [kind, found.os.family, found.browser.family]
""",
    "woothee": """
import woothee
CLASSES = {"pc": "desktop", "smartphone": "phone", "mobilephone": "phone", "appliance": "other"}
def say(text):
    found = woothee.parse(text)
    return [CLASSES.get(found["category"], "unknown"), found["os"], found["name"]]
""",
    "httpagentparser": """
import httpagentparser
def say(text):
    found = httpagentparser.detect(text)
    return ["unknown", (found.get("platform") or {}).get("name"), (found.get("browser") or {}).get("name")]
""",
}
"""By name of the package. httpagentparser tells no class."""


@dataclass(frozen=True)
class Said:
    """What a parser said: load and seconds of CPU; per text the class, the system, the browser."""

    load: float
    seconds: float
    said: list[tuple[str | None, str | None, str | None]]


def ask(python: Path, parser: str, texts: list[str]) -> Said | None:
    """What the parser says of the texts; None where its package could not be had."""
    script = _FRAME.format(setup=SCRIPTS[parser], probe=_PROBE)
    done = subprocess.run([str(python), "-c", script], input=json.dumps(texts), capture_output=True, text=True)
    if done.returncode:
        return None
    answer = json.loads(done.stdout)
    return Said(answer["load"], answer["seconds"], [tuple(said) for said in answer["said"]])
