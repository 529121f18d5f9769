-- ruleset_version names the whole set: events carry one number.
select count(distinct ruleset_version) as version_count
from {{ ref('machine_rules') }}
having count(distinct ruleset_version) <> 1
