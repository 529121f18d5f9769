"""Opens by device, operating system and browser."""

from reports.controls import choose
from reports.tables import columns, show_table
from reports.view import View


def show(view: View, delivery_id: int) -> None:
    mobile = (
        choose(view, "devices_shown", {code: f"devices_{code}" for code in ("all", "mobile")}, "devices") == "mobile"
    )
    rows = view.rows("delivery/devices", delivery_id=delivery_id, human=view.human, mobile=mobile)
    show_table(
        view,
        rows,
        columns(
            view,
            *("device_class", "os_name", "browser_name", "open_count", "open_share", "recipient_open_count"),
            open_share="bar",
        ),
        view.language("devices_caption"),
        export=f"devices_{delivery_id}",
    )
