"""Ids as people give them. Belongs here: their one reading. Does not: whether there is anything with such an id."""


def unsigned(number: int) -> int:
    """An id as the warehouse stores it: a negative 32-bit id stands for its unsigned value."""
    return number + 2**32 if -(2**31) <= number < 0 else number
