"""From bytes to rows: reads landing folders, loses nothing, keeps a ledger.

Belongs here: framing, formats, the ledger, landed Parquet, quarantine, the sample generator.
Does not: what a row means (dbt_project), when to run (orchestration). Imports neither dagster nor dbt.
"""
