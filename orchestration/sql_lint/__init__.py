"""A lint for the SQL of models: what would give other numbers on another engine, multiply rows, or show personal data.

Belongs here: reading compiled models and saying what is wrong with them, without running anything. Does not: layout and
style (sqlfluff), the lineage itself (orchestration.lineage), or whether the numbers are right (dbt's tests).

    project      the compiled models, each knowing which of its text comes from a dispatched macro; the findings
    portability  functions and idioms that DuckDB and Spark read differently
    keys         which columns tell the rows of a query apart
    joins        joins that multiply rows, by the declared keys; and marts that take whatever columns there are
    personal     columns of reports that personal fields reach
"""
