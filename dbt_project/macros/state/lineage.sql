{# What stands physically behind a model: seeds, tables and incremental models, seen through views. #}
{% macro physical_upstreams(unique_id) -%}
    {%- set found = [] -%}
    {%- for upstream in graph.nodes[unique_id].depends_on.nodes -%}
        {%- if upstream in graph.nodes -%}
            {%- set node = graph.nodes[upstream] -%}
            {%- if node.resource_type == 'seed' or node.config.materialized in ['table', 'incremental'] -%}
                {%- do found.append(upstream) -%}
            {%- else -%}
                {%- do found.extend(physical_upstreams(upstream)) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found | unique | list) }}
{%- endmacro %}

{# Incremental models whose change log this model follows, through views and tables. #}
{% macro logged_upstreams(unique_id) -%}
    {%- set found = [] -%}
    {%- for upstream in physical_upstreams(unique_id) -%}
        {%- if graph.nodes[upstream].config.materialized == 'incremental' -%}
            {%- do found.append(graph.nodes[upstream].name) -%}
        {%- elif graph.nodes[upstream].config.materialized == 'table' -%}
            {%- do found.extend(logged_upstreams(upstream)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found | unique | list) }}
{%- endmacro %}

{% macro reads_landed_rows(unique_id) -%}
    {%- for upstream in graph.nodes[unique_id].depends_on.nodes -%}
        {%- if upstream in graph.sources -%}
            {{ return(true) }}
        {%- elif graph.nodes[upstream].config.materialized == 'view' and reads_landed_rows(upstream) -%}
            {{ return(true) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(false) }}
{%- endmacro %}

{# The SQL of a model and of the views below it, settings that its meta names, and the content of the seeds they read. When it differs from
   the one recorded with the rows, the rows are out of date whatever arrived. Macros are not in it. #}
{% macro model_fingerprint(unique_id) -%}
    {%- set node = graph.nodes[unique_id] -%}
    {%- set parts = [node.raw_code, node.config.get('meta', {}).get('setting', '')] -%}
    {%- for upstream in node.depends_on.nodes if upstream in graph.nodes -%}
        {%- set below = graph.nodes[upstream] -%}
        {%- if below.resource_type == 'seed' -%}
            {%- set relation = api.Relation.create(below.database, below.schema, below.alias) -%}
            {%- do parts.append(run_query(relation_fingerprint(relation)).rows[0][0]) -%}
        {%- elif below.config.materialized == 'table' -%}
            {%- do parts.append(
                state_value('model_marks', 'fingerprint', "model = '" ~ below.name ~ "'", 'never built')
            ) -%}
        {%- elif below.config.materialized != 'incremental' -%}
            {%- do parts.append(model_fingerprint(upstream)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(local_md5(parts | join('\n'))) }}
{%- endmacro %}
