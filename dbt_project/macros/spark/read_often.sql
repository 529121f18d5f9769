{# CTEs that several others read. DuckDB computes each once. Spark computes one anew for every reader, and theirs anew for
   every reader of these, so that a long query costs many times what it says. meta.read_often names the CTEs that become
   tables for as long as their model is built. Tables and not Spark's cache: it compares every later query with all that led
   to what it holds, which takes longer than computing it. #}

{# Writes them down; returns the query that reads these tables in their place. #}
{% macro spark_keep_what_is_read_often(sql) -%}
    {%- set query = namespace(text=sql) -%}
    {%- for name in config.get('meta', {}).get('read_often', []) -%}
        {%- set apart = cte_apart(query.text, name, kept_as(name)) -%}
        {%- do spark_create_table(kept_as(name), apart['cte']) -%}
        {%- set query.text = apart['rest'] -%}
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
