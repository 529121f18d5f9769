"""A receiver of e-mail providers' webhooks: checks who POSTs, and lands each body as a line of esp_events.

Belongs here: a WSGI application that any WSGI server can run, and nothing that it does not need; the folder is
complete by itself and is copied to the server that receives. Does not: what an event means (log_ingest), and TLS,
rate limits or access logs (the web server in front). See docs/webhook-receiver.md.
"""

from .application import Receiver
from .settings import SettingsError, from_environment

__all__ = ["Receiver", "SettingsError", "from_environment"]
