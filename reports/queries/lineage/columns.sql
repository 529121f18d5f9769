-- Columns of reports, as far as lineage knows them.
select distinct
    table_name as mart,
    column_name
from meta.column_lineage
where schema_name = 'reports'
order by mart, column_name
