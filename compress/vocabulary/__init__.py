"""Vocabularies cut to the pieces that given text needs: which stay, and all that names them by id.

A piece that goes takes its row of the embedding along, and every id after it moves up. So the choice is made
once, as the ids that stay in their old order (``old_ids``), and everything that holds ids is cut by that one
list: ``tokenizer.json`` and what repeats it, the configuration, and the weights.
"""
