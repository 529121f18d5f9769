"""The seeded generator of a realistic landing folder, with independently computed results beside it.

Belongs here: making sample input. Does not: reading it; nothing of the pipeline is imported, so that the results in
truth/ stay independent.

    scenario    what is known before anybody acts: deliveries, links, dates
    population  recipients and their lasting traits
    messages    the messages of one delivery
    behaviour   what people and machines do with them: events
    lines       events as bytes
    faults      what is wrong on purpose
    writer      the log files of one server and their control totals
    reference   the reference extracts
    truth       what must be found
    generate    the order of things
"""

from log_ingest.sample.generate import Progress, SampleSummary, write_sample

__all__ = ["Progress", "SampleSummary", "write_sample"]
