"""Where things are and how the pipeline is set up: the MTW_ environment variables, resolved once.

Belongs here: reading settings, their defaults, the paths that follow from them.
Does not: creating anything on disk, or knowing what a setting means to a model.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from log_ingest.errors import IngestError
from log_ingest.ledger_database import LedgerPlace, PostgresUrl
from log_ingest.postgres_url import check_url
from log_ingest.storage import Location, ObjectUrl, parse_location
from log_ingest.zones import is_zone
from orchestration.spark_session import session_settings

PACKAGES_DIR = Path(__file__).resolve().parent.parent
"""What holds this package and its siblings: the checkout, or the site-packages of an installation."""

_SHIPPED = Path(__file__).resolve().with_name("shipped")

IS_CHECKOUT = not _SHIPPED.is_dir()
"""Whether this is a checkout. A wheel has the files that lie beside the packages in a folder of its own instead."""

PROJECT_DIR = PACKAGES_DIR if IS_CHECKOUT else _SHIPPED
"""Holds workspace.yaml and dbt_project. Nothing is written there but by people, and in an installation not at all."""

ENGINES = ("duckdb", "spark")
"""dbt targets that MTW_ENGINE may name."""

SPARK_FILE_FORMATS = ("parquet", "iceberg", "delta")
"""What MTW_SPARK_FILE_FORMAT may be."""

WEB_TRACKING_MODES = ("session", "permanent", "anonymous")
"""What MTW_WEB_TRACKING_MODE may be; the models say what each keeps."""

LANGUAGES = ("en", "fr")
"""What MTW_LANGUAGE may be: the language in which report pages begin."""

LOGINS = ("oidc", "proxy")
"""What MTW_LOGIN may be: the report pages ask who somebody is, or a proxy in front of them has asked."""

DAGSTER_FILES = "files"
"""What MTW_DAGSTER_STORAGE_URL may be instead of a URL, so that MTW_LEDGER_URL does not serve for Dagster, too."""

MEMORY_LIMIT = "2500MB"
"""What MTW_MEMORY_LIMIT is where nobody sets it; profiles.yml says the same for dbt started by hand."""

KEPT_RUNS = 200
"""What MTW_KEPT_RUNS is where nobody sets it: about 2 GB of Dagster's records."""

PUBLISHED_IDENTIFIERS = ("masked", "group", "clear")
"""Where published identifiers of people are: in a file of the owner's, in one of the group's, wherever they belong."""

KEPT_VERSIONS = 3
"""What MTW_KEPT_VERSIONS is: the current version, and two for readers and people who want to look back."""

_MEMORY = re.compile(r"[1-9][0-9]*(?:\.[0-9]+)? ?[KMGT]i?B", re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s@,;<>\"']+@[A-Za-z0-9.-]*[A-Za-z0-9]")
_SPARK_URL = re.compile(r"local\[(?:[1-9][0-9]*|\*)\]|(?:spark|sc)://[^\s'\"]+")
_PASSWORD = re.compile(r"(?<=://)([^/@\s]*)@|((?:password|passwd|pwd|sslpassword)=)[^&\s]+", re.IGNORECASE)


class SettingsError(Exception):
    """A setting cannot be used. The message is one line that names the variable and says what to do."""


def without_secrets(text: str) -> str:
    """The text with user names and passwords of URLs (and password=… parameters) replaced by ***."""
    return _PASSWORD.sub(lambda match: f"{match[2]}***" if match[2] else "***@", text)


