"""Reference rows straight from the marketing platform's PostgreSQL database, landed as reference files are.

Belongs here: the mapping file (which tables, which columns), the connection and its queries, passes over tables and
their marks. Does not: what a landed row looks like (catalog, formats), or when a run happens.
"""
