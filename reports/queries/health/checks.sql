-- The checks of the run that published this version: those that did not hold first.
select
    asset,
    check_name,
    passed,
    severity,
    description
from meta.check_results
order by passed, asset, check_name
limit 500
