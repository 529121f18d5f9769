"""One module per page (delivery_parts: the parts of the delivery's). Each has show(view) and reads .sql files only."""
