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

{# Predicate: of the part that is built. column: a whole number, the same for rows that belong together; of: the relation by
   whose rows the parts are made equally large. Parts are ranges of the column as it is: readers skip what is not in them, and do
   not decode it. #}
{% macro in_part(column, of) -%}
    /* in part by {{ column }} of {{ of }} */ true
{%- endmacro %}

{% macro of_part(query, bounds, at) -%}
    {%- if at == 0 -%}
        {%- set within = '(\\1 < ' ~ bounds[0] ~ ' or \\1 is null)' -%}
    {%- else -%}
        {%- set below = ' and \\1 < ' ~ bounds[at] if at < bounds | length else '' -%}
        {%- set within = '(\\1 >= ' ~ bounds[at - 1] ~ below ~ ')' -%}
    {%- endif -%}
    {{ return(modules.re.sub('/[*] in part by (.+?) of .+? [*]/ true', within, query)) }}
{%- endmacro %}

{# Where one part ends and the next begins. Rows of no number (0: no message, no delivery) are in the first, and do not count. #}
{% macro part_bounds(query) -%}
    {%- set said = modules.re.search('/[*] in part by (.+?) of (.+?) [*]/ true', query) -%}
    {%- set count = part_count() if said else 1 -%}
    {%- if count == 1 -%}
        {{ return([]) }}
    {%- endif -%}
    {%- set shares = [] -%}
    {%- for at in range(1, count) -%}
        {%- do shares.append(at / count) -%}
    {%- endfor -%}
    {%- set found = looked_up(
        'select distinct bound from (select unnest(approx_quantile(nullif(' ~ said.group(1) ~ ', 0), ' ~ shares ~ '))'
        ~ ' as bound from ' ~ said.group(2) ~ ') where bound is not null order by bound'
    ) -%}
    {{ return(found | map(attribute=0) | map('int') | list) }}
{%- endmacro %}

{# By the landed rows of all kinds: lines, and the messages that they are joined with. #}
{% macro part_count() -%}
    {%- set landed = looked_up('select coalesce(sum(accepted_count), 0) from ' ~ source('landed', 'batches'))[0][0] | int -%}
    {{ return([1, (landed / var('rows_of_part')) | round(0, 'ceil') | int] | max) }}
{%- endmacro %}

{# Of dbt-duckdb, for models in parts too. #}
{% macro duckdb__create_table_as(temporary, relation, compiled_code, language='sql', partitioned_by=none, sorted_by=none) -%}
    {%- set bounds = [] if temporary else part_bounds(compiled_code) -%}
    {%- set computed_once = config.get('meta', {}).get('computed_once', []) if bounds else [] -%}
    {%- set query = namespace(text=compiled_code) -%}
    {%- for name in computed_once -%}
        {%- set taken = cte_apart(query.text, name, relation.identifier ~ '__' ~ name) -%}
        {%- do run_query('create or replace temporary table ' ~ relation.identifier ~ '__' ~ name ~ ' as ' ~ taken['cte']) -%}
        {%- set query.text = taken['rest'] -%}
    {%- endfor -%}
    {{ dbt.duckdb__create_table_as(
        temporary, relation, of_part(query.text, bounds, 0) if bounds else query.text,
        language, partitioned_by=partitioned_by, sorted_by=sorted_by
    ) }}
    {%- for bound in bounds %}
        insert into {{ relation }} by name (
            {{ of_part(query.text, bounds, loop.index) }}
        );
    {%- endfor %}
    {%- for name in computed_once %}
        drop table {{ relation.identifier }}__{{ name }};
    {%- endfor %}
{%- endmacro %}
