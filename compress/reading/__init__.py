"""Reading what a user gives: files, text, JSON and YAML, each in one place and nothing of ours on top.

``files`` opens regular files only, ``utf8`` decodes UTF-8 and says what else a file looks like,
``json_values`` and ``yaml_values`` give plain JSON types of bounded depth and size, ``front_matter`` the head
of a card. Whatever does not fit is one sentence of the ``UserError`` family.
"""
