"""The checks at both edges: landed rows before the models run, candidate marts before they are published.

Belongs here: what must hold at the edges (suites/*.yml) and turning verdicts into Dagster check results.
Does not: rules between the edges (tests in dbt_project), or what a failure leads to (all of these block).
"""
