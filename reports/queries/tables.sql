-- Which tables and columns this version holds.
select schema_name || '.' || table_name as name
from duckdb_tables()
union all
select schema_name || '.' || table_name || '.' || column_name
from duckdb_columns()
