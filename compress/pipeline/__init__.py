"""From a recipe to built artifacts: steps, keys, plan, run."""
