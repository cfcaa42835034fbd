"""The studio: a page in the browser, served to this machine alone, where one sees a network think.

- `guard`: who may ask; around the whole application.
- `wire`: messages over the socket: a JSON object and arrays of bytes.
- `server`: the application: the page's files, and one socket that passes messages to the views.
- `shelf`: the runs and data that a page may open, by their names.
- `views`: the table of the views' Python sides; `drawing` and its like are these.
- `static/`: the page: ES modules, without a build step; `static/views/` has a view a file, `static/parts/` what they
  share.
"""
