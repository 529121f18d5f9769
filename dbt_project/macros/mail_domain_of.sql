{# Domain of an e-mail address, lower case; 'unknown' where there is no address or no domain in it. #}
{% macro mail_domain_of(address) -%}
    case
        when instr({{ address }}, '@') > 0
            then coalesce(nullif({{ trimmed('replace(' ~ lowered('split_part(' ~ address ~ ", '@', -1)") ~ ", '>', '')") }}, ''), 'unknown')
        else 'unknown'
    end
{%- endmacro %}
