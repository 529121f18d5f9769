-- Every indicator of the delivery that the catalogue names, as the reference counts it and without machines. The row is
-- read as JSON, so that an indicator that is new in the catalogue needs no change here.
with

counted as (
    select to_json(indicators) as numbers
    from reports.rpt_tracking_indicators as indicators
    where delivery_id = $delivery_id
),

catalogue as (
    select
        name,
        definition,
        unit,
        has_human_form,
        row_number() over () as position
    from meta.indicator_catalogue
    where mart = 'rpt_tracking_indicators'
)

select
    catalogue.name,
    catalogue.definition,
    catalogue.unit,
    cast(counted.numbers ->> catalogue.name as double) as value,
    case when catalogue.has_human_form then cast(counted.numbers ->> ('human_' || catalogue.name) as double) end
        as human_value
from catalogue
cross join counted
where json_exists(counted.numbers, catalogue.name)
order by catalogue.position
