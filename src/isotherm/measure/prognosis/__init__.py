"""What a log of anybody's run says about its end, about what drove its entropy, and about what would move it.

`prognosis(log)` and `diagnosis(log)` are functions of a Log; `report/prognosis` puts them into sentences.
"""
