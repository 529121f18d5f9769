{# Who acted, for distinct counts over deliveries. In rows of purged deliveries a digest with the warehouse's salt stands
   for the person; where there are such rows, `salt` is not NULL and everybody is told apart by that digest, so that
   whoever acted on a purged delivery and on another one counts once; NULL where nobody knows who it was (log_ingest/frozen.py makes the same). #}
{% macro person_key(key, salt) -%}
    case
        when {{ salt }} is null or {{ key }} like 'purged-%' or {{ key }} = '' then nullif({{ key }}, '')
        else 'purged-' || md5({{ salt }} || {{ key }})
    end
{%- endmacro %}
