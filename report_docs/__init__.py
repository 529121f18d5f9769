"""The documentation that is made, not written: pages and pictures of the report marts, dbt's own documentation.

    reports     what a mart's YAML and the indicator catalogue say
    pages       that as Markdown
    charts      a query's rows as SVG
    __main__    the order of things: `make docs`

Belongs here: turning what stands elsewhere into documents. Does not: any statement about a report, which stands in
its YAML (the part by hand under config.meta.report), or about an indicator, which stands in the catalogue.
"""
