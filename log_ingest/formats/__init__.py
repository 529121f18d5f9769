"""One module per input format: what its lines or records look like and how they become columns.

Belongs here: patterns, SQL that parses, reasons for refusal. Does not: files, batches, the ledger.
"""
