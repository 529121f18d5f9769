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

{# The SQL of a model and of the views below it, settings that its meta names, the content of the seeds they read, and
   the marks of the tables. When it differs from the one recorded with the rows, the rows are out of date whatever
   arrived. Macros are not in it. Looked up once per model and run. #}
{% macro own_fingerprint() -%}
    {%- if 'fingerprint' not in model -%}
        {%- set parts = fingerprint_parts(model.unique_id) -%}
        {%- set queries = [] -%}
        {%- for kind, part in parts if kind == 'seed' -%}
            {%- set seed = graph.nodes[part] -%}
            {%- set relation = api.Relation.create(seed.database, seed.schema, seed.alias) -%}
            {%- do queries.append("select '" ~ part ~ "' as part, (" ~ relation_fingerprint(relation) ~ ') as v') -%}
        {%- endfor -%}
        {%- set tables = parts | selectattr(0, 'equalto', 'table') | map(attribute=1) | unique | list -%}
        {%- if tables and adapter.get_relation(target.database, 'state', 'run_window') is not none -%}
            {%- do queries.append(
                'select model, fingerprint from ' ~ marks_of(tables)
            ) -%}
        {%- endif -%}
        {%- set found = {} -%}
        {%- if queries -%}
            {%- for row in run_query(queries | unique | join(' union all ')).rows -%}
                {%- do found.update({row[0]: row[1]}) -%}
            {%- endfor -%}
        {%- endif -%}
        {%- set texts = [] if model.config.materialized != 'incremental' else layout_parts() -%}
        {%- for kind, part in parts -%}
            {%- do texts.append(part if kind == 'text' else found.get(part, 'never built')) -%}
        {%- endfor -%}
        {%- do model.update({'fingerprint': local_md5(texts | join('\n'))}) -%}
    {%- endif -%}
    {{ return(model['fingerprint']) }}
{%- endmacro %}

{# How the rows of an incremental model are laid out, where that decides how they can be replaced. #}
{% macro layout_parts() -%}
    {{ return(adapter.dispatch('layout_parts')()) }}
{%- endmacro %}

{% macro default__layout_parts() -%}
    {{ return([]) }}
{%- endmacro %}

{# Pairs of a kind and what it says: a text as it stands, the unique id of a seed, the name of a table. #}
{% macro fingerprint_parts(unique_id) -%}
    {%- set node = graph.nodes[unique_id] -%}
    {%- set parts = [('text', node.raw_code), ('text', node.config.get('meta', {}).get('setting', ''))] -%}
    {%- for upstream in node.depends_on.nodes if upstream in graph.nodes -%}
        {%- set below = graph.nodes[upstream] -%}
        {%- if below.resource_type == 'seed' -%}
            {%- do parts.append(('seed', upstream)) -%}
        {%- elif below.config.materialized == 'table' -%}
            {%- do parts.append(('table', below.name)) -%}
        {%- elif below.config.materialized != 'incremental' -%}
            {%- do parts.extend(fingerprint_parts(upstream)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(parts) }}
{%- endmacro %}
