"""The seeded generator of a realistic landing folder, with independently computed results beside it.

Belongs here: making sample input. Does not: reading it; nothing of the pipeline is imported, so that the results in
truth/ stay independent.

    scenario    what is known before anybody acts: deliveries, links, dates
    population  recipients and their lasting traits
    messages    the messages of one delivery
    behaviour   what people and machines do with them: events
    provider    what an e-mail service provider tells of them, and which acts only it tells
    web         what visitors do on the site's pages
    subscriptions  who subscribed to what
    texts       hex numbers, cookies and addresses, many at a time
    lines       events as lines of a tracking log
    access_lines   events and page hits as lines of an access log
    esp_payloads   events as a provider POSTs them
    faults      what is wrong in tracking logs on purpose
    files       how a file is written
    writer      the log files of one server and their control totals
    site_log    the access logs of one site, likewise
    esp_feed    the webhook files of the providers, likewise
    reference   the reference extracts
    truth       what must be found
    truth_web   what must be found of page hits
    generate    the order of things
"""

from log_ingest.sample.generate import Progress, SampleSummary, write_sample

__all__ = ["Progress", "SampleSummary", "write_sample"]
