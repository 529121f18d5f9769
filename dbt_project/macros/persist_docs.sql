{# Comments of a table and its columns, all in one statement of many, as DuckDB's adapter does in four: it asks twice which
   columns there are, which a contract says already. Those questions were a sixth of what a build costs dbt. #}
{% macro duckdb__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- set comments = [] -%}
    {%- if for_relation and config.persist_relation_docs() and model.description -%}
        {%- do comments.append(duckdb__alter_relation_comment(relation, model.description)) -%}
    {%- endif -%}
    {%- if for_columns and config.persist_column_docs() and model.columns -%}
        {%- set documented = model.columns -%}
        {%- if not config.get('contract').enforced -%}
            {%- set existing = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
            {%- set documented = validate_doc_columns(relation, documented, existing) -%}
        {%- endif -%}
        {%- for column in documented.values() -%}
            {%- set name = adapter.quote(column['name']) if column['quote'] else column['name'] -%}
            {%- do comments.append(
                'comment on column ' ~ relation ~ '.' ~ name ~ ' is ' ~ duckdb_escape_comment(column['description']) ~ ';'
            ) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if comments -%}
        {%- do run_query(comments | join('\n')) -%}
    {%- endif -%}
{%- endmacro %}
