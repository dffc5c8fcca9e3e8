"""Where videos come from. A source is a module here, and its name in params.yaml is the module's.

Every source has one function, `items(dataset, seed, downloads)`, which lists the files of the data
set as `item.Item`s without fetching them. `registry` finds a source by its name. What several
sources share is in `item`, `layout` and `published`, and below in `archives` (unpacking what is
not trusted) and `remote` (object stores and web servers). `subset` cuts what a source offers.
"""
