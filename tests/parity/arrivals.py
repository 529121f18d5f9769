"""The same files for both engines, in steps: what comes first, and what a warehouse has to get right afterwards."""

import csv
import shutil
from pathlib import Path

from log_ingest.sample import write_sample
from tests.conftest import ROOT

TEXTS = (
    *("", " ", "a", "1.5", "1e3", "0x1f", "1_000", "+7", "-7", " 12 ", "9223372036854775807", "9223372036854775808"),
    *(
        "ff",
        "FF",
        "fffffffffffffffff",
        "ffffffffffffffff",
        "7fffffffffffffff",
        "it's",
        "back\\slash",
        'quote"d',
        "100%",
    ),
    *(
        "%zz+a",
        "a%2Bb+c",
        "%E4%F6",
        "%C3%A4",
        "%",
        "%4",
        "%EF%BF%BD",
        "\ufffd",
        "%00%0a%7f",
        "a=1&b=2&A=3&c=&=x&%zz=%ff",
    ),
    *(
        "rcpid=email=a%40b.example",
        "RCPID=@id=5&amount=3,5",
        "\u00a0nbsp\u00a0",
        "\u2003em\u2003",
        "\u3000wide",
        "\u200bzero",
    ),
    *(
        "\u0130stanbul",
        "\u03a3\u0391\u03a3",
        "\u1e9e",
        "\u212a",
        "STRA\u00dfE",
        "\u01c5",
        "\U00010400",
        "A\u0308",
        "\ufb01",
    ),
    *(
        "<%= a %> and <%= b %>",
        "$(p1)$1\\1",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "2001:db8::",
        "1.2.3.999",
        "::",
    ),
    *("$(p1)", "a/b//", "HTTP://X.example/A/?q#f", "';drop table x;--", "{{ 1 }}", "\U0001f600", "\u202eabc", "%2525"),
)
PROBE_TYPES = """version: 2
seeds:
  - name: probe_texts
    config: {column_types: {number: bigint, line: varchar}}
"""
PROBE = """{{ config(contract={'enforced': false}) }}

with texts as (
    -- Seeds lose blanks at their ends.
    select
        number,
        substr(line, 2, length(line) - 2) as x
    from {{ ref('probe_texts') }}
)

select
    number,
    {{ trimmed('x') }} as trimmed,
    {{ lowered('x') }} as lowered,
    {{ text_to_bigint('x') }} as text_to_bigint,
    {{ hex_to_bigint('x') }} as hex_to_bigint,
    {{ url_decoded('x') }} as url_decoded,
    {{ query_parameter('x', 'rcpid') }} as rcpid,
    {{ query_parameter('x', 'a') }} as a,
    {{ other_parameters('x', ['rcpid', 'amount']) }} as other_parameters,
    {{ without_parameter_value('x', 'a') }} as without_a,
    {{ url_template('x') }} as url_template,
    {{ filled_url("'https://x.example/$(p1)'", "'p1=' || x") }} as filled_url,
    {{ link_base('x') }} as link_base,
    {{ ip_address_key('x') }} as ip_address_key,
    {{ mail_domain_of("x || '@' || x") }} as mail_domain,
    {{ integer_divide('number', '7') }} as sevenths,
    {{ ratio('number', '7') }} as ratio,
    {{ five_minute_bucket("timestamp '1969-12-31 23:58:00'") }} as bucket_before,
    {{ half_hour_bucket("timestamp '2024-02-29 23:59:59.999'") }} as bucket_at,
    {{ start_of('week', "timestamp '2024-03-03 12:00:00'") }} as week_at
from texts
"""


class Arrivals:
    """A sample whose files arrive in steps in one landing folder, which both engines' landed rows come from."""

    def __init__(self, base: Path, *, events: int) -> None:
        self.sample = base / "sample"
        self.landing = base / "landing"
        self.project = base / "dbt_project"
        write_sample(self.sample, events=events, seed=7)
        shutil.copytree(ROOT / "dbt_project", self.project, ignore=shutil.ignore_patterns("target", "logs"))
        self._add_probe()
        self.landing.mkdir()

    def _add_probe(self) -> None:
        """A mart that shows what the dispatched macros make of texts that nobody would write."""
        with (self.project / "seeds" / "probe_texts.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows([["number", "line"], *([at, f"<{text}>"] for at, text in enumerate(TEXTS))])
        (self.project / "seeds" / "probe_texts.yml").write_text(PROBE_TYPES, encoding="utf-8")
        (self.project / "models" / "marts" / "meta" / "probe.sql").write_text(PROBE, encoding="utf-8")

    def _bring(self, *patterns: str, without: tuple[str, ...] = ()) -> int:
        kept_back = {path for pattern in without for path in self.sample.glob(pattern)}
        brought = 0
        for pattern in patterns:
            for path in sorted(set(self.sample.glob(pattern)) - kept_back):
                target = self.landing / path.relative_to(self.sample)
                if path.is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)
                    brought += 1
        assert brought
        return brought

    def _late(self) -> tuple[str, ...]:
        """The first file of each source of lines: the oldest events, which come last."""
        found = []
        for folder in (
            *self.sample.glob("tracking_logs/*"),
            *self.sample.glob("access_logs/*"),
            *self.sample.glob("esp_events/*"),
        ):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            found.append(str(files[0].relative_to(self.sample)))
        return tuple(found)

    def initial(self) -> None:
        """Full extracts, and of each source of lines the file in the middle."""
        self._bring("reference/*/*full*")
        for pattern in ("tracking_logs/*", "access_logs/*", "esp_events/*"):
            for folder in self.sample.glob(pattern):
                files = sorted(path for path in folder.rglob("*") if path.is_file())
                self._bring(str(files[len(files) // 2].relative_to(self.sample)))

    def incremental(self) -> None:
        """What is newer."""
        self._bring("tracking_logs/**/*", "access_logs/**/*", "esp_events/**/*", without=self._late())

    def late(self) -> None:
        """The oldest lines of all."""
        self._bring(*self._late())

    def references(self) -> None:
        """Newer extracts: messages change their status, links their type, deliveries their content; some are new."""
        self._bring("reference/*/*incremental*")

    def rule(self) -> None:
        """An analyst takes other thresholds and one more crawler."""
        path = self.project / "seeds" / "machine_rules.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            row["ruleset_version"] = str(int(row["ruleset_version"]) + 1)
            if row["kind"] == "burst_events":
                row["window_seconds"] = "600"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with (path.with_name("known_bots.csv")).open("a", encoding="utf-8") as stream:
            stream.write("iphone,false,\"A test's; it isn't one\"\n")
