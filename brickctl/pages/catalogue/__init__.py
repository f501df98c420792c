"""A registry as a static site: a list that is searched as one types, and one page a brick.

`site` gives the files; `listing` says what the list and its search show of a brick, and `brick_page` what its own page
does. All that stands in a registry is text from outside: it goes through templates that escape it, into text that a
script never reads as markup, and into no address but those that are made here.
"""
