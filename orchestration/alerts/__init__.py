"""Telling people who do not look: a run failed, a check warns, published numbers are old; it is over.

    watch      what is to be told, from runs and from the published version
    alert      one alert as a text and as JSON
    channels   a webhook, e-mail
    memory     what has been told, so that it is told once

Belongs here: all of that. Does not: checks, or anything that changes the warehouse. Nothing here fails a run.
"""
