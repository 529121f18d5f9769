"""Which format reads which line source. A new log format is one module and one line here."""

from log_ingest.catalog import TRACKING_LOGS
from log_ingest.formats.line_format import LineFormat
from log_ingest.formats.trackinglogd import Trackinglogd

LINE_FORMATS: dict[str, LineFormat] = {
    TRACKING_LOGS.name: Trackinglogd(),
}
"""By the name of the source."""