@dataclass(frozen=True)
class Settings:
    """Every setting, paths absolute; landing and landed location may be s3:// URLs.

    reference_url, publish_url, ledger_url and dagster_storage_url may hold a password: repr leaves them out.
    """

    landing_dir: Location
    warehouse_dir: Path
    landed_override: Location | None = None
    engine: str = "duckdb"
    spark_url: str = field(default="local[2]", repr=False)
    """Of the Spark that builds where engine is spark: local[n], spark://host:port, sc://host:port (Spark Connect)."""
    spark_dir: Path | None = None
    """Storage that Spark's driver and executors and this machine see under one name; in the warehouse where None."""
    spark_file_format: str = "parquet"
    spark_conf: str = field(default="{}", repr=False)
    """JSON object: further settings of Spark's session."""
    reference_url: str | None = field(default=None, repr=False)
    publish_url: str | None = field(default=None, repr=False)
    ledger_url: PostgresUrl | None = None
    """PostgreSQL database of the ledger; a file in the warehouse where None."""
    ingest_workers: int = 1
    """Processes of a run that take in lines; more than one need ledger_url."""
    dagster_storage_url: str | None = field(default=None, repr=False)
    """PostgreSQL database of Dagster's runs and events, postgresql+psycopg2://…; files in DAGSTER_HOME where None."""
    publish_role: str = "mtw_reader"
    """The role of the PostgreSQL copy that may read it."""
    reports_url: str = "http://127.0.0.1:8501"
    """Where the report pages are for those who follow a link in the Dagster UI."""
    docs_url: str | None = None
    """Where the files of docs/ can be read in a browser; paths in the checkout where None."""
    time_zone: str = "UTC"
    web_tracking_mode: str = "permanent"
    server_time_zones: str = ""
    accept_new_formats: bool = False
    max_quarantine_rate: float = 0.01
    max_missing_rate: float = 0.01
    retry_seconds: tuple[float, ...] = (5.0, 20.0, 60.0)
    """How long is waited before each further attempt after a fault that may pass (orchestration/transient.py)."""
    anomaly_limits: Path | None = None
    """A file of limits of one's own for the anomaly checks; the shipped one where None."""
    alert_webhook_url: str | None = field(default=None, repr=False)
    """Where alerts are POSTed; a secret, as who knows it can write there."""
    alert_email: tuple[str, ...] = ()
    alert_sender: str = ""
    """The address that alerts by e-mail come from; "" for one made of this machine's name."""
    smtp_url: str = field(default="smtp://localhost", repr=False)
    alert_stale_hours: float = 26.0
    """Published data older than this is told of; 0: never."""
    keep_tracking_days: int | None = None
    """How long tracking events stay after their delivery's validity has ended; for ever where None."""
    keep_delivery_logs_days: int | None = None
    """Likewise, messages and what became of them."""
    keep_statistics_days: int | None = None
    """Likewise, what reports say of a delivery."""
    memory_limit: str = MEMORY_LIMIT
    """What DuckDB may hold in memory while it builds and publishes; more than that goes to disk for the moment."""
    kept_runs: int = KEPT_RUNS
    """Runs whose events and logs Dagster keeps; 0: all."""
    kept_versions: int = KEPT_VERSIONS
    """Published versions that stay, the current one among them."""
    published_mode: int | None = None
    """Mode of the published files; None: user and group may read them, as far as the umask lets."""
    published_identifiers: str = "masked"
    """One of PUBLISHED_IDENTIFIERS (orchestration/identifiers.py)."""
    language: str = "en"
    """In which the report pages begin."""
    show_personal_data: bool = False
    """Whether report pages show addresses, names and links' parameters; masked otherwise."""
    login: str = ""
    """One of LOGINS, or "": nobody logs in, and pages are served on this machine alone."""
    login_secrets: Path | None = None
    """TOML file with the [auth] of an OpenID Connect provider, for login oidc."""
    reference_mapping: Path | None = None
    """A mapping file of one's own; the shipped one where None."""
    reference_full: bool = False
    """This run reads whole tables of the platform. Not an environment variable: mtw run --full-reference."""
    dbt_project_dir: Path = PROJECT_DIR / "dbt_project"
    """The models and rules: the shipped ones, or a copy with changes of one's own."""
    dagster_home_override: Path | None = None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, dotenv: Path | None = None) -> "Settings":
        """Read the environment and .env (the working directory's, else the checkout's).

        The environment wins over .env. A relative path is relative to the working directory when it comes from
        the environment, to the .env file's folder when it comes from there, and to the checkout for defaults: a
        scheduler that starts elsewhere finds the same warehouse. An installation has no checkout: there the working
        directory stands for it.

        Raises SettingsError for a value that cannot be used.
        """
        environ = os.environ if environ is None else environ
        home = PACKAGES_DIR if IS_CHECKOUT else Path.cwd()
        dotenv = dotenv or next(
            (path for path in (Path.cwd() / ".env", home / ".env") if path.is_file()), home / ".env"
        )
        try:
            from_file = dotenv_values(dotenv) if dotenv.is_file() else {}
        except UnicodeDecodeError as error:
            raise SettingsError(f"{dotenv} is not UTF-8 (byte {error.start}); save it as UTF-8") from error

        def text(name: str, default: str | None = None) -> str | None:
            return environ.get(name) or from_file.get(name) or default

        def location(name: str) -> Location | None:
            found = [(environ.get(name), Path.cwd()), (from_file.get(name), dotenv.parent.absolute())]
            value, base = next(((value, base) for value, base in found if value), (None, None))
            if not value or base is None:
                return None
            try:
                return parse_location(value, base)
            except ValueError as error:
                raise SettingsError(f"{name} {error}") from error

        def path(name: str, default: Path) -> Path:
            found = location(name)
            if isinstance(found, ObjectUrl):
                raise SettingsError(f"{name} has to be a local folder; landing and landed files may be in a bucket")
            return found or default

        engine = text("MTW_ENGINE", "duckdb") or ""
        if engine not in ENGINES:
            raise SettingsError(f"MTW_ENGINE is {engine!r}; set it to one of: {', '.join(ENGINES)}")
        time_zone = text("MTW_TIME_ZONE", "UTC") or ""
        if not is_zone(time_zone):
            raise SettingsError(
                f"MTW_TIME_ZONE is {time_zone!r}, which is no known zone; set it to a name such as Europe/Paris"
            )
        spark_url = text("MTW_SPARK_URL", "local[2]") or ""
        if not _SPARK_URL.fullmatch(spark_url):
            raise SettingsError(
                f"MTW_SPARK_URL is {without_secrets(spark_url.partition(';')[0])!r}; write local[4], spark://host:7077"
                " or sc://host:15002"
            )
        spark_file_format = text("MTW_SPARK_FILE_FORMAT", cls.spark_file_format) or ""
        if spark_file_format not in SPARK_FILE_FORMATS:
            raise SettingsError(
                f"MTW_SPARK_FILE_FORMAT is {spark_file_format!r}; set it to one of: {', '.join(SPARK_FILE_FORMATS)}"
            )
        spark_conf = text("MTW_SPARK_CONF", "{}") or ""
        try:
            is_object = isinstance(json.loads(spark_conf), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise SettingsError("""MTW_SPARK_CONF is no JSON object; write {"spark.executor.memory": "8g"}""")
        web_tracking_mode = text("MTW_WEB_TRACKING_MODE", "permanent") or ""
        if web_tracking_mode not in WEB_TRACKING_MODES:
            raise SettingsError(
                f"MTW_WEB_TRACKING_MODE is {web_tracking_mode!r}; set it to one of: {', '.join(WEB_TRACKING_MODES)}"
            )
        memory_limit = text("MTW_MEMORY_LIMIT", MEMORY_LIMIT) or ""
        if not _MEMORY.fullmatch(memory_limit):
            raise SettingsError(f"MTW_MEMORY_LIMIT is {memory_limit!r}; write it like 3GB or 800MB")
        language = text("MTW_LANGUAGE", "en") or ""
        if language not in LANGUAGES:
            raise SettingsError(f"MTW_LANGUAGE is {language!r}; set it to one of: {', '.join(LANGUAGES)}")
        login = text("MTW_LOGIN") or ""
        if login and login not in LOGINS:
            raise SettingsError(f"MTW_LOGIN is {login!r}; set it to one of: {', '.join(LOGINS)}, or leave it out")
        ledger_url = _ledger(text("MTW_LEDGER_URL"))
        ingest_workers = _count("MTW_INGEST_WORKERS", text("MTW_INGEST_WORKERS", "1"), least=1)
        if ingest_workers > 1 and ledger_url is None:
            raise SettingsError(
                f"MTW_INGEST_WORKERS is {ingest_workers}, but the ledger is a file, which one process writes to; set"
                " MTW_LEDGER_URL to a PostgreSQL database, or leave MTW_INGEST_WORKERS out"
            )
        settings = cls(
            landing_dir=location("MTW_LANDING_DIR") or home / "data" / "landing",
            warehouse_dir=path("MTW_WAREHOUSE_DIR", home / "data" / "warehouse"),
            landed_override=location("MTW_LANDED_DIR"),
            engine=engine,
            spark_url=spark_url,
            spark_dir=path("MTW_SPARK_WAREHOUSE_DIR", Path()) if text("MTW_SPARK_WAREHOUSE_DIR") else None,
            spark_file_format=spark_file_format,
            spark_conf=spark_conf,
            reference_url=text("MTW_REFERENCE_URL"),
            publish_url=_postgres("MTW_PUBLISH_URL", text("MTW_PUBLISH_URL")),
            publish_role=text("MTW_PUBLISH_ROLE", cls.publish_role) or "",
            ledger_url=ledger_url,
            ingest_workers=ingest_workers,
            dagster_storage_url=_dagster_storage(text("MTW_DAGSTER_STORAGE_URL"), ledger_url),
            reports_url=_web_address("MTW_REPORTS_URL", text("MTW_REPORTS_URL", cls.reports_url) or ""),
            docs_url=_web_address("MTW_DOCS_URL", docs_url) if (docs_url := text("MTW_DOCS_URL")) else None,
            time_zone=time_zone,
            web_tracking_mode=web_tracking_mode,
            server_time_zones=text("MTW_SERVER_TIME_ZONES") or "",
            max_quarantine_rate=_share("MTW_MAX_QUARANTINE_RATE", text("MTW_MAX_QUARANTINE_RATE", "0.01")),
            max_missing_rate=_share("MTW_MAX_MISSING_RATE", text("MTW_MAX_MISSING_RATE", "0.01")),
            retry_seconds=_seconds("MTW_RETRY_SECONDS", text("MTW_RETRY_SECONDS", "5,20,60") or ""),
            anomaly_limits=path("MTW_ANOMALY_LIMITS", Path()) if text("MTW_ANOMALY_LIMITS") else None,
            alert_webhook_url=_secret_url("MTW_ALERT_WEBHOOK_URL", text("MTW_ALERT_WEBHOOK_URL"), ("http", "https")),
            alert_email=_addresses("MTW_ALERT_EMAIL", text("MTW_ALERT_EMAIL") or ""),
            alert_sender=next(iter(_addresses("MTW_ALERT_SENDER", text("MTW_ALERT_SENDER") or "")), ""),
            smtp_url=_secret_url("MTW_SMTP_URL", text("MTW_SMTP_URL"), ("smtp", "smtps")) or cls.smtp_url,
            alert_stale_hours=_hours("MTW_ALERT_STALE_HOURS", text("MTW_ALERT_STALE_HOURS", "26") or ""),
            keep_tracking_days=_days("MTW_KEEP_TRACKING_DAYS", text("MTW_KEEP_TRACKING_DAYS")),
            keep_delivery_logs_days=_days("MTW_KEEP_DELIVERY_LOGS_DAYS", text("MTW_KEEP_DELIVERY_LOGS_DAYS")),
            keep_statistics_days=_days("MTW_KEEP_STATISTICS_DAYS", text("MTW_KEEP_STATISTICS_DAYS")),
            memory_limit=memory_limit,
            published_mode=_published_mode(text("MTW_PUBLISHED_MODE")),
            published_identifiers=_published_identifiers(text("MTW_PUBLISHED_IDENTIFIERS", "masked") or ""),
            kept_runs=_count("MTW_KEPT_RUNS", text("MTW_KEPT_RUNS", str(KEPT_RUNS)), least=0),
            kept_versions=_count("MTW_KEPT_VERSIONS", text("MTW_KEPT_VERSIONS", str(KEPT_VERSIONS)), least=1),
            language=language,
            show_personal_data=(text("MTW_SHOW_PERSONAL_DATA") or "").lower() in ("1", "true", "yes"),
            login=login,
            login_secrets=path("MTW_LOGIN_SECRETS", Path()) if text("MTW_LOGIN_SECRETS") else None,
            accept_new_formats=(text("MTW_ACCEPT_NEW_FORMATS") or "").lower() in ("1", "true", "yes"),
            reference_mapping=path("MTW_REFERENCE_MAPPING", Path()) if text("MTW_REFERENCE_MAPPING") else None,
            dbt_project_dir=path("MTW_DBT_PROJECT_DIR", PROJECT_DIR / "dbt_project"),
            dagster_home_override=path("DAGSTER_HOME", Path()) if text("DAGSTER_HOME") else None,
        )
        settings.zone_by_server()
        settings._check_apart({name for name in _FOLDERS if text(name)})
        return settings

    def _check_apart(self, is_set: set[str]) -> None:
        """Raises SettingsError where what arrives and what the pipeline owns lie in one another. is_set: the variables
        that somebody set; of a default the line says where it is, for nobody knows it by its variable.
        """
        places: dict[str, Location | None] = {
            "MTW_LANDING_DIR": self.landing_dir,
            "MTW_WAREHOUSE_DIR": self.warehouse_dir,
            "MTW_LANDED_DIR": self.landed_override,
            "MTW_SPARK_WAREHOUSE_DIR": self.spark_dir,
            "DAGSTER_HOME": self.dagster_home_override,
        }
        called = {name: name if name in is_set else f"{places[name]} (the default of {name})" for name in _FOLDERS}
        landing = called["MTW_LANDING_DIR"]
        for name in _FOLDERS[1:]:
            owned = places[name]
            if owned is None:  # it lies in the warehouse folder
                continue
            if _lies_in(self.landing_dir, owned):
                raise SettingsError(
                    f"{landing} lies inside {called[name]}; keep what arrives apart from what the pipeline owns"
                )
            if _lies_in(owned, self.landing_dir):
                raise SettingsError(
                    f"{called[name]} lies inside {landing}, where nothing is ever written; move one of them"
                )

    def zone_by_server(self) -> dict[str, str]:
        """The zones that redirection servers' clocks show, by server character; servers not named write UTC.

        Lines that have landed keep the zone they were read with.
        """
        zones = {}
        for entry in filter(None, (entry.strip() for entry in self.server_time_zones.split(","))):
            server, _, zone = entry.partition("=")
            if len(server) != 1 or not zone:
                raise SettingsError(f"MTW_SERVER_TIME_ZONES has {entry!r}; write it like 5=Europe/Paris,6=UTC")
            zones[server] = zone
        return zones

    @property
    def publishes_clear(self) -> bool:
        """Whether published tables name people."""
        return self.published_identifiers == "clear"

    @property
    def ledger(self) -> LedgerPlace:
        return self.ledger_url or self.ledger_path

    @property
    def ledger_path(self) -> Path:
        """The ledger's file, where it is one."""
        return self.warehouse_dir / "ledger.sqlite"

    @property
    def landed_dir(self) -> Location:
        return self.landed_override or self.warehouse_dir / "landed"

    @property
    def working_database(self) -> Path:
        """What dbt built, as a DuckDB file: its database, or one whose views read what Spark wrote."""
        work = self.warehouse_dir / "work"
        return (work if self.engine == "duckdb" else work / self.engine) / "warehouse.duckdb"

    @property
    def spark_warehouse_dir(self) -> Path:
        return self.spark_dir or self.warehouse_dir / "work" / "spark" / "tables"

    @property
    def dbt_dir(self) -> Path:
        """Where dbt's artifacts go: parsed manifests and the last run's target folder."""
        return self.working_database.parent / "dbt"

    @property
    def published_dir(self) -> Path:
        return self.warehouse_dir / "published"

    @property
    def published_database(self) -> Path:
        return self.published_dir / "marts.duckdb"

    @property
    def lock_path(self) -> Path:
        return self.warehouse_dir / "run.lock"

    @property
    def lock_name(self) -> str:
        """Tells this warehouse from others in a Dagster that they share: a digest of where its lock is."""
        return hashlib.sha256(str(self.lock_path.absolute()).encode()).hexdigest()[:16]

    @property
    def dagster_home(self) -> Path:
        return self.dagster_home_override or self.warehouse_dir / "dagster"

    def environment(self) -> dict[str, str]:
        """The variables that child processes (dbt, the web server) need to see the very same settings."""
        variables = {
            "MTW_LANDING_DIR": str(self.landing_dir),
            "MTW_WAREHOUSE_DIR": str(self.warehouse_dir),
            # Empty where it follows from the warehouse.
            "MTW_LANDED_DIR": str(self.landed_override or ""),
            "MTW_ENGINE": self.engine,
            "MTW_REPORTS_URL": self.reports_url,
            "MTW_DOCS_URL": self.docs_url or "",
            "MTW_TIME_ZONE": self.time_zone,
            "MTW_WEB_TRACKING_MODE": self.web_tracking_mode,
            "MTW_SERVER_TIME_ZONES": self.server_time_zones,
            "MTW_MAX_QUARANTINE_RATE": str(self.max_quarantine_rate),
            "MTW_MAX_MISSING_RATE": str(self.max_missing_rate),
            "MTW_RETRY_SECONDS": ",".join(f"{seconds:g}" for seconds in self.retry_seconds) or "0",
            "MTW_ANOMALY_LIMITS": str(self.anomaly_limits or ""),
            "MTW_ALERT_WEBHOOK_URL": self.alert_webhook_url or "",
            "MTW_ALERT_EMAIL": ",".join(self.alert_email),
            "MTW_ALERT_SENDER": self.alert_sender,
            "MTW_SMTP_URL": self.smtp_url,
            "MTW_ALERT_STALE_HOURS": f"{self.alert_stale_hours:g}",
            "MTW_KEEP_TRACKING_DAYS": str(self.keep_tracking_days or ""),
            "MTW_KEEP_DELIVERY_LOGS_DAYS": str(self.keep_delivery_logs_days or ""),
            "MTW_KEEP_STATISTICS_DAYS": str(self.keep_statistics_days or ""),
            "MTW_MEMORY_LIMIT": self.memory_limit,
            "MTW_PUBLISHED_MODE": "" if self.published_mode is None else f"{self.published_mode:04o}",
            "MTW_PUBLISHED_IDENTIFIERS": self.published_identifiers,
            "MTW_KEPT_RUNS": str(self.kept_runs),
            "MTW_KEPT_VERSIONS": str(self.kept_versions),
            "MTW_LANGUAGE": self.language,
            "MTW_SHOW_PERSONAL_DATA": "1" if self.show_personal_data else "",
            "MTW_LOGIN": self.login,
            "MTW_ACCEPT_NEW_FORMATS": "1" if self.accept_new_formats else "",
            "MTW_DBT_PROJECT_DIR": str(self.dbt_project_dir),
            "DAGSTER_HOME": str(self.dagster_home),
        }
        if self.engine == "spark":
            variables |= {
                "MTW_SPARK_URL": self.spark_url,
                "MTW_SPARK_WAREHOUSE_DIR": str(self.spark_warehouse_dir),
                "MTW_SPARK_FILE_FORMAT": self.spark_file_format,
                "MTW_SPARK_CONF": self.spark_conf,
                "MTW_SPARK_SESSION": json.dumps(
                    session_settings(self.spark_url, self.working_database.parent, self.spark_warehouse_dir)
                    | json.loads(self.spark_conf)
                ),
            }
        if self.reference_url:
            variables["MTW_REFERENCE_URL"] = self.reference_url
        if self.reference_mapping:
            variables["MTW_REFERENCE_MAPPING"] = str(self.reference_mapping)
        if self.publish_url:
            variables |= {"MTW_PUBLISH_URL": self.publish_url, "MTW_PUBLISH_ROLE": self.publish_role}
        if self.ledger_url:
            variables |= {"MTW_LEDGER_URL": self.ledger_url.url, "MTW_INGEST_WORKERS": str(self.ingest_workers)}
        if self.dagster_storage_url or self.ledger_url:
            variables["MTW_DAGSTER_STORAGE_URL"] = self.dagster_storage_url or DAGSTER_FILES
        return variables

    def export(self) -> None:
        """Put these settings into this process's environment, with absolute paths, for dbt and Dagster."""
        os.environ.update(self.environment())


def _web_address(name: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise SettingsError(f"{name} is no address of a web page; write it like https://tracking.example.com/reports")
    return text.rstrip("/")


def _published_mode(text: str | None) -> int | None:
    if not text:
        return None
    if text not in ("0400", "0440", "0444"):
        raise SettingsError(
            f"MTW_PUBLISHED_MODE is {text!r}; set it to 0400 (this user reads what is published), 0440 (its group"
            " too) or 0444 (everybody on this machine)"
        )
    return int(text, 8)


def _published_identifiers(text: str) -> str:
    if text not in PUBLISHED_IDENTIFIERS:
        raise SettingsError(
            f"MTW_PUBLISHED_IDENTIFIERS is {text!r}; set it to masked (who is who stands in a file of this user's),"
            " group (in a file that its group may read too) or clear (wherever it belongs)"
        )
    return text


def _count(name: str, text: str | None, *, least: int) -> int:
    if not text or not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise SettingsError(f"{name} is {text!r}; write a whole number from {least} on")
    return int(text)


def _secret_url(name: str, text: str | None, schemes: tuple[str, ...]) -> str | None:
    """A URL that no message ever shows, that of its refusal not either."""
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0 and text.isprintable()
    except ValueError:
        is_one = False
    if not is_one:
        raise SettingsError(f"{name} is no URL; write it like {schemes[-1]}://example.com/… (its value is not shown)")
    return text


def _addresses(name: str, text: str) -> tuple[str, ...]:
    found = tuple(address.strip() for address in text.split(",") if address.strip())
    if wrong := [address for address in found if not _ADDRESS.fullmatch(address)]:
        raise SettingsError(f"{name} has {wrong[0]!r}; write addresses like ops@example.com,data@example.com")
    return found


def _hours(name: str, text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < 1e6:
        raise SettingsError(f"{name} is {text!r}; write a number of hours, 0 for never")
    return hours


def _seconds(name: str, text: str) -> tuple[float, ...]:
    """Waits in seconds; a single 0 means no further attempt."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (-1.0,)
    if any(not 0 <= seconds <= 86_400 for seconds in found):
        raise SettingsError(f"{name} is {text!r}; write seconds like 5,20,60, or 0 for no further attempt")
    return () if found == (0.0,) else found


def _ledger(url: str | None) -> PostgresUrl | None:
    try:
        return PostgresUrl(url) if url else None
    except IngestError as error:  # it does not show the URL
        raise SettingsError(str(error)) from error


def _postgres(name: str, url: str | None) -> str | None:
    try:
        if url:
            check_url(url, name)
    except IngestError as error:  # it does not show the URL
        raise SettingsError(str(error)) from error
    return url


def _dagster_storage(url: str | None, ledger: PostgresUrl | None) -> str | None:
    """The URL, which is never quoted: it may hold a password. Where none is given, the ledger's database serves.

    Its scheme has to name the driver. dagster-postgres works with psycopg2 alone, SQLAlchemy takes another one where
    none is named, and Dagster's processes read the variable by themselves: nobody could add it for them.
    """
    if url == DAGSTER_FILES or (url is None and ledger is None):
        return None
    if url is None and ledger is not None:
        return f"postgresql+psycopg2://{ledger.url.partition('://')[2]}"
    assert url is not None
    try:
        parts = urlsplit(url)
        usable = url.startswith("postgresql+psycopg2://") and len(parts.path) > 1
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            "MTW_DAGSTER_STORAGE_URL has to be like postgresql+psycopg2://host/dagster, with user:password@ before the"
            f" host (or {DAGSTER_FILES}, for files beside a ledger in PostgreSQL)"
        )
    return url


def _days(name: str, text: str | None) -> int | None:
    if not text:
        return None
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise SettingsError(f"{name} is {text!r}; write a whole number of days from 1 on, or leave it out to keep all")
    return int(text)


def _share(name: str, text: str | None) -> float:
    try:
        share = float(text or "")
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsError(
            f"{name} is {text!r}; write a share between 0 and 1, such as 0.01 for one line in a hundred"
        )
    return share


_FOLDERS = ("MTW_LANDING_DIR", "MTW_WAREHOUSE_DIR", "MTW_LANDED_DIR", "MTW_SPARK_WAREHOUSE_DIR", "DAGSTER_HOME")
"""The landing location, and the places that the pipeline writes to."""


def _lies_in(inner: Location, outer: Location) -> bool:
    if isinstance(inner, Path) and isinstance(outer, Path):
        return inner.resolve().is_relative_to(outer.resolve())
    return f"{inner}/".startswith(f"{outer}/")
