{# Models that are built part by part, so that what their joins hold fits into memory however many rows there are: without,
   DuckDB writes the joined rows to disk and reads them again, once for each join that does not fit.

   Such a model says in_part(…) on what it reads: a part must hold all rows that it looks at together. meta.computed_once names
   its CTEs that look at all rows whatever the part. Only a complete build is made in parts, and only on DuckDB; elsewhere a part
   is everything. #}

{# A query with one of its CTEs apart: `cte`, a query of its own, and `rest`, which reads `table` in its place. A CTE is found by
   how sqlfluff makes us write one: its name at the beginning of a line, its last bracket likewise. #}
{% macro cte_apart(query, name, table) -%}
    {%- set before, begun, after = query.partition('\n' ~ name ~ ' as (\n') -%}
    {%- set body, ended, rest = after.partition('\n)') -%}
    {%- if not ended -%}
        {{ exceptions.raise_compiler_error(this.identifier ~ ' has no CTE: ' ~ name) }}
    {%- endif -%}
    {{ return({
        'cte': before ~ begun ~ body ~ '\n) select * from ' ~ name,
        'rest': before ~ begun ~ 'select * from ' ~ table ~ ended ~ rest
    }) }}
{%- endmacro %}

{# Predicate: of the part that is built. number: SQL of a whole number, the same for rows that belong together. #}
{% macro in_part(number) -%}
    /* in part by {{ number }} */ true
{%- endmacro %}

{% macro of_part(query, at, count) -%}
    {{ return(modules.re.sub(
        '/[*] in part by (.+?) [*]/ true',
        'coalesce(\\1, 0) % ' ~ count ~ ' in (' ~ at ~ ', -' ~ at ~ ')',
        query
    )) }}
{%- endmacro %}

{# By the landed rows of all kinds: lines, and the messages that they are joined with. #}
{% macro part_count() -%}
    {%- set landed = looked_up('select coalesce(sum(accepted_count), 0) from ' ~ source('landed', 'batches'))[0][0] | int -%}
    {{ return([1, (landed / var('rows_of_part')) | round(0, 'ceil') | int] | max) }}
{%- endmacro %}

{# Of dbt-duckdb, for models in parts too. #}
{% macro duckdb__create_table_as(temporary, relation, compiled_code, language='sql', partitioned_by=none, sorted_by=none) -%}
    {%- set count = part_count() if not temporary and '/* in part by ' in compiled_code else 1 -%}
    {%- set computed_once = config.get('meta', {}).get('computed_once', []) -%}
    {%- set query = namespace(text=compiled_code) -%}
    {%- if count > 1 -%}
        {%- for name in computed_once -%}
            {%- set taken = cte_apart(query.text, name, relation.identifier ~ '__' ~ name) -%}
            {%- do run_query('create or replace temporary table ' ~ relation.identifier ~ '__' ~ name ~ ' as ' ~ taken['cte']) -%}
            {%- set query.text = taken['rest'] -%}
        {%- endfor -%}
    {%- endif -%}
    {{ dbt.duckdb__create_table_as(
        temporary, relation, of_part(query.text, 0, count) if count > 1 else query.text,
        language, partitioned_by=partitioned_by, sorted_by=sorted_by
    ) }}
    {%- for at in range(1, count) %}
        insert into {{ relation }} by name (
            {{ of_part(query.text, at, count) }}
        );
    {%- endfor %}
    {%- if count > 1 -%}
        {%- for name in computed_once %}
        drop table {{ relation.identifier }}__{{ name }};
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
