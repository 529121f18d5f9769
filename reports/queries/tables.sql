-- Which tables this version holds.
select schema_name || '.' || table_name as name
from duckdb_tables()
