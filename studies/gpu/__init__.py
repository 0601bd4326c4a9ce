"""Everything that only a GPU can show, in one command for a machine that has nothing but the runtimes.

``python -m studies.gpu --artifacts DIR --out DIR`` measures in cells, the most important first,
under a time limit, and goes on at the next call where it stopped. The cells run in processes of their
own. Apart from ``prepare`` (for the CPU machine, where paredown is installed) the modules here import the
standard library, numpy, and inside the cells torch, transformers and the runtimes; they also run on
Python 3.10, for the TensorRT 8.6 that is made for no newer one.
"""
