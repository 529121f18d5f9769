"""mtw alerts, mtw doctor: what needs attention."""

import click

from orchestration.cli.shared import fail, load_settings, one_line_errors, terminal


@click.command()
@click.option("--test", "is_test", is_flag=True, help="Send a test by every channel that is set up.")
def alerts(is_test: bool) -> None:
    """Show the alerts that are open, or try whether alerts arrive (MTW_ALERT_WEBHOOK_URL, MTW_ALERT_EMAIL)."""
    with one_line_errors():
        from orchestration import console as view
        from orchestration.alerts.memory import open_alerts

        settings = load_settings()
        if not is_test:
            rows = [
                (told.since.replace("T", " "), told.kind, key, f"docs/runbook/{told.kind}.md")
                for key, told in sorted(open_alerts(settings.warehouse_dir).items(), key=lambda entry: entry[1].since)
            ]
            if not rows:
                click.echo("No alert is open.")
                return
            terminal().print(view.table("Open alerts", ("since (UTC)", "alert", "about", "what to do"), rows))
            return
        from orchestration.alerts.watch import try_channels

        found = try_channels(settings)
        if not found:
            fail("nobody is told of anything; set MTW_ALERT_WEBHOOK_URL, or MTW_ALERT_EMAIL (and MTW_SMTP_URL)")
        for name, problem in found.items():
            if not problem:
                click.echo(f"A test went out by {name}.")
        if problems := [problem for problem in found.values() if problem]:
            fail("; ".join(problems))


@click.command()
def doctor() -> None:
    """Check this installation and say what to do about what is wrong."""
    with one_line_errors():
        from orchestration import console as view
        from orchestration.doctor import diagnose

        findings = diagnose(load_settings())
        rows = [("ok" if finding.is_ok else "WRONG", finding.topic, finding.text) for finding in findings]
        terminal().print(view.table("", ("", "", ""), rows))
        wrong = [finding for finding in findings if not finding.is_ok]
        if wrong:
            fail(f"{len(wrong)} of {len(findings)} findings need attention; the first: {wrong[0].text}")
