"""When the pipeline runs, in which order, and whether its result is published.

Belongs here: Dagster definitions, checks, the publish step, settings, the command line.
Does not: parsing (log_ingest) or business rules (dbt_project).
"""
