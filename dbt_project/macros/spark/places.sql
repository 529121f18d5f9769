{# Where tables lie on Spark, and in which format: MTW_SPARK_WAREHOUSE_DIR is storage that driver, executors and the
   pipeline all see under this name; MTW_SPARK_FILE_FORMAT is parquet, iceberg or delta. #}

{% macro spark_folder() -%}
    {%- set folder = env_var('MTW_SPARK_WAREHOUSE_DIR', '') -%}
    {%- if '/' not in folder[:1] and '://' not in folder -%}
        {{ exceptions.raise_compiler_error(
            "MTW_SPARK_WAREHOUSE_DIR is '" ~ folder ~ "'; set it to an absolute path, or a URL that Spark can write to"
        ) }}
    {%- endif -%}
    {{ return(folder.rstrip('/')) }}
{%- endmacro %}

{% macro spark_file_format() -%}
    {{ return(env_var('MTW_SPARK_FILE_FORMAT', 'parquet')) }}
{%- endmacro %}

{# Parquet tables lie where we say. Tables of the other formats lie where their catalog puts them. #}
{% macro spark_location(schema, name) -%}
    {%- if spark_file_format() == 'parquet' -%}
        location {{ spark_literal(spark_folder() ~ '/' ~ schema ~ '/' ~ name) }}
    {%- endif -%}
{%- endmacro %}

{# A text as a literal, whatever is in it. #}
{% macro spark_literal(text) -%}
    {{ return("'" ~ text | replace('\\', '\\\\') | replace("'", "\\'") ~ "'") }}
{%- endmacro %}

{# The type names of our YAML as Spark's: a VARCHAR without a length is called STRING there. #}
{% macro spark_type(name) -%}
    {{ return('string' if name | lower == 'varchar' else name) }}
{%- endmacro %}

{# A part of a table that a run replaces whole: the column that incremental tables have at their end on Spark. #}
{% macro part_column() -%}
    {{ return('mtw_part') }}
{%- endmacro %}

{# What part a row of this model belongs to: never another one while its key is the same. meta.part says it in SQL where a
   column is better than a hash: what arrives together is then in few parts. #}
{% macro part_expression() -%}
    {%- set said = config.get('meta', {}).get('part') -%}
    {%- set key = config.get('unique_key') -%}
    {%- set parts = env_var('MTW_SPARK_PARTS', '16') | int -%}
    {%- if said -%}
        {{ return(said) }}
    {%- elif key -%}
        {{ return('pmod(xxhash64(' ~ ([key] if key is string else key) | join(', ') ~ '), ' ~ parts ~ ')') }}
    {%- endif -%}
    {{ return('pmod(delivery_id, ' ~ parts ~ ')') }}
{%- endmacro %}

{% macro spark__layout_parts() -%}
    {{ return([part_expression(), spark_file_format()]) }}
{%- endmacro %}

{# meta.part of events: late lines are of few days. A time that is not known is a day like any other. #}
{% macro event_day() -%}
    {{ return("coalesce(cast(occurred_at as date), date '1970-01-01')") }}
{%- endmacro %}
