"""The report of a target: what it is made of, and what is known of the result, as one HTML file.

`contents` says what a report is about, as values; `page` puts the page together, and one module a part turns values
into sentences, plots and tables. Nothing here knows where the values come from.
"""
