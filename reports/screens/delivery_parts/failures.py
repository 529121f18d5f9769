"""Failures by reason and by domain, and what each domain received and answered."""

from reports.tables import columns, show_table
from reports.view import View


def show(view: View, delivery_id: int) -> None:
    language = view.language
    show_table(
        view,
        view.rows("delivery/failures_by_reason", delivery_id=delivery_id),
        columns(
            view,
            *("failure_label", "failure_count", "share_of_failures", "share_of_processed"),
            share_of_failures="bar",
        ),
        language("failures_by_reason"),
        export=f"failures_by_reason_{delivery_id}",
    )
    show_table(
        view,
        view.rows("delivery/failures_by_domain", delivery_id=delivery_id),
        columns(
            view, *("mail_domain", "failure_count", "share_of_failures", "share_of_processed"), share_of_failures="bar"
        ),
        language("failures_by_domain"),
        export=f"failures_by_domain_{delivery_id}",
    )
    show_table(
        view,
        view.rows("delivery/domains", delivery_id=delivery_id, human=view.human),
        columns(
            view,
            *("mail_domain", "processed_count", "delivered_rate", "hard_bounce_rate", "soft_bounce_rate"),
            *("recipient_open_rate", "person_click_rate", "opt_out_click_rate"),
        ),
        language("domains_caption"),
        export=f"domains_{delivery_id}",
    )
