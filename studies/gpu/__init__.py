"""Everything that only a GPU can show, as a plan over the product's own commands.

``python -m studies.gpu --artifacts DIR --out DIR`` runs ``paredown doctor``, ``build`` and ``bench``, cell
after cell, the most important first, under a time limit, and goes on at the next call where it stopped. What
is measured, and how, is the product's: its runtimes, lanes, probes and statistics. Here are only the cells,
what each report must hold, and the hypotheses that were stated beforehand. With ``--device cpu`` the same
cells run without a GPU. ``README.md`` says how the folder travels to a bare machine.
"""
