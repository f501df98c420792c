"""Pages that people read: what was measured, as one HTML file with plots, and as pictures.

`analysis` puts a page together. A figure is a value: `figure` says what it is made of, and one module a figure turns
its part of the document into sentences, plots and tables. A plot is a specification of Vega-Lite, made in `charts` and
drawn in `drawing`, the only module that knows the library. No file is read but the page's own template, none written.
"""
