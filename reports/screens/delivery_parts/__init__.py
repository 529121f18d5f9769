"""The parts of the delivery page, one module each: show(view, delivery_id)."""
