"""What people and programs read of a report: text, pandas frames, JSON and HTML.

Each format is a module of its own, loaded when it is asked for: a record is printed without pandas
or jinja2 being imported.
"""
