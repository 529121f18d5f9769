-- What one column of a report is read from, step by step down to landed fields. A column and how many steps above it.
with recursive

steps as (
    select
        'reports' as schema_name,
        $mart as table_name,
        $column as column_name,
        0 as depth
    union
    select
        lineage.source_schema,
        lineage.source_table,
        lineage.source_column,
        steps.depth + 1
    from steps
    inner join meta.column_lineage as lineage
        on steps.schema_name = lineage.schema_name
            and steps.table_name = lineage.table_name
            and steps.column_name = lineage.column_name
    where steps.depth < 30
        and lineage.use <> 'formula'
),

reached as (
    select
        schema_name,
        table_name,
        column_name,
        min(depth) as depth
    from steps
    group by all
)

select
    reached.depth + 1 as step_number,
    lineage.schema_name || '.' || lineage.table_name as table_name,
    lineage.column_name,
    lineage.use,
    lineage.source_schema || '.' || lineage.source_table as source_table,
    lineage.source_column,
    lineage.condition,
    personal.source_column is not null as is_personal
from reached
inner join meta.column_lineage as lineage
    on reached.schema_name = lineage.schema_name
        and reached.table_name = lineage.table_name
        and reached.column_name = lineage.column_name
left join meta.personal_fields as personal
    on lineage.source_schema = 'landed'
        and lineage.source_table = personal.source_table
        and lineage.source_column = personal.source_column
where lineage.use <> 'formula'
order by step_number, table_name, column_name, use, source_table, source_column, condition
