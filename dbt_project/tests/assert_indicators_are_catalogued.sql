-- Every number of the indicator mart is defined in the catalogue, and every definition has its column.
-- depends_on: {{ ref('rpt_tracking_indicators') }}
{%- set numbers = indicator_columns(ref('rpt_tracking_indicators')) %}

with

mart_columns as (
    {% for name in numbers or ['none'] -%}
    select '{{ name }}' as column_name
    {{ 'union all' if not loop.last }}
    {% endfor -%}
),

catalogue as (
    select
        name,
        has_human_form
    from {{ ref('indicator_catalogue') }}
    where mart = 'rpt_tracking_indicators'
),

defined_columns as (
    select name as column_name from catalogue
    union all
    select 'human_' || name as column_name from catalogue
    where has_human_form
)

select
    mart_columns.column_name as mart_column,
    defined_columns.column_name as defined_column
from mart_columns
full outer join defined_columns
    on mart_columns.column_name = defined_columns.column_name
where mart_columns.column_name is null
    or defined_columns.column_name is null
