"""Settings: where values come from, what paths become, what is refused, and that no secret shows."""

from dataclasses import replace
from pathlib import Path

import pytest

from log_ingest.storage import ObjectUrl
from orchestration.build_state import build_digest, hidden_digest
from orchestration.settings import PROJECT_DIR, Settings, SettingsError, without_secrets


def load(environ: dict[str, str] | None = None, dotenv: Path = Path("/nonexistent/.env")) -> Settings:
    return Settings.load(environ or {}, dotenv=dotenv)


def test_defaults_belong_to_the_checkout_wherever_the_process_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load()
    assert settings.landing_dir == PROJECT_DIR / "data/landing"
    assert settings.warehouse_dir == PROJECT_DIR / "data/warehouse"
    assert settings.dagster_home == PROJECT_DIR / "data/warehouse/dagster"
    assert (settings.engine, settings.time_zone, settings.reference_url) == ("duckdb", "UTC", None)


def test_a_relative_path_of_the_environment_starts_at_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load({"MTW_LANDING_DIR": "in", "MTW_WAREHOUSE_DIR": "../out"})
    assert settings.landing_dir == tmp_path / "in"
    assert settings.warehouse_dir.resolve() == tmp_path.parent / "out"


def test_the_environment_wins_over_the_env_file_whose_paths_start_at_its_folder(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("MTW_LANDING_DIR=incoming\nMTW_WAREHOUSE_DIR=store\nMTW_TIME_ZONE=Europe/Paris\n")
    settings = load({"MTW_WAREHOUSE_DIR": "/srv/warehouse"}, dotenv)
    assert settings.landing_dir == tmp_path / "incoming"
    assert settings.warehouse_dir == Path("/srv/warehouse")
    assert settings.time_zone == "Europe/Paris"


def test_locations_in_a_bucket_stay_urls(tmp_path):
    environ = {"MTW_LANDING_DIR": "s3://in/a//b/", "MTW_LANDED_DIR": "S3://out", "MTW_WAREHOUSE_DIR": str(tmp_path)}
    settings = load(environ)
    assert (str(settings.landing_dir), str(settings.landed_dir)) == ("s3://in/a//b", "s3://out")
    assert settings.landing_dir == ObjectUrl("in", "a//b")
    assert Settings.load(settings.environment(), dotenv=Path("/nonexistent")).landed_dir == ObjectUrl("out")
    dotenv = tmp_path / ".env"
    dotenv.write_text("MTW_LANDING_DIR=s3://in/x\nMTW_LANDED_DIR=kept\n")
    settings = load({}, dotenv)
    assert (settings.landing_dir, settings.landed_dir) == (ObjectUrl("in", "x"), tmp_path / "kept")


def test_the_landed_location_follows_the_warehouse_of_whoever_asks(tmp_path, monkeypatch):
    """A child process that is given another warehouse must not keep the landed folder of the first."""
    environment = load({"MTW_WAREHOUSE_DIR": str(tmp_path / "a")}).environment()
    moved = Settings.load(environment | {"MTW_WAREHOUSE_DIR": str(tmp_path / "b")}, dotenv=Path("/nonexistent"))
    assert moved.landed_dir == tmp_path / "b" / "landed"


def test_an_empty_variable_is_an_unset_one():
    assert load({"MTW_TIME_ZONE": "", "MTW_ENGINE": ""}).time_zone == "UTC"


def test_the_web_tracking_mode_reaches_dbt_and_rebuilds():
    chosen, default = load({"MTW_WEB_TRACKING_MODE": "session"}), load()
    assert default.environment()["MTW_WEB_TRACKING_MODE"] == "permanent"
    assert chosen.environment()["MTW_WEB_TRACKING_MODE"] == "session"
    assert build_digest(chosen) != build_digest(default)
    assert hidden_digest(chosen) != hidden_digest(default)


def test_every_path_in_the_environment_for_children_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load({"MTW_WAREHOUSE_DIR": "w", "DAGSTER_HOME": "h"})
    environment = settings.environment()
    assert environment["MTW_WAREHOUSE_DIR"] == str(tmp_path / "w")
    assert environment["DAGSTER_HOME"] == str(tmp_path / "h")
    assert Settings.load(environment, dotenv=Path("/nonexistent")) == load(
        {"MTW_WAREHOUSE_DIR": "w", "DAGSTER_HOME": "h"}
    )


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"MTW_ENGINE": "orcale"}, "MTW_ENGINE is 'orcale'; set it to one of: duckdb, spark"),
        ({"MTW_SPARK_URL": "yarn"}, "MTW_SPARK_URL is 'yarn'; write local[4]"),
        ({"MTW_SPARK_URL": "sc //host;token=s3cret"}, "MTW_SPARK_URL is 'sc //host'; write local[4]"),
        ({"MTW_SPARK_FILE_FORMAT": "orc"}, "MTW_SPARK_FILE_FORMAT is 'orc'; set it to one of: parquet"),
        ({"MTW_SPARK_CONF": "[]"}, "MTW_SPARK_CONF is no JSON object"),
        ({"MTW_TIME_ZONE": "Mars/Base"}, "MTW_TIME_ZONE is 'Mars/Base'"),
        ({"MTW_WEB_TRACKING_MODE": "cookie"}, "set it to one of: session, permanent, anonymous"),
        ({"MTW_TIME_ZONE": "../../etc/passwd"}, "no known zone"),
        ({"MTW_TIME_ZONE": "posix/Europe/Paris"}, "no known zone"),
        ({"MTW_TIME_ZONE": "localtime"}, "no known zone"),
        ({"MTW_PUBLISH_URL": "nonsense"}, "MTW_PUBLISH_URL is no PostgreSQL URL"),
        ({"MTW_PUBLISH_URL": "postgresql://me:s3cret/x@db/y"}, "MTW_PUBLISH_URL cannot be read"),
        ({"MTW_MEMORY_LIMIT": "lots; drop"}, "write it like 3GB or 800MB"),
        ({"MTW_KEEP_TRACKING_DAYS": "a year"}, "MTW_KEEP_TRACKING_DAYS is 'a year'; write a whole number of days"),
        ({"MTW_KEEP_TRACKING_DAYS": "0"}, "whole number of days from 1 on"),
        ({"MTW_KEEP_TRACKING_DAYS": "-3"}, "whole number of days from 1 on"),
        ({"MTW_WAREHOUSE_DIR": "/srv/w", "MTW_LANDING_DIR": "/srv/w/landing"}, "inside MTW_WAREHOUSE_DIR"),
        ({"MTW_LANDING_DIR": "s3://lake/w/in", "MTW_LANDED_DIR": "s3://lake/w"}, "inside MTW_LANDED_DIR"),
        (
            {"MTW_LANDING_DIR": "s3://lake", "MTW_LANDED_DIR": "s3://lake/landed"},
            "MTW_LANDED_DIR lies inside MTW_LANDING_DIR",
        ),
        (
            {"MTW_LANDING_DIR": "/srv/in", "MTW_WAREHOUSE_DIR": "/srv/in/w", "MTW_LANDED_DIR": "/srv/landed"},
            "MTW_WAREHOUSE_DIR lies inside MTW_LANDING_DIR, where nothing is ever written",
        ),
        ({"MTW_LANDING_DIR": "/srv/in", "MTW_WAREHOUSE_DIR": "/srv/in/w"}, "MTW_WAREHOUSE_DIR lies inside MTW_LANDING"),
        ({"MTW_LANDING_DIR": "/srv/in", "DAGSTER_HOME": "/srv/in/d"}, "DAGSTER_HOME lies inside MTW_LANDING_DIR"),
        ({"MTW_LANDING_DIR": "/srv/d/in", "DAGSTER_HOME": "/srv/d"}, "MTW_LANDING_DIR lies inside DAGSTER_HOME"),
        (
            {"MTW_LANDING_DIR": "/srv/in", "MTW_SPARK_WAREHOUSE_DIR": "/srv/in/s"},
            "MTW_SPARK_WAREHOUSE_DIR lies inside MTW_LANDING_DIR",
        ),
        (
            {"MTW_WAREHOUSE_DIR": str(PROJECT_DIR / "data")},
            f"{PROJECT_DIR}/data/landing (the default of MTW_LANDING_DIR) lies inside MTW_WAREHOUSE_DIR",
        ),
        (
            {"MTW_LANDING_DIR": str(PROJECT_DIR / "data"), "MTW_LANDED_DIR": "/srv/landed"},
            f"{PROJECT_DIR}/data/warehouse (the default of MTW_WAREHOUSE_DIR) lies inside MTW_LANDING_DIR",
        ),
        ({"MTW_REPORTS_URL": "javascript:alert(1)"}, "MTW_REPORTS_URL is no address of a web page"),
        ({"MTW_DOCS_URL": "https://me:s3cret@docs.example.com"}, "MTW_DOCS_URL is no address of a web page"),
        ({"MTW_WAREHOUSE_DIR": "s3://lake/w"}, "MTW_WAREHOUSE_DIR has to be a local folder"),
        ({"MTW_LANDING_DIR": "gs://lake/w"}, "MTW_LANDING_DIR has a scheme other than s3://"),
        ({"MTW_LANDING_DIR": "s3:/lake/w"}, "MTW_LANDING_DIR has a scheme other than s3://"),
        ({"MTW_LANDING_DIR": "s3://"}, "MTW_LANDING_DIR is no s3://bucket/prefix"),
    ],
)
def test_an_unusable_value_is_refused_in_one_line(environ, says):
    with pytest.raises(SettingsError) as caught:
        load(environ)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_is_in_no_representation():
    settings = load(
        {"MTW_REFERENCE_URL": "postgresql://me:s3cret@db/x", "MTW_PUBLISH_URL": "postgresql://me:s3cret@db/y"}
    )
    assert settings.reference_url is not None
    assert "s3cret" not in repr(settings) + str(settings)


