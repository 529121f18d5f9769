"""Which format reads which line source. A new log format is one module and one line here."""

from log_ingest.catalog import ACCESS_LOGS, ESP_EVENTS, TRACKING_LOGS
from log_ingest.formats.access_log import AccessLog
from log_ingest.formats.esp_events import EspEvents
from log_ingest.formats.line_format import LineFormat
from log_ingest.formats.trackinglogd import Trackinglogd

LINE_FORMATS: dict[str, LineFormat] = {
    TRACKING_LOGS.name: Trackinglogd(),
    ACCESS_LOGS.name: AccessLog(),
    ESP_EVENTS.name: EspEvents(),
}
"""By the name of the source."""
