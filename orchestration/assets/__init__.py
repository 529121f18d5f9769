"""The assets, one module per stage: landing (ingest), models (dbt), published (publish)."""