def test_web_addresses_and_the_copy_reach_children_as_they_are():
    settings = load(
        {
            "MTW_REPORTS_URL": "https://tracking.example.com/pages/",
            "MTW_DOCS_URL": "https://docs.example.com",
            "MTW_PUBLISH_URL": "postgresql://me:s3cret@db/y",
            "MTW_PUBLISH_ROLE": "bi",
        }
    )
    assert (settings.reports_url, settings.docs_url) == (
        "https://tracking.example.com/pages",
        "https://docs.example.com",
    )
    assert Settings.load(settings.environment(), dotenv=Path("/nonexistent")) == replace(
        settings, dagster_home_override=settings.dagster_home
    )
    assert load({}).docs_url is None


def test_credentials_in_a_location_are_refused_and_not_repeated():
    with pytest.raises(SettingsError, match="AWS_ variables") as caught:
        load({"MTW_LANDING_DIR": "s3://AKIAME:s3cret@bucket/prefix"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot reach postgresql://me:s3cret@db:5432/x", "cannot reach postgresql://***@db:5432/x"),
        ("postgresql://db/x?user=me&password=s3cret&sslmode=on", "postgresql://db/x?user=me&password=***&sslmode=on"),
        ("no secret at http://example.org/a@b", "no secret at http://example.org/a@b"),
    ],
)
def test_secrets_are_masked_in_text(text, expected):
    assert without_secrets(text) == expected


@pytest.mark.parametrize("name", ["MTW_PUBLISH_URL", "MTW_LEDGER_URL", "MTW_DAGSTER_STORAGE_URL"])
def test_how_to_write_a_url_is_left_by_the_mask(name):
    with pytest.raises(SettingsError, match="with user:password@ before the host") as caught:
        load({name: "nonsense"})
    assert without_secrets(str(caught.value)) == str(caught.value)


def test_a_dotenv_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / ".env").write_bytes("MTW_LANDING_DIR=/srv/données".encode("latin-1"))
    with pytest.raises(SettingsError, match=f"{tmp_path}/.env is not UTF-8"):
        load({}, tmp_path / ".env")


def test_zones_of_servers(tmp_path):
    assert load({"MTW_SERVER_TIME_ZONES": "5=Europe/Paris, 6=UTC"}).zone_by_server() == {
        "5": "Europe/Paris",
        "6": "UTC",
    }
    assert load({}).zone_by_server() == {}
    with pytest.raises(SettingsError, match="write it like"):
        load({"MTW_SERVER_TIME_ZONES": "Europe/Paris"})
