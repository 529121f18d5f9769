"""Why a request is not taken. The words are from this list and never from the request, so they may be logged.

Belongs here: reasons and the status that each is answered with. Does not: who finds them.
"""

STATUSES = {
    "unknown_provider": "404 Not Found",
    "method": "405 Method Not Allowed",
    "content_type": "415 Unsupported Media Type",
    "no_length": "411 Length Required",
    "too_large": "413 Content Too Large",
    "incomplete": "400 Bad Request",
    "not_json": "400 Bad Request",
    "login": "401 Unauthorized",
    "no_signature": "403 Forbidden",
    "signature": "403 Forbidden",
    "stale": "403 Forbidden",
    "topic": "403 Forbidden",
    "certificate": "403 Forbidden",
    # The one status upon which Mailgun does not try again: the event is here already.
    "replayed": "406 Not Acceptable",
}


class Refused(Exception):
    """The request is not taken. reason: a key of STATUSES."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = STATUSES[reason]


class Unavailable(Exception):
    """It cannot be told now whether the request is genuine; the provider is to try again."""
