"""What the service sees, compared with what its model was tested on.

`inputs` and `features` measure an answer, in the service and for the held-out clips alike.
`samples` keeps the service's answers, `reference` those to held-out clips. `comparing` says whether
the two differ by more than chance.
"""
