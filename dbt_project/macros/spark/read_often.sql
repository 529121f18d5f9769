{# CTEs that several others read. DuckDB computes each once. Spark computes one anew for every reader, and theirs anew for
   every reader of these, so that a long query costs many times what it says. meta.read_often names the CTEs that become
   tables for as long as their model is built. Tables and not Spark's cache: it compares every later query with all that led
   to what it holds, which takes longer than computing it.

   A CTE is found by how sqlfluff makes us write one: its name at the beginning of a line, its last bracket likewise. #}

{# Writes them down; returns the query that reads these tables in their place. #}
{% macro spark_keep_what_is_read_often(sql) -%}
    {%- set query = namespace(text=sql) -%}
    {%- for name in config.get('meta', {}).get('read_often', []) -%}
        {%- set before, begun, after = query.text.partition('\n' ~ name ~ ' as (\n') -%}
        {%- set body, ended, rest = after.partition('\n)') -%}
        {%- if not ended -%}
            {{ exceptions.raise_compiler_error('meta.read_often of ' ~ this.identifier ~ ' names no CTE: ' ~ name) }}
        {%- endif -%}
        {%- do spark_create_table(kept_as(name), before ~ begun ~ body ~ '\n) select * from ' ~ name) -%}
        {%- set query.text = before ~ begun ~ 'select * from ' ~ kept_as(name) ~ ended ~ rest -%}
    {%- endfor -%}
    {{ return(query.text) }}
{%- endmacro %}

{# A build that fails leaves them to the next one, which writes them anew. #}
{% macro spark_forget_what_was_kept() -%}
    {%- for name in config.get('meta', {}).get('read_often', []) -%}
        {%- do run_query('drop table if exists ' ~ kept_as(name)) -%}
        {%- do spark_empty_folder(kept_as(name)) -%}
    {%- endfor -%}
{%- endmacro %}

{% macro kept_as(name) -%}
    {{ return(api.Relation.create(schema='state', identifier='kept__' ~ this.identifier ~ '__' ~ name, type='table')) }}
{%- endmacro %}
