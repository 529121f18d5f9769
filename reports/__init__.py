"""The report pages: thin Streamlit pages over .sql files that read the published database and nothing else.

Belongs here: what people see of the marts, and what keeps hostile data inert on the way there. Does not: formulas and
judgements (dbt_project), or starting the server and reading .env (orchestration). Imports neither of them.
"""
