-- Files that could not be read.
select
    source,
    source_file,
    problem,
    since_at
from meta.problem_files
order by since_at desc
limit 100
