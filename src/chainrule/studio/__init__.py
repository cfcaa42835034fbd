"""The studio: a page in the browser, served to this machine alone, where one sees a network think.

- `guard`: who may ask; around the whole application.
- `wire`: messages over the socket: a JSON object and arrays of bytes.
- `server`: the application: the page's files, and one socket that passes messages to the views.
- `drawing`: what the view Draw asks for.
- `static/`: the page: ES modules, without a build step.
"""
