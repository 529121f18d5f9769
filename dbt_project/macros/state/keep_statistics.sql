{# Where landed rows are, as text inside a quoted SQL string: a folder or s3://… (as models/sources/landed.yml). #}
{% macro landed_location() -%}
    {{ return(
        (env_var('MTW_LANDED_DIR', '') or env_var('MTW_WAREHOUSE_DIR', '../data/warehouse') ~ '/landed')
        | replace('[', '[[]') | replace("'", "''")
    ) }}
{%- endmacro %}

{# Post-hook of models with `meta: {retention: …}`: the rows of a purged delivery are those that were published
   when what they count was purged (docs/retention.md), whatever the remaining rows give; none where its statistics are
   purged too. `statistics`: from the purge of its events on; `log_statistics`: from that of its messages on. Inside the
   transaction of the model, as record_mark. Of an incremental model only deliveries that this run computed anew: a
   purge itself makes all be built from scratch. #}
{% macro keep_statistics() -%}
    {%- if not execute
        or model.config.materialized not in ['table', 'incremental']
        or model.config.get('meta', {}).get('retention') not in kept_from()
        or 'delivery_id' not in model.columns -%}
        {{ return('') }}
    {%- endif -%}
    {{ return(adapter.dispatch('keep_statistics')(landed_location(), kept_from()[model.config.meta.retention])) }}
{%- endmacro %}

{# From which kind of purge on rows are kept, by meta.retention. As KEPT_FROM in orchestration/retention.py. #}
{% macro kept_from() -%}
    {{ return({'statistics': 'tracking', 'log_statistics': 'delivery_logs'}) }}
{%- endmacro %}

{% macro default__keep_statistics(landed, kind) -%}
    {%- set purged = "select delivery_id from read_parquet('" ~ landed ~ "/ledger_purges.parquet') where kind = '"
        ~ kind ~ "'" -%}
    {%- if run_query('select count(*) from (' ~ purged ~ ')').rows[0][0] | int == 0 -%}
        {{ return('') }}
    {%- endif -%}
    {%- set within -%}
        delivery_id in ({{ purged }})
        {%- if is_incremental() %}
        and delivery_id in (
            select delivery_id from {{ state_relation('touched_deliveries') }}
            where model = '{{ this.identifier }}' and run_number = {{ current_run() }}
        )
        {%- endif -%}
    {%- endset -%}
    {%- set parts = run_query(
        "select path from read_parquet('" ~ landed ~ "/ledger_frozen.parquet') where table_name = '"
        ~ this.schema ~ '.' ~ this.identifier ~ "' order by path"
    ).columns[0].values() | list %}
    delete from {{ this }} where {{ within }};
    {% if parts -%}
    {%- set paths = [] -%}
    {%- for part in parts %}{% do paths.append("'" ~ landed ~ '/' ~ part ~ "'") %}{% endfor -%}
    {%- set rows = 'read_parquet([' ~ paths | join(', ') ~ '], union_by_name = true)' -%}
    {%- set kept = run_query('describe select * from ' ~ rows).columns[0].values() | list -%}
    {#- A column that the model has got since is NULL in them; one that it has no more is left out. -#}
    {%- set columns = [] -%}
    {%- for column in adapter.get_columns_in_relation(this) if column.name in kept -%}
        {%- do columns.append(column.quoted) -%}
    {%- endfor -%}
    insert into {{ this }} ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from {{ rows }} where {{ within }};
    {%- endif %}
{%- endmacro %}

{# One statement cannot replace rows of a plain Parquet table there: the engine has no purges, and its start_run() refuses
   a warehouse that had one. #}
{% macro spark__keep_statistics(landed, kind) -%}
    {{ return('') }}
{%- endmacro %}
